"""Values between the points of a measured curve, in plain Python: numpy may round otherwise on other machines."""

from __future__ import annotations

from itertools import pairwise

Curve = tuple[tuple[float, float], ...]  # points (x, y), in increasing x


def between(curve: Curve, x: float) -> float:
    """Return y at x on the straight lines between the points; beyond them it stays at the last one."""
    for (left, low), (right, high) in pairwise(curve):
        if x < right:
            return low + (high - low) * max(0.0, x - left) / (right - left)
    return curve[-1][1]
