"""Panels of curves as small inline SVGs for self-contained pages; colours come from the CSS of the page."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np

from dagan_cli.pages.axes import Points, nice, number, thin
from trainer.record.curves import Line, Panel, axis

WIDTH, HEIGHT = 380, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 8, 24  # margins of the axes
_MOST = 240  # points of a curve


def sketch(panel: Panel, reach: tuple[float, float], marks: list[tuple[int, str]]) -> str:
    """Return the SVG of a panel of one run. reach: first and last step; marks: steps and names of vertical lines."""
    (low, high), ticks = axis(panel)
    first, last = reach if reach[1] > reach[0] else (reach[0] - 1, reach[0] + 1)

    def place(points: Points) -> tuple[np.ndarray, np.ndarray]:
        x, y = points
        across = _LEFT + (x - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)
        share = (_onto(y, panel.log) - low) / (high - low)
        return across, HEIGHT - _BOTTOM - np.clip(share, -0.02, 1.02) * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(panel.title)}">']
    for tick in ticks:
        y = place((np.array([first]), np.array([tick])))[1][0]
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{number(tick, 5)}</text>')
    for tick in nice(first, last, 6):
        x = place((np.array([tick]), np.array([ticks[0]])))[0][0]
        parts.append(f'<path class="grid" d="M{x:.1f} {HEIGHT - _BOTTOM}v4"/>')
        anchor = "end" if x > WIDTH - _RIGHT - 14 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{number(tick, 5)}</text>')
    for step, name in marks:
        x = place((np.array([step]), np.array([ticks[0]])))[0][0]
        parts.append(f'<path class="mark" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"><title>{escape(name)}</title></path>')
    for line in panel.lines:
        parts += _curve(line, place)
    return "".join([*parts, "</svg>"])


def _onto(y: np.ndarray, log: bool) -> np.ndarray:
    return np.log10(np.maximum(y, 1e-30)) if log else y


def _curve(line: Line, place: Callable[[Points], Points]) -> list[str]:
    drawn = []
    for raw, smooth in zip(line.parts, line.smooth, strict=True):
        if smooth[1] is not raw[1]:
            drawn.append(f'<path class="raw k{line.kind % 4}" d="{_path(place(thin(raw, _MOST)))}"/>')
        x, y = place(thin(smooth, _MOST))
        drawn.append(f'<path class="k{line.kind % 4}" d="{_path((x, y))}"/>')
        if line.rare and len(x) <= 40:
            dot = f'<circle class="k{line.kind % 4}" r="2.4" '
            drawn += [f'{dot}cx="{a:.1f}" cy="{b:.1f}"/>' for a, b in zip(x, y, strict=True)]
    return drawn


def _path(points: Points) -> str:
    if len(points[0]) == 1:  # a dot
        return f"M{points[0][0] - 1:.1f} {points[1][0]:.1f}h2"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(*points, strict=True))
