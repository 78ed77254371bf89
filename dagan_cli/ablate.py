"""`dagan eval --ablate`: scores of a model whose parts are replaced by constants or left out, without retraining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dagan_cli.errors import BadInput, BadOption
from dagan_cli.evaluate import Score, evaluate, mean
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.ablation import Part, changes, observed
from dagan_cli.model.generator import Generator
from dagan_cli.upscaler import Upscaler


@dataclass(frozen=True, slots=True)
class Ablated:
    """Mean scores with one change."""

    change: str  # "" for the unchanged model
    score: Score


@dataclass(frozen=True, slots=True)
class Ablation:
    """Scores with each change, and what the attention of the unchanged model did on these images."""

    rows: tuple[Ablated, ...]  # the first one is the unchanged model
    entropy: float | None  # mean entropy of the spatial attention relative to equal weights, 1 = all equal
    gate_spread: float | None  # mean standard deviation of the gates of the channel attention, from 0 to 1

    def to_json(self) -> dict[str, Any]:
        """Return the rows by change, and the two facts."""
        rows = [{"change": row.change, **row.score.to_json()} for row in self.rows]
        return {"rows": rows, "entropy": self.entropy, "gate_spread": self.gate_spread}


def ablate(
    dataset: Path,
    upscaler: Upscaler,
    parts: tuple[Part, ...],
    scale: int,
    judge: Lpips | None = None,
    inputs: Path | None = None,
    leave_out: Callable[[BadInput], None] | None = None,
    tell: Callable[[str], None] = lambda change: None,
) -> Ablation:
    """Score a model as in `evaluate`, whole and with each change of the parts.

    The upscaler must run in PyTorch and fp32. `tell` is called with each change before it is measured. Raises
    BadOption for a network that has none of the parts, and the errors of `evaluate`.
    """
    network: Any = upscaler.engine.network(torch.float32)
    if not isinstance(network, Generator):
        raise BadOption(f"--ablate does not apply to {upscaler.name}", hint="give a model of dagan with -n")

    def score(tell_of: Callable[[BadInput], None] | None) -> Score:
        return mean(list(evaluate(dataset, upscaler, scale, judge, inputs, tell_of)))

    tell("")
    with observed(network) as found:
        rows = [Ablated("", score(leave_out))]
    for change, context in changes(network, parts, found):
        tell(change)
        with context:
            rows.append(Ablated(change, score(lambda error: None)))
    if len(rows) == 1:
        at = "" if network.order is None else f" at order {network.order}"
        hint = "use --order 2 or --order 4" if parts == ("constants",) and at else "choose another part of --ablate"
        raise BadOption(f"{upscaler.name} has no {' or '.join(parts)} to replace{at}", hint=hint)
    return Ablation(tuple(rows), found.entropy, found.gate_spread)
