"""Write the records of a run while it trains: numbers, events, configuration and report page."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

from dagan_cli.files import Folder, cannot_write, whole_or_absent
from trainer.config import TrainConfig
from trainer.config_toml import to_toml
from trainer.record.folder import CONFIG, EVENTS, LOG, SAMPLES, TENSORBOARD, read_run
from trainer.record.page import write_report
from trainer.record.tensorboard import Board

BETWEEN = 60.0  # least number of seconds between reports ...
SHARE = 50  # ... or this multiple of the time to write one, which is 1.5 s for 20 000 lines


class Journal:
    """Records of a run in its folder; with None, as in all processes but the first, nothing is written."""

    def __init__(self, run: Path | None) -> None:
        self._run = run
        self._board: Board | None = None
        self._next = float("-inf")  # when the next report is due
        if run is not None:
            _append(run / LOG, "")  # fails now, not after hours, if the folder is not writable

    def begin(self, event: str, config: TrainConfig, step: int, **facts: Any) -> None:
        """Record the start or resumption of the run, and write its configuration as a file for `--config`."""
        if self._run is None:
            return
        with whole_or_absent(self._run / CONFIG) as file:
            file.write(to_toml(config).encode())
        self._board = Board(self._run / TENSORBOARD, step)
        self.note(event, step, **facts)

    def log(self, facts: dict[str, Any]) -> None:
        """Log the numbers of a step. Raises CannotWrite."""
        if self._run is None:
            return
        _append(self._run / LOG, json.dumps(facts) + "\n")
        if self._board is not None:
            self._board.add(facts, self._run / SAMPLES / f"{facts['step']:08d}.png")

    def note(self, event: str, step: int, **facts: Any) -> None:
        """Record an event. Raises CannotWrite."""
        if self._run is None:
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        line = {"event": event, "step": step, "at": at} | {key: fact for key, fact in facts.items() if fact is not None}
        _append(self._run / EVENTS, json.dumps(line, default=str) + "\n")

    def report(self, *, last: bool = False) -> None:
        """Rewrite report.html unless it is recent or `last` is set; a failure does not stop the run."""
        if self._run is None or (not last and time.monotonic() < self._next):
            return
        started = time.monotonic()
        try:
            write_report(read_run(self._run))
        except Exception as error:  # a failed report must not cost the weights
            warnings.warn(f"report.html was not written: {error}", RuntimeWarning, stacklevel=2)
        ended = time.monotonic()
        self._next = ended + max(BETWEEN, SHARE * (ended - started))
        if last and self._board is not None:
            self._board.close()


def _append(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Folder.opened(path.parent) as folder, folder.append(path.name) as file:
            file.write(text.encode())
    except OSError as error:
        raise cannot_write(path, error) from error
