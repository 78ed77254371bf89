"""RCAN (Zhang et al., ECCV 2018): groups of residual blocks with channel attention.

Variants have the paper's non-local attention before the channel attention, or, as a control, as many weights without
any dependence on other positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.model.attention import SpatialAttention
from dagan_cli.model.config import GeneratorConfig
from trainer.baselines.convolutions import conv
from trainer.baselines.frame import Block, Frame


class ChannelWeights(nn.Module):
    """Channel attention; unlike the generator's, it has biases, and 4 hidden units at the default width."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = conv(width, width // reduction, side=1)
        self.excite = conv(width // reduction, width, side=1)

    def forward(self, y: Tensor) -> Tensor:
        mean = y.mean((2, 3), keepdim=True)
        return y * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class Pointwise(SpatialAttention):
    """Non-local attention in which every position attends only to itself, W(g(x)) + x: the control."""

    def _attend(self, x: Tensor) -> Tensor:
        return x


class WeightedResidual(Block):
    """y + attention(conv(relu(conv(y)))) with channel attention, or dual attention: positions, then channels."""

    reach = None

    def __init__(self, width: int, *, dual: bool, kind: type[SpatialAttention] = SpatialAttention) -> None:
        super().__init__()
        spatial = [kind(GeneratorConfig(channels=width))] if dual else []  # Gaussian, global
        self.body = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width), *spatial, ChannelWeights(width))

    def forward(self, y: Tensor) -> Tensor:
        return y + self.body(y)


class Group(Block):
    """Blocks and a convolution, with a skip around them."""

    reach = None

    def __init__(self, width: int, blocks: int, *, dual: bool, kind: type[SpatialAttention] = SpatialAttention) -> None:
        super().__init__()
        residuals = (WeightedResidual(width, dual=dual, kind=kind) for _ in range(blocks))
        self.body = nn.Sequential(*residuals, conv(width, width))

    def forward(self, y: Tensor) -> Tensor:
        return y + self.body(y)


def rcan(
    scale: int,
    *,
    groups: int,
    blocks: int,
    width: int = 64,
    dual: bool = False,
    kind: type[SpatialAttention] = SpatialAttention,
) -> Frame:
    return Frame(scale, width, (Group(width, blocks, dual=dual, kind=kind) for _ in range(groups)))
