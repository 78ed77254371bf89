"""Read a run folder: numbers from log.jsonl, events from events.jsonl, the configuration from the model's header.

Both files are appended to, so a kill may leave a truncated line, and a run that is resumed from an older checkpoint
repeats steps: then the later lines replace the earlier ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadModel, NoInput
from dagan_cli.files import open_regular
from dagan_cli.model.file import read_header

MODEL = "model.safetensors"  # the averaged weights at the last save
BEST = "best.safetensors"  # the averaged weights with the best validation score of the phase
PIXEL = "pixel.safetensors"  # the averaged weights after the pixel phase: the fidelity model of an adversarial run
LOG = "log.jsonl"
EVENTS = "events.jsonl"
CONFIG = "config.toml"
SAMPLES = "samples"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
SCORES = ("psnr_y", "psnr_rgb", "lpips")
_LARGEST = 2**31  # bytes of a file that are read; a line per second makes 40 MB a day
_LONGEST = 2**20  # bytes of a line that are read
_NAME = 60  # longer names are cut to this number of characters


@dataclass(frozen=True, slots=True)
class Row:
    """Values logged at a step; every number is finite."""

    step: int
    phase: str
    values: dict[str, float]
    constants: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Run:
    """Contents of a run folder."""

    folder: Path
    rows: list[Row]  # by increasing step
    events: list[dict[str, Any]]  # each has "event" and "step"
    model: dict[str, Any] = field(default_factory=dict)  # header of the last weights: config and provenance

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def phases(self) -> list[tuple[str, list[Row]]]:
        """Name and rows of each phase, in order."""
        found: list[tuple[str, list[Row]]] = []
        for row in self.rows:
            if not found or found[-1][0] != row.phase:
                found.append((row.phase, []))
            found[-1][1].append(row)
        return found

    @property
    def samples(self) -> list[tuple[int, Path]]:
        """Step and file of each strip of samples."""
        files = [file for file in self.folder.joinpath(SAMPLES).glob("*.png") if file.stem.isdecimal()]
        return sorted((int(file.stem[:12]), file) for file in files if file.is_file())


def read_run(folder: Path) -> Run:
    """Read a run folder, also of an unfinished or killed run. Raises NoInput if it is not a run folder."""
    if not (folder / LOG).is_file():
        raise NoInput(f"{folder} is not the folder of a training run", hint=f"name a folder that holds {LOG}")
    rows: list[Row] = []
    again: list[dict[str, Any]] = []
    for line in _lines(folder / LOG):
        row = _row(line)
        if row is None:
            continue
        if rows and row.step < rows[-1].step:
            again.append({"event": "resumed", "step": row.step})
            rows = [kept for kept in rows if kept.step < row.step]
        _put(rows, row)
    events = [
        line for line in _lines(folder / EVENTS) if _step(line) is not None and isinstance(line.get("event"), str)
    ]
    for event in events:  # a phase's last validation is logged only as an event
        scored = _row({key: event[key] for key in ("step", "phase", *SCORES) if key in event})
        if scored is not None and scored.values:
            _put(rows, scored)
    return Run(folder, rows, events or again, _model(folder))


def _put(rows: list[Row], row: Row) -> None:
    """Insert a row by its step; newer values replace older ones."""
    at = len(rows)
    while at and rows[at - 1].step > row.step:
        at -= 1
    if at and rows[at - 1].step == row.step and rows[at - 1].phase == row.phase:
        before = rows[at - 1]
        rows[at - 1] = Row(row.step, row.phase, before.values | row.values, before.constants | row.constants)
    else:
        rows.insert(at, row)


def _row(line: dict[str, Any]) -> Row | None:
    step = _step(line)
    if step is None:
        return None
    phase, constants = line.get("phase", "pixel"), line.get("constants")
    values = {name[:_NAME]: number for name, value in line.items() if (number := _number(value)) is not None}
    values.pop("step")
    solvers: dict[str, tuple[float, ...]] = {}
    for solver, given in constants.items() if isinstance(constants, dict) else ():
        numbers = [_number(value) for value in given[:8]] if isinstance(given, list) else []
        if finite := tuple(number for number in numbers if number is not None):
            solvers[solver[:_NAME]] = finite
    return Row(step, phase[:_NAME] if isinstance(phase, str) else "pixel", values, solvers)


def _step(line: dict[str, Any]) -> int | None:
    step = line.get("step")
    return step if type(step) is int and 0 <= step < 10**12 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file, skipping truncated and foreign lines."""
    if not path.is_file():
        return
    try:
        with open_regular(path) as file:
            while file.tell() < _LARGEST and (line := file.readline(_LONGEST)):
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(found, dict):
                    yield found
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NoInput(f"cannot read {path}: {reason}", hint="check its permissions") from error


def _model(folder: Path) -> dict[str, Any]:
    try:
        return read_header(folder / MODEL)
    except BadModel:  # not saved yet, or damaged: the rest can still be reported
        return {}
