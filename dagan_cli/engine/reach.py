"""Measure how far a network of unknown receptive field sees, by cutting an image and looking for the difference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dagan_cli.engine.tiles import SMALLEST, round_up

TOLERANCE = 1 / 1024  # a quarter of a code value of 8 bits
FURTHEST = 64  # pixels; a wider rim would cost more than blended tiles are worth
_CORE = 16  # pixels next to the end of the image that are compared
_RIMS = (8, 16, 32, FURTHEST)


def measure_reach(
    network: Callable[[Tensor], Tensor], scale: int, device: torch.device, *, grid: int = 1, smallest: int = 1
) -> int | None:
    """Return the smallest rim, in input pixels, with which a cut changes no result by more than TOLERANCE.

    `network` computes in fp32 on `device`. None if even a rim of FURTHEST pixels does not suffice: the network pools
    or attends over the whole image, or sees further. What is left of the cut differs in brightness from the rest, so
    that a mean over the image is noticed.
    """
    height = round_up(max(2 * SMALLEST, smallest), grid)
    core = round_up(max(_CORE, smallest), grid)
    rims = sorted({round_up(rim, grid) for rim in _RIMS if round_up(rim, grid) <= FURTHEST})
    if not rims:
        return None
    width = 2 * rims[-1] + core
    image = _scene(height, width).to(device)

    def result(left: int) -> Tensor:
        with torch.inference_mode():
            return network(image[..., left:].contiguous())[..., -core * scale :].float()

    whole = result(0)

    def suffices(rim: int) -> bool:
        return bool((result(width - core - rim) - whole).abs().max() <= TOLERANCE)

    if not suffices(rims[-1]):
        return None
    low, high = 0, len(rims) - 1  # the error falls with the rim
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(rims[middle]) else (middle + 1, high)
    return rims[low]


def _scene(height: int, width: int) -> Tensor:
    """Return (1, 3, height, width): noise of two sizes, dark and even on the left, bright and rough on the right."""
    draw = torch.Generator().manual_seed(0)
    fine = torch.rand(1, 3, height, width, generator=draw)
    coarse = torch.rand(1, 3, -(-height // 8), -(-width // 8), generator=draw)
    coarse = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :height, :width]
    ramp = torch.linspace(0.1, 1, width)
    return (ramp * (0.3 * fine + 0.5 * coarse + 0.2)).clamp(0, 1)
