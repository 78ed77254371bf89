"""Curves of scores over the time of a video, as coordinates of small SVGs; the template draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dagan_cli.pages.axes import Points, nice, number, thin
from dagan_cli.pages.viewer import Curve

WIDTH, HEIGHT = 380, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24  # margins of the axes
KINDS = 8  # colours of lines

_MOST = 400  # points of a line


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn curve; all coordinates are in units of the SVG."""

    title: str
    first: float  # seconds at the left end
    last: float  # seconds at the right end
    rows: list[tuple[float, str]]  # y and label of horizontal lines
    ticks: list[tuple[float, str]]  # x and label of times
    lines: list[tuple[int, str, str]]  # kind, label of the column and path

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM


def chart(curve: Curve, labels: Sequence[str]) -> Chart | None:
    """Return the drawing of a curve, or None if it has no values."""
    seconds = np.asarray(curve.seconds, float)
    columns = [np.array([np.nan if v is None else v for v in values], float) for values in curve.values]
    known = np.concatenate([column[np.isfinite(column)] for column in columns] or [np.zeros(0)])
    if not known.size:
        return None
    first, last = float(seconds.min()), float(seconds.max())
    if last <= first:
        first, last = first - 0.5, last + 0.5
    low, high = float(known.min()), float(known.max())
    room = max((high - low) * 0.05, max(abs(low), abs(high)) * 5e-4) or 1.0  # a constant curve is drawn flat
    low, high = low - room, high + room

    def place(points: Points) -> Points:
        x, y = points
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def at(x: float, y: float) -> tuple[float, float]:
        across, down = place((np.array([x]), np.array([y])))
        return float(across[0]), float(down[0])

    return Chart(
        curve.title,
        first,
        last,
        [(at(first, tick)[1], number(tick, 5)) for tick in nice(low, high, 5)],
        [(at(tick, low)[0], f"{number(tick, 5)} s") for tick in nice(first, last, 5)],
        [
            (i % KINDS, label, " ".join(_path(place(thin(part, _MOST))) for part in _parts(seconds, column)))
            for i, (label, column) in enumerate(zip(labels, columns, strict=True))
        ],
    )


def _parts(x: np.ndarray, y: np.ndarray) -> Iterator[Points]:
    """Yield the pieces of a line between the places without a value."""
    has = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], has, [False]]).astype(np.int8)))
    for a, b in edges.reshape(-1, 2):
        yield x[a:b], y[a:b]


def _path(points: Points) -> str:
    if len(points[0]) == 1:  # a dot
        return f"M{points[0][0] - 1:.1f} {points[1][0]:.1f}h2"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(*points, strict=True))
