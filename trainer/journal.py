"""What a run writes down while it trains, and how it is read back: log.jsonl holds numbers, events.jsonl what happened.

Both are appended to, so a kill may leave a torn line, and a run that goes on from an older checkpoint comes past the
same steps again: then what is written later counts.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadModel, NoInput
from dagan_cli.media.atomic import cannot_write, whole_or_absent
from trainer.board import Board
from trainer.config import TrainConfig
from trainer.config_text import to_toml

LOG = "log.jsonl"
EVENTS = "events.jsonl"
CONFIG = "config.toml"
SAMPLES = "samples"
SCORES = ("psnr_y", "psnr_rgb", "lpips")
BETWEEN = 60.0  # seconds from one report to the next, at least ...
SHARE = 50  # ... and as many times what writing one took: with 20 000 lines that is 1.5 s
_LONGEST = 2**20  # bytes of a line
_NAME = 60  # characters of a name that are kept


class Journal:
    """Where a run writes; None for the processes that only help the first one, which then write nothing."""

    def __init__(self, run: Path | None) -> None:
        self._run = run
        self._board: Board | None = None
        self._next = float("-inf")  # when another report is due
        if run is not None:
            _append(run / LOG, "")  # a folder that cannot be written to is found now, not after hours

    def begin(self, event: str, config: TrainConfig, step: int, **facts: Any) -> None:
        """Note how the run began or goes on; its choices are kept as a file that `--config` reads."""
        if self._run is None:
            return
        with whole_or_absent(self._run / CONFIG) as part:
            part.write_text(to_toml(config))
        self._board = Board(self._run / "tensorboard", step)
        self.note(event, step, **facts)

    def log(self, facts: dict[str, Any]) -> None:
        """Write the numbers of a step down. Raises CannotWrite."""
        if self._run is None:
            return
        _append(self._run / LOG, json.dumps(facts) + "\n")
        if self._board is not None:
            self._board.add(facts, self._run / SAMPLES / f"{facts['step']:08d}.png")

    def note(self, event: str, step: int, **facts: Any) -> None:
        """Write down that something happened. Raises CannotWrite."""
        if self._run is None:
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        line = {"event": event, "step": step, "at": at} | {key: fact for key, fact in facts.items() if fact is not None}
        _append(self._run / EVENTS, json.dumps(line, default=str) + "\n")

    def tell(self, *, last: bool = False) -> None:
        """Write report.html anew, unless that was just done; a failure of it does not stop the run."""
        if self._run is None or (not last and time.monotonic() < self._next):
            return
        from trainer.report import write_report

        started = time.monotonic()
        try:
            write_report(read_run(self._run))
        except Exception as error:  # weights are worth more than their story
            warnings.warn(f"report.html was not written: {error}", RuntimeWarning, stacklevel=2)
        ended = time.monotonic()
        self._next = ended + max(BETWEEN, SHARE * (ended - started))
        if last and self._board is not None:
            self._board.close()


@dataclass(frozen=True, slots=True)
class Row:
    """What was logged at a step; every number is finite."""

    step: int
    phase: str
    values: dict[str, float]
    constants: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, as read back."""

    folder: Path
    rows: list[Row]  # rising steps
    events: list[dict[str, Any]]  # each with "event" and "step"
    model: dict[str, Any] = field(default_factory=dict)  # the header of its last weights: config and provenance

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def phases(self) -> list[tuple[str, list[Row]]]:
        """The rows of each phase, in order."""
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
    """Read a run's folder, whatever state it was left in. Raises NoInput where there is none."""
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
    for event in events:  # a phase's last validation comes after its last line
        scored = _row({key: event[key] for key in ("step", "phase", *SCORES) if key in event})
        if scored is not None and scored.values:
            _put(rows, scored)
    return Run(folder, rows, events or again, _model(folder))


def _put(rows: list[Row], row: Row) -> None:
    """In its place among rising steps; what is newer counts."""
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
    """The objects of a file of JSON lines; what is torn or foreign is left out."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST):
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
    from dagan_cli.model.checkpoint import read_header

    try:
        return read_header(folder / "model.safetensors")
    except BadModel:  # not saved yet, or damaged: the rest of the story can still be told
        return {}


def _append(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from error
