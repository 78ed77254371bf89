"""`dagan eval`: PSNR, SSIM and LPIPS of a model, or of any program's results, over a folder of originals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dagan_cli.commands.console import counted, echo, in_json, printable, say
from dagan_cli.commands.options import (
    SIZE,
    AsJson,
    Debug,
    Denoise,
    Detail,
    Device,
    Ensemble,
    Lpips,
    Model,
    Order,
    Precision,
    RuntimeName,
    Tile,
    Window,
    fetched,
    friendly_errors,
    one_of,
    tile_side,
)
from dagan_cli.commands.shown.tables import room, table, wrapped
from dagan_cli.errors import BadInput, BadOption

if TYPE_CHECKING:
    from dagan_cli.evaluate import Score
    from dagan_cli.metrics.lpips import Lpips as LpipsMetric
    from dagan_cli.upscaler import Upscaler


def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of high-resolution images.")],
    model: Model = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", metavar="FOLDER", help="Upscaled images of any program, to score instead of a model."
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs", metavar="FOLDER", help="Low-resolution inputs to use instead of downscaled originals."
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("-s", "--scale", min=2, help="Scale; default: the model's own.", rich_help_panel=SIZE)
    ] = None,
    order: Order = None,
    detail: Detail = None,
    denoise: Denoise = None,
    tile: Tile = "auto",
    device: Device = "auto",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    window: Window = None,
    ensemble: Ensemble = False,
    lpips: Lpips = None,
    ablate: Annotated[
        list[str] | None,
        typer.Option(
            "--ablate",
            metavar="PART",
            help="Score the model with parts replaced or left out: spatial, channel, constants or all; repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score a model on a folder of originals. Reports PSNR-Y and SSIM-Y next to bicubic; with --lpips, LPIPS too."""
    with friendly_errors(debug):
        if (model is None) == (results is None):
            raise BadOption("eval needs a model or results to score", hint="give either -n MODEL or --results FOLDER")

        if ablate and results is not None:
            raise BadOption("--ablate changes a model, and --results names none", hint="give -n MODEL instead")
        if ablate:
            runtime, precision = _for_ablation(runtime, precision)

        from dagan_cli.evaluate import evaluate as scores_of
        from dagan_cli.evaluate import mean
        from dagan_cli.metrics import lpips as lpips_
        from dagan_cli.metrics.fidelity import PROTOCOL
        from dagan_cli.upscaler import ModelChoice, Upscaler

        upscaler = None
        if model is not None:
            choice = ModelChoice(model, order=order, detail=detail, denoise=denoise, window=window)
            if scale is not None:
                choice = choice.for_factor(scale)
            assert choice.name is not None
            model = fetched(choice.name)
            choice = replace(choice, name=model)
            chosen = {"device": device, "runtime": runtime, "precision": precision, "tile": tile_side(tile)}
            upscaler = Upscaler.of(choice, **chosen, ensemble=ensemble)
        factor = scale or (4 if upscaler is None or upscaler.is_baseline else upscaler.scale)
        metric = lpips_.Lpips.load(lpips) if lpips is not None else None
        scored = upscaler or results
        assert scored is not None
        scores, left_out = [], []

        def leave_out(error: BadInput) -> None:
            left_out.append(str(error))
            say(f"left out: {error}")

        if ablate:
            assert upscaler is not None
            _ablate(dataset, upscaler, ablate, factor, metric, inputs, leave_out, as_json=as_json)
            raise typer.Exit(int(bool(left_out)))
        for score in scores_of(dataset, scored, factor, metric, inputs, leave_out):
            scores.append(score)
            if sys.stderr.isatty():
                say(f"{len(scores)}: {score.name}")
        scores.append(mean(scores))
        if as_json:
            facts = {"model": model, "sha256": upscaler and upscaler.sha256, "scale": factor}
            facts |= {"order": upscaler and upscaler.order, "detail": detail, "denoise": denoise}
            facts |= {name: path and str(path) for name, path in (("results", results), ("inputs", inputs))}
            facts["lpips_net"] = metric.net if metric else None
            rows = [score.to_json() for score in scores]
            facts |= {"dataset": str(dataset), "protocol": PROTOCOL, "left_out": left_out}
            echo(in_json(facts | {"scores": rows}))
            raise typer.Exit(int(bool(left_out)))
        echo(_table(scores, lpips=metric is not None, timed=upscaler is not None))
        choices = "" if upscaler is None or upscaler.order is None else f", order {upscaler.order}"
        choices += "" if detail is None else f", detail {detail:g}"
        choices += "" if denoise is None else f", denoise {denoise:g}"
        choices += "" if inputs is None else f", from {inputs}"
        seen = f"; LPIPS v0.1 ({metric.net}) of whole RGB images" if metric else ""
        columns = "Colour: offset of the mean in 8-bit steps" + ("; µs: per input pixel" if upscaler else "")
        count = counted(len(scores) - 1, "image") + (f", {len(left_out)} left out" if left_out else "")
        scored_by = printable(f"{model or results} x{factor}{choices}")
        echo("\n" + wrapped(f"{scored_by}, {count}. {PROTOCOL}{seen}. {columns}.", room()))
        raise typer.Exit(int(bool(left_out)))


def _for_ablation(runtime: str, precision: str) -> tuple[Literal["torch"], Literal["fp32"]]:
    """Return the only runtime and precision in which parts can be replaced. Raises BadOption if others were named."""
    if runtime not in ("auto", "torch") or precision not in ("auto", "fp32"):
        raise BadOption("--ablate needs PyTorch and fp32", hint="leave out --runtime and --precision")
    return "torch", "fp32"


def _ablate(
    dataset: Path,
    upscaler: Upscaler,
    named: list[str],
    scale: int,
    metric: LpipsMetric | None,
    inputs: Path | None,
    leave_out: Callable[[BadInput], None],
    *,
    as_json: bool,
) -> None:
    from dagan_cli.ablate import ablate
    from dagan_cli.metrics.fidelity import PROTOCOL
    from dagan_cli.model.ablation import PARTS, Part

    chosen = {str(one_of("--ablate", name, (*PARTS, "all"))) for name in named}
    parts: tuple[Part, ...] = tuple(part for part in PARTS if part in chosen or "all" in chosen)

    def tell(change: str) -> None:
        if sys.stderr.isatty():
            say(change or "the unchanged model")

    found = ablate(dataset, upscaler, parts, scale, metric, inputs, leave_out, tell)
    if as_json:
        facts = {"model": upscaler.words, "sha256": upscaler.sha256, "scale": scale, "order": upscaler.order}
        facts |= {"dataset": str(dataset), "inputs": inputs and str(inputs), "protocol": PROTOCOL}
        echo(in_json(facts | found.to_json()))
        return
    whole = found.rows[0].score
    header = ["change", "PSNR-Y", "lost", "SSIM-Y", *(["LPIPS", "more"] if metric else [])]
    rows = []
    for row in found.rows:
        score, is_whole = row.score, not row.change
        cells = [row.change or "none", f"{score.psnr:.3f}", "" if is_whole else f"{whole.psnr - score.psnr:.3f}"]
        cells.append(f"{score.ssim:.4f}")
        if score.lpips is not None and whole.lpips is not None:
            cells += [f"{score.lpips:.4f}", "" if is_whole else f"{score.lpips - whole.lpips:+.4f}"]
        rows.append(cells)
    echo(table(header, rows))
    facts = [f"{upscaler.words} x{scale}{'' if upscaler.order is None else f', order {upscaler.order}'}. {PROTOCOL}."]
    if found.entropy is not None:
        facts.append(f"Entropy of the softmax: {found.entropy:.3f} of that of equal weights.")
    if found.gate_spread is not None:
        facts.append(f"Standard deviation of a gate over images and positions: {found.gate_spread:.4f}.")
    echo("\n" + wrapped(printable(" ".join(facts)), room()))


def _table(scores: list[Score], *, lpips: bool, timed: bool) -> str:
    header = ["image", "PSNR-Y", "SSIM-Y", "bicubic PSNR", "SSIM", "colour"]
    header += ["LPIPS", "bicubic"] if lpips else []
    header += ["µs"] if timed else []
    full = {"SSIM": "bicubic SSIM", "bicubic": "bicubic LPIPS"}  # in a list, where no heading stands next to another
    rows = [
        [
            *(s.name, f"{s.psnr:.2f}", f"{s.ssim:.4f}", f"{s.bicubic_psnr:.2f}", f"{s.bicubic_ssim:.4f}"),
            f"{s.rgb_offset:.2f}",
            *(f"{distance:.4f}" for distance in (s.lpips, s.bicubic_lpips) if distance is not None),
            *([] if s.microseconds is None else [f"{s.microseconds:.1f}"]),
        ]
        for s in scores
    ]
    return table(header, rows, names=[full.get(name, name) for name in header])
