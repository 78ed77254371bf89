"""Axes of curves: round ticks, brief numbers, and fewer points without losing a peak."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor, log10

import numpy as np

Points = tuple[np.ndarray, np.ndarray]  # places and values, each (N,)


def thin(points: Points, most: int) -> Points:
    """Reduce to about `most` points: the lowest and the highest of each section, so that no peak is lost."""
    x, y = points
    if len(x) <= most:
        return points
    cuts = np.linspace(0, len(x), most // 2 + 1).astype(int)
    kept = sorted({a + int(pick(y[a:b])) for a, b in pairwise(cuts) for pick in (np.argmin, np.argmax)})
    kept = sorted({0, *kept, len(x) - 1})
    return x[kept], y[kept]


def nice(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` evenly spaced round numbers from low to high."""
    unit = 10.0 ** floor(log10((high - low) / most))
    steps = (unit * factor for factor in (1, 2, 2.5, 5, 10, 20))
    ticks = ([i * s for i in range(ceil(low / s - 1e-9), floor(high / s + 1e-9) + 1)] for s in steps)
    return next(found for found in ticks if len(found) <= most)


def number(value: float, digits: int = 4) -> str:
    """Format a number briefly: 0.25, 1.2e-5, 15k, 2M."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.{digits}g}M"
    if size >= 1e4:
        return f"{value / 1e3:.{digits}g}k"
    if 0 < size < 1e-3:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.{digits}g}"
