"""`dagan train`: the doors to the trainer, which is imported only while they are used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagan_cli.arguments import one_of, time_budget, window_of
from dagan_cli.command import SETTINGS, AsJson, Debug, friendly_errors
from dagan_cli.console import StopSignals, draw_training, printable, say
from dagan_cli.errors import BadOption

if TYPE_CHECKING:
    from trainer.config import TrainConfig

train_app = typer.Typer(rich_markup_mode=None, context_settings=SETTINGS)


@train_app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Folder of high-resolution pictures; repeatable.")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option("--targets", help="A teacher's results for --data: same names and sizes.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="In place of --data: folder with lr, hr and maybe target.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="A named run; psnr-x4 by default. A wrong name lists all.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file of choices.")] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="Any choice, such as gan.lr=1e-4; repeatable.")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all choices as TOML, and end.")] = False,
    run: Annotated[Path, typer.Option("--run", help="Folder of the run; it goes on if it has begun.")] = Path(
        "runs/run"
    ),
    val: Annotated[Path | None, typer.Option("--val", help="Folder of held-out pictures.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Training time, such as 20m or 3h.")] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", min=1, help="Steps, in place of a budget.")] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="cosine, constant or cooldown.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Patches a step.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same data order.")] = None,
    begin: Annotated[Path | None, typer.Option("--start", help="Model file to take fitting weights from.")] = None,
    branch: Annotated[
        Path | None, typer.Option("--branch", help="Run folder to branch off, as for a cooldown.")
    ] = None,
    vgg_weights: Annotated[
        Path | None, typer.Option("--vgg-weights", help="Of the network that judges in the adversarial phase.")
    ] = None,
    lpips: Annotated[Path | None, typer.Option("--lpips", help="LPIPS weights, to validate by.")] = None,
    only_gan: Annotated[
        bool, typer.Option("--only-gan", help="Leave the pixel phase out: --start has been through it.")
    ] = False,
    gan_budget: Annotated[str | None, typer.Option("--gan-budget", help="Time of the adversarial phase.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on, or refuse a run that has begun.")] = True,
    progress: Annotated[str, typer.Option("--progress", help="auto, bar, json or none.")] = "auto",
    debug: Debug = False,
) -> None:
    """Train new weights; the run's folder gets model.safetensors, best.safetensors, log.jsonl and report.html."""
    if context.invoked_subcommand is not None:
        return
    with friendly_errors(debug):
        if preset is not None and config is not None:
            raise BadOption("both --preset and --config were given", hint="give one of them")
        mode = one_of("--progress", progress, ("auto", "bar", "json", "none"))

        from trainer import presets
        from trainer.config import read_config
        from trainer.config_text import to_toml, with_values

        chosen = read_config(config) if config else presets.preset(preset or "psnr-x4")
        chosen = _with_end(chosen, budget, iterations, schedule)
        chosen = _with_gan(chosen, only_gan, gan_budget)
        flags: dict[str, Any] = {"batch": batch, "lr": lr, "seed": seed}
        given = [f"{name}={value!r}" for name, value in flags.items() if value is not None]
        chosen = with_values(chosen, [*given, *(values or [])])
        if print_config:
            typer.echo(to_toml(chosen), nl=False)
            return
        if not data and pairs is None:
            raise BadOption("no images to train on", hint="name their folder with --data, or one of pairs with --pairs")
        if not resume and (run / "state.pt").exists():
            raise BadOption(f"{run} holds a run that has begun", hint="name another folder with --run")

        from dagan_cli.heap import keep_freed_memory
        from trainer.loop import train as train_

        keep_freed_memory()
        with StopSignals().caught() as stop:
            steps = train_(
                chosen,
                data or [],
                run,
                val=val,
                targets=targets,
                pairs=pairs,
                start=begin,
                branch=branch,
                perceptual=vgg_weights,
                lpips=lpips,
                should_stop=stop,
            )
            # Of several processes that train together, the first one speaks.
            draw_training(steps, mode if os.environ.get("RANK", "0") == "0" else "none", str(run))
        raise typer.Exit(stop.exit_code if stop() else 0)


@train_app.command()
def bench(
    data: Annotated[list[Path], typer.Option("--data", help="Folder of high-resolution pictures; repeatable.")],
    preset: Annotated[str, typer.Option("--preset", help="A named run.")] = "psnr-x4",
    values: Annotated[list[str] | None, typer.Option("--set", help="Any choice, such as batch=8.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="For the loop, and for the bare steps.")] = 30,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="The two take turns so often.")] = 3,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Steps a second of the pixel phase, against bare steps of the same network on one batch."""
    with friendly_errors(debug):
        from dagan_cli.heap import keep_freed_memory
        from trainer import presets
        from trainer.bench import bench as measure
        from trainer.config_text import with_values

        keep_freed_memory()  # as training does
        found = measure(with_values(presets.preset(preset), values or []), data, seconds=seconds, rounds=rounds)
        if as_json:
            typer.echo(json.dumps(found.to_dict()))
            return
        for name, value in found.to_dict().items():
            typer.echo(f"{name + ':':12} {value:.3g}" if isinstance(value, float) else f"{name + ':':12} {value}")


@train_app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; several are drawn into one picture.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .png or .svg; RUN/curves.png for one run by default.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Write report.html into each folder.")] = False,
    debug: Debug = False,
) -> None:
    """Draw what runs have logged: scores, losses, discriminator, gradients, rates, constants."""
    with friendly_errors(debug):
        from trainer.plot import plot as plot_
        from trainer.report import write_report
        from trainer.run_folder import read_run

        found = [read_run(folder) for folder in runs]
        if report:
            for run in found:
                typer.echo(printable(str(write_report(run))))
        if output is not None or not report:
            target = output or (runs[0] / "curves.png" if len(runs) == 1 else Path("curves.png"))
            plot_(found, target)
            typer.echo(printable(str(target)))


@train_app.command()
def paper(
    names: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="E7 to E12, C1, C2, C5 or V.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of high-resolution pictures; repeatable.")],
    val: Annotated[Path, typer.Option("--val", help="Folder of held-out pictures.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of all runs; what is finished there is not run again.")],
    size: Annotated[str, typer.Option("--size", help="full, as in the paper, or small, for a CPU.")] = "full",
    scale: Annotated[int | None, typer.Option("--scale", help="2 or 4, where the experiment has both.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each arm.")] = 3,
    iterations: Annotated[int | None, typer.Option("--iterations", min=1, help="Steps of each run.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Time for all runs together, such as 20m.")] = None,
    vgg_weights: Annotated[
        Path | None, typer.Option("--vgg-weights", help="Of VGG16, as in the paper, or of the small encoder.")
    ] = None,
    lpips: Annotated[Path | None, typer.Option("--lpips", help="LPIPS weights, to validate by.")] = None,
    part: Annotated[str, typer.Option("--part", help="1/2 and 2/2: share the runs between two processes.")] = "1/1",
    debug: Debug = False,
) -> None:
    """Run experiments of the paper: all arms by the same steps and batches, then table and figure of each."""
    with friendly_errors(debug):
        if budget is not None and iterations is not None:
            raise BadOption("both --budget and --iterations were given", hint="give one of them")
        from dagan_cli.heap import keep_freed_memory
        from trainer.experiments.paper import run_paper

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
                budget=time_budget(budget) if budget else None,
                perceptual=vgg_weights,
                lpips=lpips,
                part=_part(part),
                should_stop=stop,
            )
            for line in lines:
                say(line)
        raise typer.Exit(stop.exit_code if stop() else 0)


@train_app.command()
def choose(
    data: Annotated[list[Path], typer.Option("--data", help="Folder of high-resolution pictures; repeatable.")],
    val: Annotated[Path, typer.Option("--val", help="Folder of held-out pictures.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of all runs; what is finished there is not run again.")],
    group: Annotated[str, typer.Option("--group", help="networks, attentions or recipes.")] = "networks",
    targets: Annotated[
        Path | None, typer.Option("--targets", help="A teacher's results for --data, for the recipes or with --start.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="Model whose convolutions all candidates begin with.")
    ] = None,
    each: Annotated[str, typer.Option("--each", help="Processor time of each candidate, such as 20m.")] = "20m",
    scale: Annotated[int, typer.Option("--scale", help="2 or 4.")] = 4,
    part: Annotated[str, typer.Option("--part", help="1/2 and 2/2: share the runs between two processes.")] = "1/1",
    debug: Debug = False,
) -> None:
    """Compare networks, forms of attention or recipes, each trained for the same time: PSNR-Y, time per pixel."""
    with friendly_errors(debug):
        if scale not in (2, 4):
            raise BadOption(f"--scale {scale}", hint="use 2 or 4, which have presets")

        from dagan_cli.heap import keep_freed_memory
        from trainer.experiments.choice import GROUPS, run_choice

        one_of("--group", group, tuple(GROUPS))
        keep_freed_memory()
        with StopSignals().caught() as stop:
            shared = {"scale": scale, "budget": time_budget(each), "part": _part(part)}
            shared |= {"group": group, "targets": targets, "start": start}
            for line in run_choice(data, val, run, **shared, should_stop=stop):
                say(line)
        raise typer.Exit(stop.exit_code if stop() else 0)


@train_app.command()
def spoil(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="High-resolution pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the small, spoilt ones.")],
    kind: Annotated[str, typer.Option("--kind", help="web: blur, noise, JPEG 60. video: noise, x264 CRF 28.")],
    scale: Annotated[int, typer.Option("-s", "--scale", min=2, max=8, help="They are smaller by this.")] = 4,
    debug: Debug = False,
) -> None:
    """Shrink pictures and spoil them in a fixed way, to compare models on: `dagan eval FOLDER --inputs OUTPUT`."""
    with friendly_errors(debug):
        from trainer.degradations import SPOILT
        from trainer.spoilt import spoil_folder

        for path in spoil_folder(folder, output, one_of("--kind", kind, SPOILT), scale):
            say(printable(str(path)))


@train_app.command()
def release(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a model file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The published file.")],
    val: Annotated[Path, typer.Option("--val", help="Folder the weights were chosen on.")],
    reports: Annotated[
        list[Path] | None, typer.Option("--report", help="Folder that is only reported, such as Set5; repeatable.")
    ] = None,
    training_data: Annotated[
        str | None, typer.Option("--training-data", help="What it was trained on, and the licences of that.")
    ] = None,
    licence: Annotated[str, typer.Option("--licence", help="Of the weights.")] = "MIT",
    order: Annotated[int | None, typer.Option("--order", help="The order it runs at unless told otherwise.")] = None,
    window: Annotated[
        str | None, typer.Option("--window", help="global, or local: the default for spoilt pictures.")
    ] = None,
    lpips: Annotated[Path | None, typer.Option("--lpips", help="LPIPS weights, to report that too.")] = None,
    started_from: Annotated[
        Path | None, typer.Option("--started-from", help="The model whose weights the run began with.")
    ] = None,
    mix: Annotated[
        float,
        typer.Option("--mix", min=0.0, max=1.0, help="Publish the weights so far of the way from that one to this."),
    ] = 1.0,
    dial: Annotated[bool, typer.Option("--dial", help="Measure --detail between that one and this.")] = False,
    twin: Annotated[
        Path | None, typer.Option("--twin", help="The fidelity model of the dial, where the run began with another.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a published model of a run: fp16, its measured numbers in the header; prints its catalogue entry."""
    with friendly_errors(debug):
        from trainer.release import release as release_

        if output.exists():
            raise BadOption(f"{output} exists", hint="name another file with -o")
        entry = release_(
            source,
            output,
            val=val,
            reports=reports or [],
            training_data=training_data,
            licence=licence,
            order=order,
            window=window_of(window),
            lpips=lpips,
            started_from=started_from,
            mix=mix,
            dial=dial,
            twin=twin,
        )
        typer.echo(json.dumps(entry, indent=2))


def _part(given: str) -> tuple[int, int]:
    which, _, of = given.partition("/")
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise BadOption(f"--part {given}", hint="for example --part 1/2 and --part 2/2")
    return int(which), int(of)


def _with_end(config: TrainConfig, budget: str | None, iterations: int | None, schedule: str | None) -> TrainConfig:
    """Steps and time replace each other, and a constant rate goes on for ever unless told otherwise."""
    from dataclasses import replace

    if budget is not None and iterations is not None:
        raise BadOption("both --budget and --iterations were given", hint="give one of them")
    ends: dict[str, Any] = {"schedule": schedule} if schedule else {}
    if budget is not None or iterations is not None or schedule == "constant":
        ends |= {"budget": time_budget(budget) if budget else None, "iterations": iterations}
    return replace(config, **ends)


def _with_gan(config: TrainConfig, only_gan: bool, budget: str | None) -> TrainConfig:
    from dataclasses import replace

    if not only_gan and budget is None:
        return config
    if config.gan is None:
        raise BadOption("this run has no adversarial phase", hint="use a preset that has one, such as gan-x4")
    if budget is not None:
        config = replace(config, gan=replace(config.gan, budget=time_budget(budget), iterations=None))
    return replace(config, iterations=0, budget=None) if only_gan else config
