"""OISR (He et al., CVPR 2019): blocks as steps of an ODE solver.

Unlike in the generator, each stage has its own weights. The factors of the solver are learned and start at their
classical values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.baselines.convolutions import conv
from trainer.baselines.frame import Block, Frame


class HeunStep(Block):
    """Second-order Runge-Kutta with one factor and two convolutions per stage."""

    reach = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _stage(width, 2), _stage(width, 2)
        self.factors = nn.Parameter(torch.tensor([1 / 2]))

    def forward(self, y: Tensor) -> Tensor:
        (half,) = self.factors
        k = self.first(y)
        return y + half * (k + self.second(y + k))


class LeapFrogSteps(Block):
    """z[n+1] = z[n-1] + 2 G(z[n]), four times from z[-1] = 0 and z[0] = y, with one factor per step."""

    reach = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(width, 1) for _ in range(4))
        self.factors = nn.Parameter(torch.full((4,), 2.0))

    def forward(self, y: Tensor) -> Tensor:
        before, now = torch.zeros_like(y), y
        for stage, factor in zip(self.stages, self.factors, strict=True):
            before, now = now, before + factor * stage(now)
        return now


class KuttaStep(Block):
    """Kutta's third-order rule with five factors; the 1 of k1 and k3 is fixed, which matches the published count."""

    reach = 3

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (_stage(width, 1) for _ in range(3))
        self.factors = nn.Parameter(torch.tensor([1 / 2, 2.0, -1.0, 4.0, 1 / 6]))

    def forward(self, y: Tensor) -> Tensor:
        half, two, minus, four, sixth = self.factors
        k1 = self.first(y)
        k2 = self.second(y + half * k1)
        k3 = self.third(y + minus * k1 + two * k2)
        return y + sixth * (k1 + four * k2 + k3)


def oisr_rk2(scale: int, *, blocks: int = 8, width: int = 64) -> Frame:
    return Frame(scale, width, (HeunStep(width) for _ in range(blocks)))


def oisr_lf(scale: int, *, blocks: int = 8, width: int = 64) -> Frame:
    return Frame(scale, width, (LeapFrogSteps(width) for _ in range(blocks)))


def oisr_rk3(scale: int, *, blocks: int = 22, width: int = 256) -> Frame:
    return Frame(scale, width, (KuttaStep(width) for _ in range(blocks)))


def _stage(width: int, depth: int) -> nn.Sequential:
    """Create G: activation, then convolution, `depth` times; one slope per channel."""
    return nn.Sequential(*(layer for _ in range(depth) for layer in (nn.PReLU(width), conv(width, width))))
