"""Save and resume everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from dagan_cli.errors import BadModel
from dagan_cli.media.atomic import whole_or_absent

NAME = "state.pt"


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the run's state; the one before stays until the new one is whole. Raises CannotWrite."""
    with whole_or_absent(run / NAME) as part, part.open("wb") as file:
        torch.save(state, file)


def load_state(run: Path) -> dict[str, Any]:
    """The state last saved in the run's folder, on the CPU. Raises BadModel for a damaged file."""
    path = run / NAME
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise BadModel(f"cannot resume from {path}: {error}", hint="start a new run, or name another --run") from error
