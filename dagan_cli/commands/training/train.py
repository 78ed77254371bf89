"""`dagan train` itself, and `dagan train bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dagan_cli.commands.console import StopSignals, echo, in_json, printable
from dagan_cli.commands.options import AsJson, Debug, Progress, friendly_errors, time_budget
from dagan_cli.commands.shown.training import draw_training
from dagan_cli.commands.training.options import DATA, GAN, PACK, RUN, SCHEDULE, Data, LpipsWeights, preset_names
from dagan_cli.errors import BadOption

if TYPE_CHECKING:
    from trainer.config import TrainConfig


def train(
    context: typer.Context,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", metavar="FOLDER", help="Folder of high-resolution images; repeatable.", rich_help_panel=DATA
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            "--targets",
            metavar="FOLDER",
            help="Results of a teacher for --data: same names, same sizes.",
            rich_help_panel=DATA,
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FOLDER",
            help="Folder with lr, hr and maybe target, instead of --data.",
            rich_help_panel=DATA,
        ),
    ] = None,
    pack: Annotated[Path | None, typer.Option("--pack", metavar="FILE", help=PACK, rich_help_panel=DATA)] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Named configuration; default: psnr-x4.",
            autocompletion=preset_names,
            rich_help_panel=RUN,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="TOML file with the configuration.", rich_help_panel=RUN),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set any value, such as gan.lr=1e-4; repeatable.", rich_help_panel=RUN
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved config as TOML and exit.", rich_help_panel=RUN)
    ] = False,
    run: Annotated[
        Path,
        typer.Option("--run", metavar="FOLDER", help="Run folder; an existing run is resumed.", rich_help_panel=RUN),
    ] = Path("runs/run"),
    val: Annotated[
        Path | None, typer.Option("--val", metavar="FOLDER", help="Folder of held-out images.", rich_help_panel=DATA)
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="TIME", help="Training time, such as 20m or 3h.", rich_help_panel=SCHEDULE),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations", min=1, metavar="N", help="Number of steps, instead of a budget.", rich_help_panel=SCHEDULE
        ),
    ] = None,
    schedule: Annotated[
        Literal["cosine", "constant", "cooldown"] | None,
        typer.Option("--schedule", help="Shape of the learning rate over the run.", rich_help_panel=SCHEDULE),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, metavar="N", help="Patches per step.", rich_help_panel=SCHEDULE)
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", metavar="RATE", help="Learning rate.", rich_help_panel=SCHEDULE)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", help="Seed; the same seed gives the same order of data.", rich_help_panel=SCHEDULE
        ),
    ] = None,
    begin: Annotated[
        Path | None,
        typer.Option("--start", metavar="MODEL", help="Model file to take matching weights from.", rich_help_panel=RUN),
    ] = None,
    branch: Annotated[
        Path | None,
        typer.Option(
            "--branch", metavar="FOLDER", help="Run folder to branch from, as for a cooldown.", rich_help_panel=RUN
        ),
    ] = None,
    vgg_weights: Annotated[
        Path | None,
        typer.Option(
            "--vgg-weights", metavar="FILE", help="Weights of the perceptual-loss network.", rich_help_panel=GAN
        ),
    ] = None,
    lpips: LpipsWeights = None,
    only_gan: Annotated[
        bool, typer.Option("--only-gan", help="Skip the pixel phase: --start has been through it.", rich_help_panel=GAN)
    ] = False,
    gan_budget: Annotated[
        str | None,
        typer.Option("--gan-budget", metavar="TIME", help="Time of the adversarial phase.", rich_help_panel=GAN),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Resume an existing run, or refuse to.", rich_help_panel=RUN)
    ] = True,
    progress: Progress = "auto",
    debug: Debug = False,
) -> None:
    """Train new weights. The run folder receives model.safetensors, best.safetensors, log.jsonl and report.html."""
    if context.invoked_subcommand is not None:
        return
    with friendly_errors(debug):
        if preset is not None and config is not None:
            raise BadOption("both --preset and --config were given", hint="give one of them")

        from trainer import presets
        from trainer.config_toml import read_config, to_toml, with_values

        chosen = read_config(config) if config else presets.preset(preset or "psnr-x4")
        chosen = _with_end(chosen, budget, iterations, schedule)
        chosen = _with_gan(chosen, only_gan, gan_budget)
        flags: dict[str, Any] = {"batch": batch, "lr": lr, "seed": seed}
        given = [f"{name}={value!r}" for name, value in flags.items() if value is not None]
        chosen = with_values(chosen, [*given, *(values or [])])
        if print_config:
            echo(to_toml(chosen), end="")
            return
        if not data and pairs is None:
            raise BadOption("no images to train on", hint="give their folder with --data, or one of pairs with --pairs")

        from trainer.loop import train as train_
        from trainer.machine.malloc import keep_freed_memory
        from trainer.places import files_of, require_others
        from trainer.state import has_state

        if not resume and has_state(run):
            raise BadOption(f"--run {run} holds an existing run", hint="choose another folder, or leave out --fresh")
        # A run is resumed with its own config.toml, which has been read by now.
        require_others(set(files_of(run)) - {run / "config.toml"}, {"--config": config})
        keep_freed_memory()
        with StopSignals().caught() as stop:
            steps = train_(
                chosen,
                data or [],
                run,
                val=val,
                targets=targets,
                pairs=pairs,
                pack=pack,
                start=begin,
                branch=branch,
                perceptual=vgg_weights,
                lpips=lpips,
                should_stop=stop,
            )
            # Of several processes that train together, only the first one shows progress.
            draw_training(steps, progress if os.environ.get("RANK", "0") == "0" else "none", str(run))
        raise typer.Exit(stop.exit_code if stop() else 0)


def bench(
    data: Data,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="Named configuration.", autocompletion=preset_names)
    ] = "psnr-x4",
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any value, such as batch=8; repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time for the loop, and for the bare steps.")] = 30,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds in which the two take turns.")] = 3,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure steps per second. Compares the pixel phase with bare steps of the same network on one batch."""
    with friendly_errors(debug):
        from trainer import presets
        from trainer.bench import bench as measure
        from trainer.config_toml import with_values
        from trainer.machine.malloc import keep_freed_memory

        keep_freed_memory()  # as training does
        found = measure(with_values(presets.preset(preset), values or []), data, seconds=seconds, rounds=rounds)
        if as_json:
            echo(in_json(found.to_dict()))
            return
        for name, value in found.to_dict().items():
            echo(printable(f"{name + ':':12} " + (f"{value:.3g}" if isinstance(value, float) else str(value))))


def _with_end(config: TrainConfig, budget: str | None, iterations: int | None, schedule: str | None) -> TrainConfig:
    """Steps and time replace each other; a constant rate continues without end unless one of them is given."""
    from dataclasses import replace

    if budget is not None and iterations is not None:
        raise BadOption("both --budget and --iterations were given", hint="give one of them")
    ends: dict[str, Any] = {"schedule": schedule} if schedule else {}
    if budget is not None or iterations is not None or schedule == "constant":
        ends |= {"budget": time_budget("--budget", budget) if budget else None, "iterations": iterations}
    return replace(config, **ends)


def _with_gan(config: TrainConfig, only_gan: bool, budget: str | None) -> TrainConfig:
    from dataclasses import replace

    if not only_gan and budget is None:
        return config
    if config.gan is None:
        raise BadOption(
            "--only-gan and --gan-budget need an adversarial phase", hint="use a preset that has one, such as gan-x4"
        )
    if budget is not None:
        config = replace(config, gan=replace(config.gan, budget=time_budget("--gan-budget", budget), iterations=None))
    return replace(config, iterations=0, budget=None) if only_gan else config
