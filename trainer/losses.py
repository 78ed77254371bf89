"""Named loss terms over fake and real pictures, (N, 3, H, W) in [0, 1] -> a scalar each."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference."""
    return F.l1_loss(fake, real)


def charbonnier(fake: Tensor, real: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2) (Lai et al., CVPR 2017): L1 with a round bottom."""
    return (fake - real).square().add(epsilon**2).sqrt().mean()


PIXEL = {"l1": l1, "charbonnier": charbonnier}
