"""The architecture shared by EDSR, RCAN and OISR, which differ in the blocks between head and tail.

input - mean -> head -> blocks -> convolution -> + -> tail + mean
                  |                              |
                  +------------------------------+
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trainer.baselines.convolutions import conv, enlarging, reach_of_tail

MEAN = (0.4488, 0.4371, 0.4040)  # mean RGB of DIV2K's training images


class Block(nn.Module):
    """(N, C, h, w) -> same shape."""

    reach: int | None  # reach of the receptive field to each side, in pixels; None = global


class Frame(nn.Module):
    """(N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), nominally in [0, 1]; `width`: channels of the blocks."""

    mean: Tensor

    def __init__(self, scale: int, width: int, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.scale = scale
        blocks = list(blocks)
        self.head = conv(3, width)
        self.body = nn.Sequential(*blocks, conv(width, width))
        self.tail = nn.Sequential(*enlarging(width, scale), conv(width, 3))
        # The authors use frozen convolutions, which published parameter counts exclude.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        finite = [block.reach for block in blocks if block.reach is not None]
        ends = 1 + 1 + reach_of_tail(scale, last=1)
        self.receptive_field = ends + sum(finite) if len(finite) == len(blocks) else None

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        features = self.head(x - self.mean)
        return self.tail(self.body(features) + features) + self.mean
