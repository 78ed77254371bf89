"""MDSR (Lim et al., CVPRW 2017): one network for three scales that share their blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dagan_cli.errors import BadOption
from trainer.baselines.convolutions import conv, enlarging, reach_of_tail
from trainer.baselines.edsr import Residual
from trainer.baselines.frame import MEAN


class Mdsr(nn.Module):
    """(N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), nominally in [0, 1].

    `scale` may be changed at any time, to 2, 3 or 4; only the weights of that scale and the shared ones are used.
    """

    mean: Tensor
    scales = (2, 3, 4)

    def __init__(self, scale: int, blocks: int, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.head = conv(3, width)
        self.before = nn.ModuleDict(
            {str(s): nn.Sequential(Residual(width, side=5), Residual(width, side=5)) for s in self.scales}
        )
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)), conv(width, width))
        self.enlarging = nn.ModuleDict({str(s): nn.Sequential(*enlarging(width, s)) for s in self.scales})
        self.tail = conv(width, 3)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        features = self.before[str(self.scale)](self.head(x - self.mean))
        deep = self.body(features) + features
        return self.tail(self.enlarging[str(self.scale)](deep)) + self.mean

    @property
    def scale(self) -> int:
        return self._scale

    @scale.setter
    def scale(self, scale: int) -> None:
        if scale not in self.scales:
            raise BadOption(f"MDSR does not support scale {scale}", hint=f"use {', '.join(map(str, self.scales))}")
        self._scale = scale

    @property
    def receptive_field(self) -> int:
        return 1 + 2 * 4 + 2 * (len(self.body) - 1) + 1 + reach_of_tail(self.scale, last=1)
