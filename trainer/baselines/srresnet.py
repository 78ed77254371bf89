"""SRResNet, the generator of SRGAN (Ledig et al., CVPR 2017), and its lighter version in leftthomas/SRGAN."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.baselines.convolutions import conv, enlarging, reach_of_tail


class NormalisedResidual(nn.Module):
    """y + norm(conv(prelu(norm(conv(y)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(width, width), nn.BatchNorm2d(width), nn.PReLU(), conv(width, width), nn.BatchNorm2d(width)
        )

    def forward(self, y: Tensor) -> Tensor:
        return y + self.body(y)


class SrResNet(nn.Module):
    """(N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), nominally in [0, 1]; `bounded` limits it to that by tanh.

    Every PReLU has one slope for all channels, which matches the published counts. Neither source has x3: here it is
    one step of 3, as in EDSR.
    """

    def __init__(self, scale: int, blocks: int, *, width: int = 64, bounded: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.bounded = bounded
        self.head = nn.Sequential(conv(3, width, 9), nn.PReLU())
        residuals = (NormalisedResidual(width) for _ in range(blocks))
        self.body = nn.Sequential(*residuals, conv(width, width), nn.BatchNorm2d(width))
        self.tail = nn.Sequential(*enlarging(width, scale, nn.PReLU), conv(width, 3, 9))
        self.receptive_field = 4 + 2 * blocks + 1 + reach_of_tail(scale, last=4)

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        features = self.head(x)
        y = self.tail(self.body(features) + features)
        return (y.tanh() + 1) / 2 if self.bounded else y
