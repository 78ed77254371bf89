"""Layers shared by the baselines, and the receptive field of the tail."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

from torch import nn


def conv(inputs: int, outputs: int, side: int = 3) -> nn.Conv2d:
    """Create a convolution that preserves height and width."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def start_by_he(layer: nn.Conv2d, share: float = 1.0) -> nn.Conv2d:
    """Draw the weights by He's rule (ICCV 2015), times `share`, and set the bias to 0; returns the layer."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    layer.weight.data.mul_(share)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def enlarging(width: int, scale: int, activation: Callable[[], nn.Module] | None = None) -> list[nn.Module]:
    """Create convolution, shuffle and activation per prime factor: (N, C, h, w) -> (N, C, scale*h, scale*w)."""
    layers: list[nn.Module] = []
    for f in _factors(scale):
        layers += [conv(width, f * f * width), nn.PixelShuffle(f), *([activation()] if activation else [])]
    return layers


def reach_of_tail(scale: int, last: int) -> int:
    """Return the reach in input pixels of `enlarging` and convolutions with a reach of `last` output pixels."""
    far = scale - 1 + last  # output pixels, from the first one of an input pixel to the reach of its last one
    for f in reversed(_factors(scale)):
        far = far // f + 1
    return far


def _factors(scale: int) -> list[int]:
    return [3] if scale == 3 else [2] * round(log2(scale))
