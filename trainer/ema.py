"""The running average of a network's weights, which is validated and released."""

from __future__ import annotations

from copy import deepcopy

import torch

from trainer.baselines import Baseline


class Average:
    """Exponential moving average of all parameters; the decay is lower in early steps, to forget the initial weights.

    Batch-norm statistics are averaged like weights: those of the last batches belong to weights that the average lags
    far behind.
    """

    def __init__(self, network: Baseline, decay: float) -> None:
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, network: Baseline, step: int) -> None:
        """Move towards `network` after its `step`-th update, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        means, news = list(self.network.parameters()), list(network.parameters())
        torch._foreach_lerp_(means, news, 1 - decay)  # type: ignore[attr-defined]
        for mean, new in zip(self.network.buffers(), network.buffers(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - decay)
            else:
                mean.copy_(new)  # the number of batches of a batch norm
