"""The paper's figures: training curves, one panel per loss term and score, one line per arm."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dagan_cli.files import whole_or_absent
from trainer.experiments.runs import Arm
from trainer.record.plot import COLOURS, drawing

PANELS = (  # key in the log, title, logarithmic axis
    ("loss", "G loss", True),
    ("pixel", "image term", True),
    ("perceptual", "perceptual term", True),
    ("adversarial", "adversarial term", False),
    ("d_real", "D(real)", False),
    ("d_fake", "D(fake)", False),
    ("psnr_y", "PSNR-Y of held-out images, dB", False),
    ("attention_entropy", "attention entropy, 1 = uniform", False),
)
_ACROSS = 4
_DASHES = ("-", "--", "-.", ":")  # in turn, as curves that coincide would hide each other


def draw(arms: list[Arm], title: str, targets: list[Path], epoch: float) -> None:
    """Draw the means over the seeds with bands of one standard deviation to .png or .svg files.

    epoch: steps of an epoch over the training images, for the second axis above the panels.
    """
    panels = [panel for panel in PANELS if any(curve(arm, panel[0]) for arm in arms)]
    across = min(_ACROSS, len(panels))
    down = ceil(len(panels) / across)
    with drawing() as Figure:
        figure = Figure(figsize=(3.1 * across, 2.2 * down + 0.9), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, squeeze=False).ravel()
        for axes, (key, name, logarithmic) in zip(grid, panels, strict=False):
            _panel(axes, arms, key, name, logarithmic)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[:across]:
            above = axes.secondary_xaxis("top", functions=(lambda x: x / epoch, lambda x: x * epoch))
            above.set_xlabel("epochs", labelpad=2)
        figure.suptitle(title, fontsize=10)
        for axes in grid[len(panels) - across : len(panels)]:
            axes.set_xlabel("steps")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False)
        for target in targets:
            kind = target.suffix.lower()[1:]
            with whole_or_absent(target) as file:
                figure.savefig(file, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)


def curve(arm: Arm, key: str) -> list[tuple[int, float, float]]:
    """Return (step, mean over the seeds, standard deviation) for the steps at which every seed logged the value."""
    found = [{row.step: row.values[key] for row in rows if key in row.values} for rows in arm.runs.values()]
    steps = sorted(set.intersection(*map(set, found))) if found else []
    values = [(step, [one[step] for one in found]) for step in steps]
    return [(step, mean(at), stdev(at) if len(at) > 1 else 0.0) for step, at in values]


def _panel(axes: Any, arms: list[Arm], key: str, name: str, logarithmic: bool) -> None:
    axes.set_title(name, loc="left")
    axes.spines[["right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    lowest = []
    for i, arm in enumerate(arms):
        points = curve(arm, key)
        if not points:
            axes.plot([], [], color=COLOURS[i % len(COLOURS)], label=arm.name)
            continue
        steps, middles, deviations = zip(*points, strict=True)
        colour, dashes = COLOURS[i % len(COLOURS)], (i + i // len(COLOURS)) % len(_DASHES)
        above = 2 + dashes / 10  # gaps over lines: what is under them shows
        axes.plot(steps, middles, _DASHES[dashes], color=colour, linewidth=1.2, label=arm.name, zorder=above)
        lower, upper = ([m + sign * d for m, d in zip(middles, deviations, strict=True)] for sign in (-1, 1))
        axes.fill_between(steps, lower, upper, color=colour, alpha=0.15, linewidth=0)
        lowest.append(min(middles))
    if logarithmic and lowest and min(lowest) > 0:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.8 * min(lowest))
        _ticks(axes)


def _ticks(axes: Any) -> None:
    """Label a logarithmic axis with plain numbers, also within a decade, where the default has few labels or none."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullLocator

    bottom, top = axes.get_ylim()
    decades = LogLocator(subs=(1,) if top > 200 * bottom else (1, 2, 5))
    axes.yaxis.set_major_locator(decades if top > 8 * bottom else AutoLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
