"""MSRResNet (Wang et al., ECCVW 2018): SRResNet without normalisation, with a bilinear skip."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.baselines.convolutions import conv, enlarging, reach_of_tail, start_by_he
from trainer.baselines.edsr import Residual

_activation = partial(nn.LeakyReLU, 0.1)


class MsrResNet(nn.Module):
    """(N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), nominally in [0, 1].

    Unlike EDSR, it has no skip around all blocks. At x4 it has 1,517,571 parameters like EDSR's baseline, by chance:
    it lacks the convolution after the blocks, but has another one before the output.
    """

    def __init__(self, scale: int, blocks: int = 16, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(conv(3, width), _activation())
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.tail = nn.Sequential(
            *enlarging(width, scale, _activation), conv(width, width), _activation(), conv(width, 3)
        )
        self.receptive_field = 1 + 2 * blocks + reach_of_tail(scale, last=2)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                start_by_he(layer, share=0.1)  # small weights: it starts as the bilinear enlargement

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.tail(self.body(self.head(x))) + enlarged
