"""`dagan train paper` and `dagan train choose`: runs that are compared with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dagan_cli.commands.console import StopSignals, say
from dagan_cli.commands.options import Debug, friendly_errors, one_of, time_budget
from dagan_cli.commands.training.options import PACK, Data, LpipsWeights, Part, RunsFolder, part_of
from dagan_cli.errors import BadOption


def paper(
    names: Annotated[
        list[str],
        typer.Argument(metavar="EXPERIMENT...", help="Names of experiments: E7 to E12, C1, C2, C4 to C7, or V."),
    ],
    data: Data,
    val: Annotated[Path, typer.Option("--val", metavar="FOLDER", help="Folder of held-out images.")],
    run: RunsFolder,
    size: Annotated[
        Literal["full", "small"], typer.Option("--size", help="Size of the runs: as in the paper, or for a CPU.")
    ] = "full",
    scale: Annotated[
        int | None, typer.Option("--scale", metavar="2|4", help="Scale, where the experiment has both.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of runs per arm.")] = 3,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, metavar="N", help="Number of steps per run.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Time for all runs together, such as 20m.")
    ] = None,
    vgg_weights: Annotated[
        Path | None,
        typer.Option(
            "--vgg-weights", metavar="FILE", help="Weights of VGG16, as in the paper, or of the small encoder."
        ),
    ] = None,
    lpips: LpipsWeights = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            metavar="NAME=KEY=VALUE,...",
            help="Own arm: the first one with other values, such as wide=generator.channels=96; repeatable.",
        ),
    ] = None,
    pack: Annotated[Path | None, typer.Option("--pack", metavar="FILE", help=PACK)] = None,
    part: Part = "1/1",
    debug: Debug = False,
) -> None:
    """Run experiments of the paper. All arms have the same steps and batches; a table and a figure are written."""
    with friendly_errors(debug):
        if budget is not None and iterations is not None:
            raise BadOption("both --budget and --iterations were given", hint="give one of them")
        from trainer.experiments.paper import run_paper
        from trainer.machine.malloc import keep_freed_memory

        keep_freed_memory()
        with StopSignals().caught() as stop:
            lines = run_paper(
                names,
                data,
                val,
                run,
                scale=scale,
                size=size,
                seeds=seeds,
                iterations=iterations,
                budget=time_budget("--budget", budget) if budget else None,
                perceptual=vgg_weights,
                lpips=lpips,
                own=arms,
                pack=pack,
                part=part_of(part),
                should_stop=stop,
            )
            for line in lines:
                say(line)
        raise typer.Exit(stop.exit_code if stop() else 0)


def choose(
    data: Data,
    val: Annotated[Path, typer.Option("--val", metavar="FOLDER", help="Folder of held-out images.")],
    run: RunsFolder,
    group: Annotated[
        str, typer.Option("--group", metavar="GROUP", help="What to compare: networks, attentions or recipes.")
    ] = "networks",
    targets: Annotated[
        Path | None,
        typer.Option(
            "--targets", metavar="FOLDER", help="Results of a teacher for --data, for the recipes or with --start."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="MODEL", help="Model whose convolutions all candidates start with."),
    ] = None,
    each: Annotated[
        str, typer.Option("--each", metavar="TIME", help="Processor time per candidate, such as 20m.")
    ] = "20m",
    scale: Annotated[int, typer.Option("--scale", metavar="2|4", help="Scale.")] = 4,
    part: Part = "1/1",
    debug: Debug = False,
) -> None:
    """Compare networks, attentions or recipes. All are trained equally; reports PSNR-Y and time per pixel."""
    with friendly_errors(debug):
        if scale not in (2, 4):
            raise BadOption(f"invalid --scale {scale}", hint="use 2 or 4, which have presets")

        from trainer.experiments.choice import GROUPS, run_choice
        from trainer.machine.malloc import keep_freed_memory

        one_of("--group", group, tuple(GROUPS))
        keep_freed_memory()
        with StopSignals().caught() as stop:
            shared = {"scale": scale, "budget": time_budget("--each", each), "part": part_of(part)}
            shared |= {"group": group, "targets": targets, "start": start}
            for line in run_choice(data, val, run, **shared, should_stop=stop):
                say(line)
        raise typer.Exit(stop.exit_code if stop() else 0)
