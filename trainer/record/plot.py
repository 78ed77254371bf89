"""Curves of one or several runs in one figure, PNG or SVG, drawn by matplotlib: a grid of panels over the steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadOption, DaganError
from dagan_cli.files import require_older, whole_or_absent
from dagan_cli.pages.axes import number, thin
from dagan_cli.words import printable
from trainer.places import files_of, require_others
from trainer.record.curves import Panel, axis, boundaries, panels
from trainer.record.folder import Run

FORMATS = (".png", ".svg")
# Okabe and Ito's palette for colour-blind readers (https://jfly.uni-koeln.de/color/), without the yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
_DASHES = ("-", "--", ":", "-.")
_ACROSS = 3  # panels side by side
_MOST = 600  # points of a curve


class NoMatplotlib(DaganError):
    """Matplotlib is not installed."""


def plot(runs: list[Run], target: Path) -> None:
    """Draw the runs to a .png or .svg file. Raises BadOption, CannotWrite, NoMatplotlib."""
    if target.suffix.lower() not in FORMATS:
        raise BadOption(f"cannot draw {target.name}: not a .png or .svg file", hint="name one with -o")
    if len(runs) > len(COLOURS):
        raise BadOption(f"{len(runs)} runs are too many for one figure", hint=f"draw at most {len(COLOURS)} runs")
    for run in runs:
        require_others(files_of(run.folder), {"-o": target})
    require_older(target, "drawing", b"atplotlib")
    found = panels(runs)
    if not found:
        raise BadOption("the runs have logged nothing yet", hint="wait for their first steps")
    down = ceil(len(found) / _ACROSS)
    with drawing() as Figure:
        figure = Figure(figsize=(3.7 * _ACROSS, 1.95 * down + 0.7), layout="constrained")
        grid = figure.subplots(down, _ACROSS, sharex=True, squeeze=False).ravel()
        for axes, panel in zip(grid, found, strict=False):
            _draw(axes, panel, runs)
        for axes in grid[len(found) :]:
            axes.set_visible(False)
        figure.supxlabel("steps", fontsize=8)
        _name(figure, runs)
        kind = target.suffix.lower()[1:]
        with whole_or_absent(target) as file:
            figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


@contextmanager
def drawing() -> Iterator[Any]:
    """Provide matplotlib's Figure, with this project's style inside the context. Raises NoMatplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoMatplotlib("drawing needs matplotlib", hint="pip install matplotlib") from error
    style: dict[Any, Any] = {"svg.hashsalt": "dagan", "font.size": 8, "axes.titlesize": 9}
    with matplotlib.rc_context(style):
        yield Figure


def _draw(axes: Any, panel: Panel, runs: list[Run]) -> None:
    axes.set_title(_plain(panel.title), loc="left")
    axes.set_ylabel(panel.unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E3E6EA", linewidth=0.6)
    (low, high), ticks = axis(panel)
    if panel.log:
        axes.set_yscale("log")
        low, high = 10**low, 10**high
        axes.minorticks_off()
    axes.set_ylim(low, high)
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(ticks, labels=[number(tick, 5) for tick in ticks])
    axes.tick_params(labelbottom=True)
    alone = len(runs) == 1
    for line in panel.lines:
        colour, dash = (COLOURS[line.kind % 4], "-") if alone else (COLOURS[line.run], _DASHES[line.kind % 4])
        for raw, smooth in zip(line.parts, line.smooth, strict=True):
            if smooth[1] is not raw[1]:
                axes.plot(*thin(raw, _MOST), color=colour, linewidth=0.5, alpha=0.25 if alone else 0.15)
            marker = "o" if line.rare and len(raw[0]) <= 40 else None
            axes.plot(*thin(smooth, _MOST), color=colour, linestyle=dash, linewidth=1.3, marker=marker, markersize=2.5)
    for i, run in enumerate(runs):
        colour = "#5A6472" if alone else COLOURS[i]
        for step, _ in boundaries(run):
            axes.axvline(step, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.7)
    labels = {line.kind: line.label for line in panel.lines if line.label}
    if len(labels) > 1:
        for kind, label in labels.items():
            colour, dash = (COLOURS[kind % 4], "-") if alone else ("#5A6472", _DASHES[kind % 4])
            axes.plot([], [], color=colour, linestyle=dash, linewidth=1.3, label=label)
        place = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "borderaxespad": 0}  # next to the title
        axes.legend(**place, frameon=False, ncols=len(labels), handlelength=1.8, columnspacing=1)


def _name(figure: Any, runs: list[Run]) -> None:
    """Name a single run in the title, several runs in a legend."""
    if len(runs) == 1:
        phases = [f"dashed line: start of the {name} phase" for _, name in boundaries(runs[0])]
        figure.suptitle(_plain("   ".join([runs[0].name, *phases])), fontsize=10)
        return
    from matplotlib.lines import Line2D

    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    labels = [f"{run.folder.resolve().parent.name}/{run.name}" if run.name in twice else run.name for run in runs]
    handles = [Line2D([], [], color=COLOURS[i], linewidth=2) for i in range(len(runs))]
    figure.legend(
        handles, [_plain(label) for label in labels], loc="outside upper center", ncols=min(4, len(runs)), frameon=False
    )


def _plain(text: str) -> str:
    """Make a text printable, and escape dollar signs, which matplotlib reads as mathematics."""
    return printable(text).replace("$", r"\$")
