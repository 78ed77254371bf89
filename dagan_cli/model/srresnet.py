"""SRGAN's generator as in leftthomas/SRGAN, for inference only: its batch norms are folded into convolutions.

input -> head -> residuals -> trunk -> + -> tail -> (tanh + 1) / 2
           |                           |
           +---------------------------+
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import log2
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dagan_cli.errors import BadOption
from dagan_cli.model.config import Window
from dagan_cli.model.footprint import Footprint, of_srresnet


@dataclass(frozen=True, slots=True, kw_only=True)
class SrResNetConfig:
    """All settings of its shape. Raises BadOption for invalid values."""

    scale: int = 4  # output side / input side: 2, 4 or 8
    blocks: int = 5  # residual blocks in series
    channels: int = 64  # feature width

    orders: ClassVar[tuple[int, ...]] = ()  # it has no solver

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or not 1 <= value <= 4096:
                what = f"invalid generator config: {field.name} = {value!r}"
                raise BadOption(what, hint="use a whole number above 0")
        if self.scale not in (2, 4, 8):
            raise BadOption(f"invalid generator config: scale = {self.scale}", hint="use 2, 4 or 8")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible mapping; `from_dict` is its inverse."""
        return {"architecture": "srresnet", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SrResNetConfig:
        """Build from a mapping. Raises BadOption for an unknown key or an invalid value."""
        known = {name: value for name, value in values.items() if name != "architecture"}
        if unknown := sorted(known.keys() - {field.name for field in fields(cls)}):
            what = f"invalid generator config: unknown setting {unknown[0]!r}"
            raise BadOption(what, hint="check the names, or update dagan")
        return cls(**known)


class Residual(nn.Module):
    """y + last(prelu(first(y)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.slope = nn.PReLU()
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape."""
        return y + self.last(self.slope(self.first(y)))


class SrResNet(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W) in [0, 1], for any H and W from 1 up.

    The first published weights have an activation at the end of the trunk, later ones a batch norm. For these, the
    activation has a slope of 1, which is the identity.
    """

    compiles = True  # OpenVINO can run it

    def __init__(self, config: SrResNetConfig) -> None:
        super().__init__()
        self.config = config
        c, steps = config.channels, round(log2(config.scale))
        self.head = nn.Sequential(nn.Conv2d(3, c, 9, padding=4), nn.PReLU())
        self.residuals = nn.Sequential(*(Residual(c) for _ in range(config.blocks)))
        self.trunk = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.PReLU())
        doubling = [(nn.Conv2d(c, 4 * c, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()) for _ in range(steps)]
        self.tail = nn.Sequential(*(layer for step in doubling for layer in step), nn.Conv2d(c, 3, 9, padding=4))

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        """(N, 3, H, W) -> (N, 3, scale*H, scale*W)."""
        features = self.head(x)
        return (self.tail(self.trunk(self.residuals(features)) + features).tanh() + 1) / 2

    @property
    def scale(self) -> int:
        return self.config.scale

    @property
    def order(self) -> int | None:
        """Always None: it has no solver."""
        return None

    @order.setter
    def order(self, order: int) -> None:
        raise BadOption(f"--order {order} does not fit this model", hint="leave out --order: it has no solver")

    def use_window(self, window: Window) -> None:
        """Do nothing: the network does not pool, so both windows are the same."""

    def footprint(self, device: torch.device, dtype: torch.dtype) -> Footprint:
        """Return what a tile costs in this type."""
        config = self.config
        return of_srresnet(config.scale, config.channels, config.blocks, dtype.itemsize)

    @property
    def receptive_field(self) -> int:
        """Receptive field of one output pixel, in input pixels to each side."""
        far = self.scale - 1 + 4  # in output pixels, from the first output pixel of an input pixel
        for _ in range(round(log2(self.scale))):
            far = far // 2 + 1
        return 4 + 2 * self.config.blocks + 1 + far
