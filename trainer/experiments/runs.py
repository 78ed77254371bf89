"""Train the arms of experiments, one folder per arm and seed, and read their logs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from dagan_cli.errors import BadOption
from dagan_cli.files import read_regular, whole_or_absent
from trainer.config import TrainConfig
from trainer.data.samples import Pictures, validation_pairs
from trainer.experiments.arms import Perceptual, config_of, multiply_adds
from trainer.experiments.own import changed
from trainer.experiments.table import Protocol, Size
from trainer.loop import Progress, train
from trainer.networks import new_network
from trainer.record.folder import Row, read_run
from trainer.state import has_state, load_state
from trainer.validate import scores

LENGTHS = "lengths.json"  # steps per run of each experiment in a folder: all its arms must have the same
LONGEST = 2**20  # bytes of lengths.json
_HELD_OUT = "held-out images"  # their fingerprint, in lengths.json


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings shared by all runs of a folder."""

    folder: Path
    pictures: Pictures
    val: Path
    size: Size
    scale: int
    protocol: Protocol
    perceptual: Perceptual
    lpips: Path | None
    iterations: int = 0  # steps of each run
    first: str = ""  # the arm that own arms change
    own: dict[str, list[str]] = field(default_factory=dict)  # the assignments of each own arm

    def config(self, arm: str, seed: int) -> TrainConfig:
        given = {"seed": seed, "iterations": self.iterations, "perceptual": self.perceptual}
        base = self.first if arm in self.own else arm
        config = config_of(base, self.size, self.scale, self.protocol, **given)
        return changed(config, arm, self.own[arm]) if arm in self.own else config

    def run(self, arm: str, seed: int) -> Path:
        """Return the folder of a run, which is named after arm, scale, length and seed."""
        return self.folder / f"{arm}-x{self.scale}-{self.iterations}-seed{seed}"


@dataclass(frozen=True, slots=True)
class Arm:
    """Results of one arm over its seeds."""

    name: str
    parameters: int
    multiply_adds: int  # for one LR patch
    runs: dict[int, list[Row]]  # by seed, in order of steps

    def last(self, key: str) -> dict[int, float]:
        """Return the last logged value of `key` by seed, without the seeds that never logged one."""
        found = {seed: [row.values[key] for row in rows if key in row.values] for seed, rows in self.runs.items()}
        return {seed: values[-1] for seed, values in found.items() if values}

    @property
    def seconds_per_step(self) -> dict[int, float]:
        """Seconds per step by seed, without validation."""
        timed = {seed: [row for row in rows if "seconds" in row.values] for seed, rows in self.runs.items()}
        return {seed: rows[-1].values["seconds"] / rows[-1].step for seed, rows in timed.items() if rows}


def is_finished(setting: Setting, arm: str, seed: int) -> bool:
    """True if the run has all its steps. Raises BadOption if the folder contains a different run."""
    folder, wanted = setting.run(arm, seed), setting.config(arm, seed)
    if not has_state(folder):
        return False
    state = load_state(folder)
    found = TrainConfig.from_dict(state["config"])
    if found != wanted or state["data"] != setting.pictures.fingerprint:
        raise BadOption(f"{folder} has another config ({_difference(found, wanted)})", hint="use another --run folder")
    return state["step"] >= setting.iterations


def train_arm(setting: Setting, arm: str, seed: int, should_stop: Callable[[], bool]) -> Iterator[Progress]:
    """Train one run, resuming it if it was interrupted."""
    perceptual = setting.perceptual.path if setting.protocol == "gan" else None
    yield from train(
        setting.config(arm, seed),
        setting.pictures,
        setting.run(arm, seed),
        val=setting.val,
        perceptual=perceptual,
        lpips=setting.lpips,
        should_stop=should_stop,
        report_every=inf,  # every line of the log is the mean of one interval
    )


def read_arm(setting: Setting, arm: str, seeds: range) -> Arm:
    """Read the results of an arm. Raises NoInput if a run has not started."""
    network = new_network(setting.config(arm, 0))
    return Arm(
        arm,
        sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds(network, setting.size.crop // setting.scale),
        {seed: read_run(setting.run(arm, seed)).rows for seed in seeds},
    )


def settle_length(setting: Setting, name: str, wanted: int | None, measured: Callable[[], int]) -> int:
    """Return the steps per run of an experiment: `wanted`, or else as stored in the folder, or else as measured.

    name: that of the experiment. The result is stored; a measured one is rounded down to whole intervals. Raises
    BadOption if the folder has another length, or `wanted` is not in whole intervals.
    """
    key, whole = f"{name}-{setting.size.name}-x{setting.scale}", setting.size.intervals
    if wanted is not None and wanted % whole:
        near = max(whole, wanted // whole * whole)
        raise BadOption(
            f"--iterations {wanted}: every run has {whole} equal intervals", hint=f"use --iterations {near}"
        )
    before = _noted(setting.folder).get(key)
    steps = wanted if wanted is not None else before if type(before) is int else measured()
    steps = max(whole, steps // whole * whole)
    if before not in (None, steps):
        raise BadOption(
            f"the runs of {name} in {setting.folder} have {before} steps, not {steps}", hint="use another --run folder"
        )
    _note(setting.folder, key, steps)
    return steps


def require_same_validation(folder: Path, held_out: Pictures) -> None:
    """Raise BadOption if the runs of the folder are validated on other images."""
    if _noted(folder).get(_HELD_OUT) not in (None, held_out.fingerprint):
        hint = "use their --val, or another --run folder"
        raise BadOption(f"the runs in {folder} have other held-out images", hint=hint)


def note_validation(folder: Path, held_out: Pictures) -> None:
    """Note the held-out images of the runs of a folder."""
    _note(folder, _HELD_OUT, held_out.fingerprint)


def _noted(folder: Path) -> dict[str, Any]:
    """Return what all runs of a folder have in common. Raises BadOption if it cannot be read."""
    path = folder / LENGTHS
    try:
        found = json.loads(read_regular(path, LONGEST)) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadOption(f"{path} is unreadable", hint="remove it, or use another --run folder") from error
    if not isinstance(found, dict):
        raise BadOption(f"{path} is unreadable", hint="remove it, or use another --run folder")
    return found


def _note(folder: Path, key: str, value: int | str) -> None:
    noted = _noted(folder)
    if key not in noted:
        with whole_or_absent(folder / LENGTHS) as file:
            file.write(json.dumps(noted | {key: value}).encode())


def steps_within(budget: float, seeds: int, step_seconds: list[float], check_seconds: list[float], checks: int) -> int:
    """Return the steps per run with which all runs, one after the other, take `budget` seconds.

    step_seconds, check_seconds: time of a step and of a validation of each arm. Raises BadOption if no step fits.
    """
    left = budget / seeds - checks * sum(check_seconds)
    steps = int(left / sum(step_seconds))
    if steps < checks:
        least = seeds * checks * (sum(step_seconds) + sum(check_seconds))
        raise BadOption(
            f"--budget {budget:.0f}s is too short for {seeds} x {len(step_seconds)} runs",
            hint=f"use at least --budget {least / 60 + 1:.0f}m, or fewer --seeds",
        )
    return steps


def measure(setting: Setting, arm: str, held_out: Pictures, steps: int = 6) -> tuple[float, float]:
    """Measure the seconds of a step and of a validation in a short trial."""
    perceptual = setting.perceptual.path if setting.protocol == "gan" else None
    config = replace(setting, iterations=steps).config(arm, 0)
    times = []
    with TemporaryDirectory() as folder:
        for _ in train(config, setting.pictures, Path(folder), perceptual=perceptual, report_every=0.0):
            times.append(time.perf_counter())
    pairs = list(validation_pairs(held_out, setting.scale, setting.size.validate_side))
    began = time.perf_counter()
    scores(new_network(config).eval(), pairs)
    gaps = [b - a for a, b in pairwise(times[:-1])]
    return median(gaps), time.perf_counter() - began


def _difference(found: TrainConfig, wanted: TrainConfig) -> str:
    """Describe the first setting that differs, for an error message."""
    for item in fields(TrainConfig):
        a, b = getattr(found, item.name), getattr(wanted, item.name)
        if a != b and item.name in ("gan", "generator") and a is not None and b is not None:
            inner = next(name for name, value in asdict(a).items() if value != asdict(b)[name])
            return f"{item.name}.{inner} = {asdict(a)[inner]}, not {asdict(b)[inner]}"
        if a != b:
            return f"{item.name} = {a}, not {b}"
    return "other images"
