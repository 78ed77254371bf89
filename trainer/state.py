"""Save and resume everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from dagan_cli.atomic import whole_or_absent
from dagan_cli.errors import BadModel

NAME = "state.pt"
KEYS = {"config", "data", "step", "elapsed", "origin", "best", "generator", "average", "optimiser"}


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the run's state, a mapping of KEYS; the one before stays until it is whole. Raises CannotWrite."""
    data = BytesIO()  # torch.save to a full disk raises a RuntimeError that does not say so
    torch.save(state, data)
    with whole_or_absent(run / NAME) as part:
        part.write_bytes(data.getbuffer())


def load_state(run: Path) -> dict[str, Any]:
    """The state last saved in the run's folder, on the CPU. Raises BadModel for a damaged or foreign file."""
    path, hint = run / NAME, "start a new run, or name another --run"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises almost anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadModel(f"cannot resume from {path}: {reason}", hint=hint) from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise BadModel(f"{path} is not the state of a training run", hint=hint)
    return state
