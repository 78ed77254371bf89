"""VDSR (Kim et al., CVPR 2016): twenty convolutions predict the detail that bicubic interpolation lacks."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from trainer.baselines.convolutions import conv, start_by_he
from trainer.baselines.over_bicubic import OverBicubic


def vdsr(scale: int, *, depth: int = 20, width: int = 64) -> OverBicubic:
    """Create VDSR with biases, initialised by He's rule: otherwise the signal vanishes in twenty layers."""
    sizes = [1, *[width] * (depth - 1), 1]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [start_by_he(conv(inputs, outputs)), nn.ReLU()]
    return OverBicubic(scale, nn.Sequential(*layers[:-1]), reach=depth, residual=True)
