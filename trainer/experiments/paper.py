"""Run experiments of the paper: choose the length, train every arm for every seed, write the reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from dagan_cli.errors import BadOption
from trainer.data.samples import MARGIN, Pictures, load_pictures
from trainer.experiments.arms import perceptual_of
from trainer.experiments.own import extended, own_arms
from trainer.experiments.report import WRITTEN, write_report
from trainer.experiments.runs import (
    LENGTHS,
    Setting,
    is_finished,
    measure,
    note_validation,
    read_arm,
    require_same_validation,
    settle_length,
    steps_within,
    train_arm,
)
from trainer.experiments.table import SIZES, Experiment, experiment
from trainer.machine import distributed
from trainer.places import files_of_runs, require_apart, require_others, require_pack_apart, require_unused


def run_paper(
    names: list[str],
    data: list[Path],
    val: Path,
    folder: Path,
    *,
    scale: int | None = None,
    size: str = "full",
    seeds: int = 3,
    iterations: int | None = None,
    budget: float | None = None,
    perceptual: Path | None = None,
    lpips: Path | None = None,
    own: list[str] | None = None,
    pack: Path | None = None,
    part: tuple[int, int] = (1, 1),
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Train the unfinished runs, and write table, figure and README of each experiment to folder/NAME.

    iterations: steps of each run; default: as many as `budget` seconds for all runs allow, or the paper's. own: own
    arms, as `own_arms` reads them. pack: see `train`. part: (2, 3) trains the second third of the runs, for parallel
    processes on one folder; the process that finds all runs finished writes the reports. Yields progress lines. Raises
    BadOption, and the errors of `train`.
    """
    if distributed.started() > 1:
        raise BadOption("experiments are not trained by torchrun", hint="share their runs among processes with --part")
    chosen, arms = [experiment(name) for name in names], own_arms(own or [])
    if arms and len(chosen) > 1:
        raise BadOption("--arm with several experiments, whose first arms differ", hint="run them one after the other")
    chosen = [extended(one, list(arms)) for one in chosen]
    scale = _common_scale(chosen, scale)
    if len({one.protocol for one in chosen}) > 1:
        raise BadOption("E9 is trained without a discriminator, the others with one", hint="run E9 separately")
    if size not in SIZES:
        raise BadOption(f"unknown size {size!r}", hint=f"choose one of {', '.join(SIZES)}")
    require_apart(folder, {"--data": data, "--val": [val]})
    for one in chosen:
        require_unused(folder, LENGTHS, [f"{one.name}{mark}/{name}" for mark in ("", f"-x{scale}") for name in WRITTEN])
    require_others(files_of_runs(folder), {"--vgg-weights": perceptual, "--lpips": lpips})
    require_pack_apart(pack, [folder, *folder.glob("*")], {"--data": data, "--val": [val]})
    held_out = load_pictures([val], smallest=8 * scale)
    smallest = SIZES[size].crop + 2 * MARGIN * scale
    setting = Setting(
        folder=folder,
        pictures=load_pictures(data, smallest, pack),
        val=val,
        size=SIZES[size],
        scale=scale,
        protocol=chosen[0].protocol,
        perceptual=perceptual_of(perceptual),
        lpips=lpips,
        first=chosen[0].arms[0],
        own=arms,
    )
    for arm in arms:  # before anything is written
        replace(setting, iterations=SIZES[size].intervals).config(arm, 0)
    require_same_validation(folder, held_out)
    settings = _settled(setting, chosen, iterations, seeds, budget, held_out)
    note_validation(folder, held_out)
    yield from _introduction(settings, chosen, seeds)

    # A run that two experiments share, with one length, is trained once.
    jobs = {
        each.run(arm, seed): (each, arm, seed)
        for seed in range(seeds)
        for one, each in zip(chosen, settings, strict=True)
        for arm in one.arms
    }
    for number, (each, arm, seed) in enumerate(jobs.values(), start=1):
        if (number - part[0]) % part[1] or is_finished(each, arm, seed):
            continue
        for p in train_arm(each, arm, seed, should_stop):
            psnr = "" if p.psnr is None else f"  PSNR-Y {p.psnr:.2f} dB"
            yield f"[{number}/{len(jobs)}] {arm} seed {seed}: step {p.step} of {each.iterations}{psnr}  {p.message}"
        if should_stop():
            return
    if not all(is_finished(*job) for job in jobs.values()):
        yield "other parts are not finished yet: run the same command again, without --part, for the tables"
        return
    for one, each in zip(chosen, settings, strict=True):
        results = [read_arm(each, arm, range(seeds)) for arm in one.arms]
        yield f"written: {write_report(one, each, results, seeds)}"


def _settled(
    setting: Setting,
    chosen: list[Experiment],
    iterations: int | None,
    seeds: int,
    budget: float | None,
    held_out: Pictures,
) -> list[Setting]:
    """Return the setting of each experiment with its length: as given, as stored, as the budget allows, or in full."""
    measured: list[int] = []

    def within(full: int) -> int:
        if budget is None:
            return full
        if not measured:
            measured.append(
                _length(
                    setting, list(dict.fromkeys(arm for one in chosen for arm in one.arms)), seeds, budget, held_out
                )
            )
        return min(full, measured[0])

    lengths = [
        settle_length(setting, one.name, iterations, lambda one=one: within(one.iterations(setting.scale)))
        for one in chosen
    ]
    return [replace(setting, iterations=length) for length in lengths]


def _length(setting: Setting, arms: list[str], seeds: int, budget: float, held_out: Pictures) -> int:
    measured = [measure(setting, arm, held_out) for arm in arms]
    steps, checks = zip(*measured, strict=True)
    return steps_within(budget, seeds, list(steps), list(checks), setting.size.intervals + 1)


def _common_scale(chosen: list[Experiment], scale: int | None) -> int:
    if not chosen:
        raise BadOption("no experiment was given", hint="for example E10")
    shared = [s for s in chosen[0].scales if all(s in one.scales for one in chosen)]
    if not shared or scale not in (None, *shared):
        known = "; ".join(f"{one.name}: x{', x'.join(map(str, one.scales))}" for one in chosen)
        raise BadOption(f"no common scale: {known}", hint="run them separately, or choose another --scale")
    return shared[0] if scale is None else scale


def _introduction(settings: list[Setting], chosen: list[Experiment], seeds: int) -> Iterator[str]:
    size = settings[0].size
    trained = f"batches of {size.batch} crops of {size.crop} px"
    if settings[0].protocol == "gan":  # the others are baselines, whose size does not change
        network = ", ".join(f"{name} {value}" for name, value in size.generator.items())
        trained = f"{network}; {trained}; discriminator of width {size.discriminator}"
    yield f"size {size.name}: {trained}"
    for one, setting in zip(chosen, settings, strict=True):
        full = one.iterations(setting.scale)
        yield f"{one.name}: {len(one.arms)} arms x {seeds} seeds at x{setting.scale}: {', '.join(one.arms)}"
        yield f"{setting.iterations} steps each, {setting.iterations / full:.2%} of the paper's {full}"
    if settings[0].protocol == "gan":
        yield f"perceptual: {settings[0].perceptual.label}"
