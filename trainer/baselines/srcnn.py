"""SRCNN (Dong et al., TPAMI 2016), 9-1-5 and 9-5-5."""

from __future__ import annotations

from torch import nn

from trainer.baselines.over_bicubic import OverBicubic


def srcnn(scale: int, *, middle: int) -> OverBicubic:
    """Create SRCNN, 64 and 32 channels wide; `middle`: side of the second kernel. Edges repeat, as in its tests."""

    def conv(inputs: int, outputs: int, side: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode="replicate")

    network = nn.Sequential(conv(1, 64, 9), nn.ReLU(), conv(64, 32, middle), nn.ReLU(), conv(32, 1, 5))
    return OverBicubic(scale, network, reach=4 + middle // 2 + 2, residual=False)
