"""EDSR (Lim et al., CVPRW 2017): residual blocks without normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.baselines.convolutions import conv
from trainer.baselines.frame import Block, Frame


class Residual(Block):
    """y + factor * conv(relu(conv(y)))."""

    def __init__(self, width: int, side: int = 3, factor: float = 1.0) -> None:
        super().__init__()
        self.first = conv(width, width, side)
        self.last = conv(width, width, side)
        self.factor = factor
        self.reach = 2 * (side // 2)

    def forward(self, y: Tensor) -> Tensor:
        return y + self.factor * self.last(F.relu(self.first(y)))


def edsr(scale: int, *, blocks: int, width: int, factor: float = 1.0) -> Frame:
    return Frame(scale, width, (Residual(width, factor=factor) for _ in range(blocks)))
