"""Save and load the state of a run; a resumed run continues exactly as an uninterrupted one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from dagan_cli.atomic import whole_or_absent
from dagan_cli.errors import BadModel

NAME = "state.pt"
KEYS = {"config", "data", "step", "elapsed", "origin", "best", "generator", "average", "optimiser"}


@dataclass(slots=True)
class Standing:
    """The counters of a run."""

    step: int = 0  # steps done
    origin: int = 0  # steps done before this phase, or before this branch
    elapsed: float = 0.0  # seconds of training in this phase
    best: float = float("-inf")  # best validation score of this phase
    stale: int = 0  # validations since the best one
    scale: float = 1.0  # factor of the learning rate, halved at each roll-back
    skipped: int = 0  # number of non-finite steps
    roll_backs: int = 0

    @classmethod
    def of(cls, state: dict[str, Any]) -> Standing:
        """Read the counters from a saved state; counters that older runs did not have start at their defaults."""
        return cls(**{each.name: state[each.name] for each in fields(cls) if each.name in state})

    def next_phase(self) -> Standing:
        """The counters at the start of the next phase."""
        return Standing(step=self.step, origin=self.step, skipped=self.skipped, roll_backs=self.roll_backs)


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the state, a mapping of KEYS; the previous file is replaced atomically. Raises CannotWrite."""
    data = BytesIO()  # torch.save raises an unspecific RuntimeError on a full disk
    torch.save(state, data)
    with whole_or_absent(run / NAME) as part:
        part.write_bytes(data.getbuffer())


def load_state(run: Path) -> dict[str, Any]:
    """Return the last saved state of a run folder, on the CPU. Raises BadModel for a damaged or foreign file."""
    path, hint = run / NAME, "start a new run, or name another --run"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise almost any exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadModel(f"cannot resume from {path}: {reason}", hint=hint) from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise BadModel(f"{path} is not the state of a training run", hint=hint)
    return state
