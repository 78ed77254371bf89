"""Curves of runs as plain numbers: panels of lines over the steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np

from dagan_cli.pages.axes import Points, nice
from trainer.record.folder import SCORES, Run

_FIRST = {  # name in the log -> title and unit, in drawing order
    "psnr_y": ("PSNR-Y on validation", "dB"),
    "psnr_rgb": ("PSNR of RGB on validation", "dB"),
    "lpips": ("LPIPS on validation, lower is better", ""),
    "loss": ("loss of the generator", ""),
    "pixel": ("pixel term", "weighted"),
    "perceptual": ("perceptual term", "weighted"),
    "adversarial": ("adversarial term", "weighted"),
}
_LAST = {
    "loss_d": ("loss of the discriminator", ""),
    "d_real": ("D(real), D(fake)", ""),
    "d_accuracy": ("D accuracy", "share"),
    "norm": ("gradient norm, generator", ""),
    "norm_d": ("gradient norm, discriminator", ""),
    "lr": ("learning rate", ""),
    "constants": ("", ""),
    "attention_entropy": ("attention entropy, 1 = uniform", "share"),
    "rgb_offset": ("RGB offset from the input", "8-bit steps"),
    "speed": ("speed", "steps/s"),
    "skipped": ("skipped steps", "total"),
}
_RARE = (*SCORES, "attention_entropy", "constants")  # only logged at validations: drawn as points, not smoothed
_EXACT = ("lr", "skipped")  # not noisy, so not smoothed
_LINEAR = (*SCORES, "d_real", "d_accuracy", "lr", "attention_entropy", "rgb_offset", "speed", "skipped")
_OTHERS = 12  # largest number of drawn terms with other names
_FEW = 12  # curves with fewer points are not smoothed
_GRID, _WIDTH = 240, 6  # points of a smoothed curve, and deviation of the kernel in points


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of one run, split where a phase starts."""

    run: int  # index of the run
    kind: int  # index among the lines of this run in the panel
    label: str  # name among these lines; "" if there is only one
    parts: list[Points]
    smooth: list[Points]  # `parts` smoothed, or `parts` itself if smoothing does not apply
    rare: bool  # True if points are sparse and each is marked


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines drawn on the same axes."""

    title: str
    unit: str
    log: bool
    lines: list[Line] = field(default_factory=list)


def panels(runs: list[Run]) -> list[Panel]:
    """Return the panels of all logged values, scores first; values that no run has logged are omitted."""
    named = {name: None for run in runs for row in run.rows for name in row.values}
    known = {*_FIRST, *_LAST, "d_fake", "seconds"}
    others = {name: (f"{name.replace('_', ' ')} term", "") for name in [n for n in named if n not in known][:_OTHERS]}
    found: list[Panel] = []
    for name, (title, unit) in {**_FIRST, **others, **_LAST}.items():
        if name == "constants":
            found += [
                _constants(runs, solver) for solver in sorted({s for r in runs for w in r.rows for s in w.constants})
            ]
            continue
        kinds = {"d_real": "real", "d_fake": "fake"} if name == "d_real" else {name: ""}
        lines = [
            _line(i, kind, label, parts, name)
            for i, run in enumerate(runs)
            for kind, (key, label) in enumerate(kinds.items())
            if (parts := _speed(run) if name == "speed" else _parts(run, key))
        ]
        if name == "skipped" and not any(y.any() for line in lines for _, y in line.parts):
            continue
        if lines:
            found.append(Panel(title, unit, name not in _LINEAR and _spread(lines), lines))
    return found


def boundaries(run: Run) -> list[tuple[int, str]]:
    """Return (last step before it, name) of each phase after the first."""
    phases = run.phases
    return [(before[-1].step, name) for (_, before), (name, _) in pairwise(phases)]


def axis(panel: Panel) -> tuple[tuple[float, float], list[float]]:
    """Return the ends of the vertical axis, as exponents of ten if it is logarithmic, and its tick values."""
    values = np.concatenate([y for line in panel.lines for _, y in line.parts])
    smooth = np.concatenate([y for line in panel.lines for _, y in line.smooth])
    # A few outliers, as in the first steps, must not flatten the rest of the curve.
    low = min(float(np.quantile(values, 0.01)), float(smooth.min()))
    high = max(float(np.quantile(values, 0.99)), float(smooth.max()))
    if panel.log:
        bottom, top = log10(low), log10(high)
        tens = range(floor(bottom), ceil(top) + 1)
        factors = (1,) if top - bottom > 2 else (1, 3) if top - bottom > 1.2 else (1, 2, 5)
        ticks = [factor * 10.0**ten for ten in tens for factor in factors]
        kept = [tick for tick in ticks if bottom - 0.05 <= log10(tick) <= top + 0.05] or [low]
        return (bottom - 0.06, top + 0.06), kept[:: ceil(len(kept) / 6)]
    # A nearly constant curve is drawn flat, and its tick labels stay distinct.
    room = max((high - low) * 0.05, max(abs(low), abs(high)) * 5e-4) or 1.0
    bottom, top = low - room, high + room
    return (bottom, top), nice(bottom, top, 5)


def smoothed(points: Points) -> Points:
    """Return means over about a twentieth of the steps, at a few hundred points; the window is cut at the ends.

    Each value is weighted by the number of steps since the previous one: logs have a line per second, not per step.
    """
    x, y = points
    widths = np.diff(x, prepend=2 * x[0] - x[1])
    sums = np.concatenate([[0.0], np.cumsum(y * widths)])
    edges = np.linspace(x[0] - widths[0], x[-1], _GRID + 1)
    means = np.diff(np.interp(edges, np.concatenate([edges[:1], x]), sums)) / (edges[1] - edges[0])
    kernel = np.exp(-0.5 * (np.arange(-3 * _WIDTH, 3 * _WIDTH + 1) / _WIDTH) ** 2)
    means = np.convolve(means, kernel, "same") / np.convolve(np.ones(_GRID), kernel, "same")
    return np.concatenate([(edges[1:] + edges[:-1])[:-1] / 2, x[-1:]]), means


def _line(run: int, kind: int, label: str, parts: list[Points], name: str) -> Line:
    rare = name in _RARE
    noisy = not rare and name not in _EXACT
    smooth = [smoothed(part) if noisy and len(part[0]) >= _FEW else part for part in parts]
    return Line(run, kind, label, parts, smooth, rare)


def _parts(run: Run, name: str) -> list[Points]:
    found = []
    for _, rows in run.phases:
        # While only the discriminator is trained, the generator has no gradient: skip its norm of 0.
        points = [
            (row.step, row.values[name]) for row in rows if name in row.values and (name != "norm" or row.values[name])
        ]
        if points:
            steps, values = zip(*points, strict=True)
            found.append((np.array(steps, float), np.array(values)))
    # Scores continue from one phase to the next; losses start again.
    if name in _RARE and found:
        return [tuple(np.concatenate([part[i] for part in found]) for i in (0, 1))]  # type: ignore[list-item]
    return found


def _speed(run: Run) -> list[Points]:
    """Steps per second of training, without the time for validating and saving."""
    found = []
    for _, rows in run.phases:
        timed = [(row.step, row.values["seconds"]) for row in rows if "seconds" in row.values]
        pairs = [(b, (b - a) / (t - s)) for (a, s), (b, t) in pairwise(timed) if t > s]
        if pairs:
            steps, rates = zip(*pairs, strict=True)
            found.append((np.array(steps, float), np.array(rates)))
    return found


def _constants(runs: list[Run], solver: str) -> Panel:
    lines = []
    for i, run in enumerate(runs):
        rows = [(row.step, row.constants[solver]) for row in run.rows if solver in row.constants]
        count = max((len(values) for _, values in rows), default=0)
        for kind in range(count):
            points = [(step, values[kind]) for step, values in rows if kind < len(values)]
            x, y = (np.array(column, float) for column in zip(*points, strict=True))
            lines.append(_line(i, kind, f"c{kind + 1}" if count > 1 else "", [(x, y)], "constants"))
    return Panel(f"{solver} constants, mean", "", False, lines)


def _spread(lines: list[Line]) -> bool:
    """True if a logarithmic axis is better: all values are positive and span nearly a decade."""
    values = np.concatenate([y for line in lines for _, y in line.parts])
    return bool(values.min() > 0 and np.quantile(values, 0.98) > 8 * np.quantile(values, 0.02))
