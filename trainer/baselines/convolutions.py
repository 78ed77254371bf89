"""The layers that all baselines are made of, and how far those at the end see."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

from torch import nn


def conv(inputs: int, outputs: int, side: int = 3) -> nn.Conv2d:
    """A convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def start_by_he(layer: nn.Conv2d, share: float = 1.0) -> nn.Conv2d:
    """Draw the weights by He's rule (ICCV 2015), times `share`, and begin without biases; returns the layer."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    layer.weight.data.mul_(share)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def enlarging(width: int, scale: int, activation: Callable[[], nn.Module] | None = None) -> list[nn.Module]:
    """Convolution, shuffle and activation for each prime factor: (N, C, h, w) -> (N, C, scale*h, scale*w)."""
    layers: list[nn.Module] = []
    for f in _factors(scale):
        layers += [conv(width, f * f * width), nn.PixelShuffle(f), *([activation()] if activation else [])]
    return layers


def reach_of_tail(scale: int, last: int) -> int:
    """How far `enlarging`, followed by convolutions that see `last` large pixels to each side, sees in small ones."""
    far = scale - 1 + last  # in large pixels, from the first of those that a small one becomes; seen from its last
    for f in reversed(_factors(scale)):
        far = far // f + 1
    return far


def _factors(scale: int) -> list[int]:
    return [3] if scale == 3 else [2] * round(log2(scale))
