"""The running average of a network's weights, which is smoother than any single step and is what gets released."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class Average:
    """Exponential moving average of all parameters; early steps are weighted so that the start is soon forgotten."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards `network` after its `step`-th update, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)
