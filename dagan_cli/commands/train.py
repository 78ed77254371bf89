"""`dagan train`: the trainer's commands. The trainer is imported only while one of them runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dagan_cli.commands.console import StopSignals, echo, in_json, printable, say
from dagan_cli.commands.options import (
    SETTINGS,
    AsJson,
    Debug,
    GroupedCommand,
    Progress,
    WindowMode,
    friendly_errors,
    one_of,
    time_budget,
)
from dagan_cli.commands.shown.training import draw_training
from dagan_cli.errors import BadOption

if TYPE_CHECKING:
    from trainer.config import TrainConfig

DATA, RUN, SCHEDULE, GAN = "Data", "Run", "Schedule", "Adversarial phase"
PACK = "File for decoded images, if they exceed memory; made if missing."


def _preset_names(incomplete: str) -> list[str]:
    from trainer.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


LpipsWeights = Annotated[Path | None, typer.Option("--lpips", metavar="FILE", help="LPIPS weights, to validate with.")]
Data = Annotated[
    list[Path], typer.Option("--data", metavar="FOLDER", help="Folder of high-resolution images; repeatable.")
]
RunsFolder = Annotated[
    Path, typer.Option("--run", metavar="FOLDER", help="Folder of all runs; finished ones are not repeated.")
]
Part = Annotated[
    str, typer.Option("--part", metavar="I/N", help="Share of the runs for this process, such as 1/2 and 2/2.")
]

train_app = typer.Typer(rich_markup_mode=None, context_settings=SETTINGS)


@train_app.callback(invoke_without_command=True)
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
            autocompletion=_preset_names,
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


@train_app.command(cls=GroupedCommand)
def bench(
    data: Data,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="Named configuration.", autocompletion=_preset_names)
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


@train_app.command(cls=GroupedCommand)
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are drawn into one figure.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A .png or .svg; default for one run: RUN/curves.png."),
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Write report.html to each folder.")] = False,
    debug: Debug = False,
) -> None:
    """Draw the curves of runs. Shows scores, losses, discriminator, gradients, learning rates, solver constants."""
    with friendly_errors(debug):
        from trainer.record.folder import read_run
        from trainer.record.page import write_report
        from trainer.record.plot import plot as plot_

        found = [read_run(folder) for folder in runs]
        if report:
            for run in found:
                echo(printable(str(write_report(run))))
        if output is not None or not report:
            target = output or (runs[0] / "curves.png" if len(runs) == 1 else Path("curves.png"))
            plot_(found, target)
            echo(printable(str(target)))


@train_app.command(cls=GroupedCommand)
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
                part=_part(part),
                should_stop=stop,
            )
            for line in lines:
                say(line)
        raise typer.Exit(stop.exit_code if stop() else 0)


@train_app.command(cls=GroupedCommand)
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
            shared = {"scale": scale, "budget": time_budget("--each", each), "part": _part(part)}
            shared |= {"group": group, "targets": targets, "start": start}
            for line in run_choice(data, val, run, **shared, should_stop=stop):
                say(line)
        raise typer.Exit(stop.exit_code if stop() else 0)


@train_app.command(cls=GroupedCommand)
def degrade(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of high-resolution images.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the small, degraded images.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind", metavar="KIND", help="Degradation: web is blur, noise, JPEG 60; video is noise, x264 CRF 28."
        ),
    ],
    scale: Annotated[int, typer.Option("-s", "--scale", min=2, max=8, help="Downscaling factor.")] = 4,
    debug: Debug = False,
) -> None:
    """Downscale and degrade images in a fixed way. `dagan eval FOLDER --inputs OUTPUT` compares models on them."""
    with friendly_errors(debug):
        from trainer.data.degrade_folder import degrade_folder
        from trainer.degradations import FIXED

        for path in degrade_folder(folder, output, one_of("--kind", kind, FIXED), scale):
            say(printable(str(path)))


@train_app.command("spoil", hidden=True, cls=GroupedCommand)
def spoil(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER")],
    kind: Annotated[str, typer.Option("--kind", metavar="KIND")],
    scale: Annotated[int, typer.Option("-s", "--scale", min=2, max=8)] = 4,
    debug: Debug = False,
) -> None:
    """Old name of `dagan train degrade`."""
    say("warning: `dagan train spoil` is now called `dagan train degrade`")
    degrade(folder, output, kind, scale, debug)


@train_app.command(cls=GroupedCommand)
def release(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model file.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file to publish.")],
    val: Annotated[Path, typer.Option("--val", metavar="FOLDER", help="Folder the weights were chosen on.")],
    reports: Annotated[
        list[Path] | None,
        typer.Option("--report", metavar="FOLDER", help="Folder to report scores on, such as Set5; repeatable."),
    ] = None,
    training_data: Annotated[
        str | None,
        typer.Option("--training-data", metavar="TEXT", help="Description of the training data and its licences."),
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", "--license", metavar="LICENCE", help="Licence of the weights.")
    ] = "MIT",
    order: Annotated[int | None, typer.Option("--order", metavar="1|2|4", help="Default order of the solver.")] = None,
    window: Annotated[
        WindowMode | None, typer.Option("--window", help="Default context of pooling and attention.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option("--lpips", metavar="FILE", help="LPIPS weights, to report LPIPS too.")
    ] = None,
    started_from: Annotated[
        Path | None, typer.Option("--started-from", metavar="MODEL", help="Model whose weights the run started with.")
    ] = None,
    mix: Annotated[
        float,
        typer.Option(
            "--mix", min=0.0, max=1.0, help="Interpolation from the starting weights (0) to the trained ones (1)."
        ),
    ] = 1.0,
    dial: Annotated[
        bool, typer.Option("--dial", help="Measure --detail between the starting weights and the trained ones.")
    ] = False,
    fidelity: Annotated[
        Path | None,
        typer.Option(
            "--fidelity-model", metavar="MODEL", help="Fidelity model of --dial, where the run started with another."
        ),
    ] = None,
    twin: Annotated[Path | None, typer.Option("--twin", hidden=True, help="Old name of --fidelity-model.")] = None,
    debug: Debug = False,
) -> None:
    """Prepare a run for publication. Writes it as fp16 with its measured scores, and prints the catalogue entry."""
    with friendly_errors(debug):
        from trainer.release import release as release_

        if output.exists():
            raise BadOption(f"-o {output} exists", hint="choose another file")
        if twin is not None:
            say("warning: --twin is now called --fidelity-model")
        entry = release_(
            source,
            output,
            val=val,
            reports=reports or [],
            training_data=training_data,
            licence=licence,
            order=order,
            window=window,
            lpips=lpips,
            started_from=started_from,
            mix=mix,
            dial=dial,
            fidelity=fidelity or twin,
        )
        echo(in_json(entry, indent=2))


def _part(given: str) -> tuple[int, int]:
    which, _, of = given.partition("/")
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise BadOption(f"invalid --part {given!r}", hint="for example --part 1/2 and --part 2/2")
    return int(which), int(of)


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
