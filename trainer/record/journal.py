"""What a run writes down while it trains: numbers, what happened, its choices, and the page that tells it all."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

from dagan_cli.atomic import cannot_write, whole_or_absent
from trainer.config import TrainConfig
from trainer.config_toml import to_toml
from trainer.record.folder import CONFIG, EVENTS, LOG, SAMPLES, read_run
from trainer.record.page import write_report
from trainer.record.tensorboard import Board

BETWEEN = 60.0  # seconds from one report to the next, at least ...
SHARE = 50  # ... and as many times what writing one took: with 20 000 lines that is 1.5 s


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
        started = time.monotonic()
        try:
            write_report(read_run(self._run))
        except Exception as error:  # weights are worth more than their story
            warnings.warn(f"report.html was not written: {error}", RuntimeWarning, stacklevel=2)
        ended = time.monotonic()
        self._next = ended + max(BETWEEN, SHARE * (ended - started))
        if last and self._board is not None:
            self._board.close()


def _append(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from error
