"""Run experiments of the paper: choose the length, train every arm for every seed, write the reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from dagan_cli.errors import BadOption
from trainer.data.samples import MARGIN, load_pictures
from trainer.experiments.arms import perceptual_of
from trainer.experiments.report import WRITTEN, write_report
from trainer.experiments.runs import (
    LENGTHS,
    Setting,
    is_finished,
    measure,
    read_arm,
    settle_length,
    steps_within,
    train_arm,
)
from trainer.experiments.table import SIZES, Experiment, experiment
from trainer.places import files_of_runs, require_apart, require_others, require_unused


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
    part: tuple[int, int] = (1, 1),
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Train the unfinished runs, and write table, figure and README of each experiment to folder/NAME.

    iterations: steps of each run; default: as many as `budget` seconds for all runs allow, or the paper's. part: (2, 3)
    trains the second third of the runs, for parallel processes on one folder; the process that finds all runs finished
    writes the reports. Yields progress lines. Raises BadOption, and the errors of `train`.
    """
    chosen = [experiment(name) for name in names]
    scale = _common_scale(chosen, scale)
    if len({one.protocol for one in chosen}) > 1:
        raise BadOption("E9 is trained without a discriminator, the others with one", hint="run E9 separately")
    if size not in SIZES:
        raise BadOption(f"unknown size {size!r}", hint=f"choose one of {', '.join(SIZES)}")
    require_apart(folder, {"--data": data, "--val": [val]})
    for one in chosen:
        require_unused(folder, LENGTHS, [f"{one.name}{mark}/{name}" for mark in ("", f"-x{scale}") for name in WRITTEN])
    require_others(files_of_runs(folder), {"--vgg-weights": perceptual, "--lpips": lpips})
    smallest = SIZES[size].crop + 2 * MARGIN * scale
    setting = Setting(
        folder=folder,
        pictures=load_pictures(data, smallest),
        val=val,
        size=SIZES[size],
        scale=scale,
        protocol=chosen[0].protocol,
        perceptual=perceptual_of(perceptual),
        lpips=lpips,
    )
    arms = list(dict.fromkeys(arm for one in chosen for arm in one.arms))
    full = max(one.iterations[scale] for one in chosen)
    setting = replace(
        setting, iterations=settle_length(setting, iterations, lambda: _length(setting, arms, seeds, budget, full))
    )
    yield from _introduction(setting, arms, seeds, full)

    jobs = [(arm, seed) for seed in range(seeds) for arm in arms]
    for number, (arm, seed) in enumerate(jobs, start=1):
        if (number - part[0]) % part[1] or is_finished(setting, arm, seed):
            continue
        for p in train_arm(setting, arm, seed, should_stop):
            psnr = "" if p.psnr is None else f"  PSNR-Y {p.psnr:.2f} dB"
            yield f"[{number}/{len(jobs)}] {arm} seed {seed}: step {p.step} of {setting.iterations}{psnr}  {p.message}"
        if should_stop():
            return
    if not all(is_finished(setting, arm, seed) for arm, seed in jobs):
        yield "other parts are not finished yet: run the same command again, without --part, for the tables"
        return
    for one in chosen:
        results = [read_arm(setting, arm, range(seeds)) for arm in one.arms]
        yield f"written: {write_report(one, setting, results, seeds)}"


def _length(setting: Setting, arms: list[str], seeds: int, budget: float | None, full: int) -> int:
    if budget is None:
        return full
    held_out = load_pictures([setting.val], smallest=8 * setting.scale)
    measured = [measure(setting, arm, held_out) for arm in arms]
    steps, checks = zip(*measured, strict=True)
    return min(full, steps_within(budget, seeds, list(steps), list(checks), setting.size.intervals + 1))


def _common_scale(chosen: list[Experiment], scale: int | None) -> int:
    if not chosen:
        raise BadOption("no experiment was given", hint="for example E10")
    shared = [s for s in chosen[0].scales if all(s in one.scales for one in chosen)]
    if not shared or scale not in (None, *shared):
        known = "; ".join(f"{one.name}: x{', x'.join(map(str, one.scales))}" for one in chosen)
        raise BadOption(f"no common scale: {known}", hint="run them separately, or choose another --scale")
    return shared[0] if scale is None else scale


def _introduction(setting: Setting, arms: list[str], seeds: int, full: int) -> Iterator[str]:
    size = setting.size
    network = ", ".join(f"{name} {value}" for name, value in size.generator.items())
    yield f"{len(arms)} arms x {seeds} seeds at x{setting.scale}: {', '.join(arms)}"
    trained = f"batches of {size.batch} crops of {size.crop} px; discriminator of width {size.discriminator}"
    yield f"size {size.name}: {network}; {trained}"
    share = setting.iterations / full
    yield f"{setting.iterations} steps each, {share:.2%} of the paper's {full}; perceptual: {setting.perceptual.label}"
