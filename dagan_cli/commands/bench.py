"""`dagan bench`: measure the network, the engine, and every stage of upscaling a file."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagan_cli.commands.console import echo, in_json, printable, say
from dagan_cli.commands.options import (
    SIZE,
    AsJson,
    Codec,
    Debug,
    Device,
    EncoderPreset,
    Model,
    Order,
    Precision,
    RuntimeName,
    Tile,
    fetched,
    friendly_errors,
    tile_side,
)
from dagan_cli.commands.shown.tables import room, table, wrapped
from dagan_cli.errors import BadOption

if TYPE_CHECKING:
    from dagan_cli.engine.options import EngineOptions
    from dagan_cli.upscaler import ModelChoice


def bench(
    input: Annotated[
        Path | None, typer.Argument(metavar="INPUT", help="A video or image whose stages are measured.")
    ] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="Measure the stages on a synthetic video of --size.")
    ] = False,
    model: Model = None,
    scale: Annotated[
        float | None, typer.Option("-s", "--scale", help="Scale for INPUT; default: 4.", rich_help_panel=SIZE)
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="SIZE",
            help="Size of the frame: WxH, or 720p, 1080p, 1440p, 4k, 8k at 16:9; default: 960x540.",
            rich_help_panel=SIZE,
        ),
    ] = None,
    order: Order = None,
    tile: Tile = "auto",
    device: Device = "auto",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    codec: Codec = None,
    preset: EncoderPreset = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=2, metavar="N", help="Use at most N frames of INPUT.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Time for each stage.")] = 10,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds; the fastest counts.")] = 3,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure the speed of this machine. With INPUT, measures each stage and names the fastest and the best command.

    Without INPUT, measures the network and the engine on one frame, in each runtime unless --runtime names one. Next to
    programs that use more than a quarter of the cores, nothing is concluded.
    """
    with friendly_errors(debug):
        from dagan_cli.engine.options import EngineOptions
        from dagan_cli.upscale.request import Goal
        from dagan_cli.upscaler import ModelChoice

        goal = Goal.of(None, size or "960x540")
        box = goal.box or (round(Fraction(16, 9) * (goal.height or 0)), goal.height or 0)
        if input is not None and (stages or size):
            raise BadOption("INPUT was given with --stages or --size", hint="leave them out: INPUT has its own frames")
        options = EngineOptions(device=device, runtime=runtime, precision=precision, tile=tile_side(tile))
        choice = ModelChoice(model and fetched(model), order=order)
        if input is None and not stages:
            given = {"--scale": scale, "--codec": codec, "--preset": preset, "--frames": frames}
            if named := [flag for flag, value in given.items() if value is not None]:
                raise BadOption(
                    f"{' and '.join(named)} needs an INPUT", hint="name a video or an image, or add --stages"
                )
            _measure_network(choice, options, box, rounds, as_json)
            return

        from contextlib import ExitStack
        from dataclasses import replace
        from tempfile import TemporaryDirectory

        from dagan_cli.bench.pipeline import bench as measure
        from dagan_cli.bench.result import report
        from dagan_cli.bench.stages import make_clip
        from dagan_cli.media.video.recipe import Encoding
        from dagan_cli.upscale.request import Part, Request

        with ExitStack() as stack:
            path = input or make_clip(Path(stack.enter_context(TemporaryDirectory(prefix="dagan-bench-"))), box)
            request = Request(
                inputs=(str(path),),
                output=None,
                goal=Goal.of(scale, None),
                model=choice,
                engine=options,
                encoding=Encoding(codec=codec, preset=preset),
                part=Part(frames=frames),
            )
            note = say if sys.stderr.isatty() else lambda _: None
            found = measure(request, shown=None if input else "INPUT", seconds=seconds, rounds=rounds, note=note)
        if as_json:
            echo(in_json(found.to_dict()))
            return
        named = {name: printable(getattr(found, name)) for name in ("input", "output", "model")}
        echo(report(replace(found, **named), table, lambda line: wrapped(line, room())))


def _measure_network(
    choice: ModelChoice, options: EngineOptions, box: tuple[int, int], rounds: int, as_json: bool
) -> None:
    """Measure network and engine on one frame."""
    from dataclasses import replace

    from dagan_cli.bench.network import bench as measure
    from dagan_cli.bench.network_result import report
    from dagan_cli.upscaler import load_network

    network, name, sha256 = load_network(choice.for_factor(4), baseline_scale=4)
    found = measure(network, options, model=name, sha256=sha256, width=box[0], height=box[1], rounds=rounds)
    if as_json:
        echo(in_json(found.to_dict()))
        return
    echo(report(replace(found, model=printable(name)), table, lambda line: wrapped(line, room())))
