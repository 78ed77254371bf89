"""Short runs of the trainer, and what they have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import TrainConfig
from trainer.loop import Progress, train


def run(config: TrainConfig, data: Path, folder: Path, steps: int | None = None, **how: Any) -> list[Progress]:
    """Train until the end, or for so many steps more and then stop as a signal would."""
    asked = iter(range(10**6))
    stop = (lambda: next(asked) >= steps) if steps is not None else (lambda: False)
    return list(train(config, [data], folder, should_stop=stop, report_every=0.0, **how))


def parameters(network: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def tensors(state: Any) -> list[Tensor]:
    """Every tensor of a state, in order: generator, average, optimiser."""
    if isinstance(state, Tensor):
        return [state]
    items = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [tensor for item in items for tensor in tensors(item)]


def equal(a: Any, b: Any) -> bool:
    """True if two states hold the same tensors, to the last bit, after the same number of steps."""
    if isinstance(a, dict) and a.get("step") != b.get("step"):
        return False
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
