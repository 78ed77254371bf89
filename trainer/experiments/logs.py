"""The configuration and the log of each arm, small enough to commit next to its table."""

from __future__ import annotations

import json
from pathlib import Path

from dagan_cli.files import whole_or_absent
from trainer.config_toml import to_toml
from trainer.experiments.runs import Arm, Setting
from trainer.experiments.summary import LPIPS, SCORES, TERMS

LARGEST = 150_000  # bytes of all logs of an experiment
_KEYS = ("seconds", *(key for key, *_ in (*SCORES, LPIPS, *TERMS)))  # what the tables and the figure are made of


def write_logs(folder: Path, setting: Setting, arms: list[Arm]) -> None:
    """Write ARM.toml, the configuration of seed 0, and ARM.jsonl, a line per interval of each seed. Raises CannotWrite.

    Logs that are too large together keep only every 2nd, 3rd, ... interval, counted from the last.
    """
    longest = max(len(rows) for arm in arms for rows in arm.runs.values())
    logs: dict[str, bytes] = {}
    for every in range(1, longest + 1):
        logs = {arm.name: _log(arm, every) for arm in arms}
        if sum(map(len, logs.values())) <= LARGEST:
            break
    for name, log in logs.items():
        for suffix, data in ((".toml", to_toml(setting.config(name, 0)).encode()), (".jsonl", log)):
            with whole_or_absent(folder / f"{name}{suffix}") as file:
                file.write(data)


def _log(arm: Arm, every: int) -> bytes:
    lines = []
    for seed, rows in arm.runs.items():
        for row in rows[(len(rows) - 1) % every :: every]:
            values = {key: float(f"{row.values[key]:.7g}") for key in _KEYS if key in row.values}
            constants = {solver: [round(value, 7) for value in given] for solver, given in row.constants.items()}
            given = {"constants": constants} if constants else {}
            lines.append(json.dumps({"seed": seed, "step": row.step, **values, **given}) + "\n")
    return "".join(lines).encode()
