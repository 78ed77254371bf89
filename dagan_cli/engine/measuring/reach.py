"""Measure how far an unknown network sees, and where tiles may start: cut an image, and look for the difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dagan_cli.engine.tiles import SMALLEST, round_up

TOLERANCE = 1 / 1024  # a quarter of a code value of 8 bits
FURTHEST = 64  # pixels; a wider rim would cost more than blended tiles are worth
_RIMS = (8, 16, 32, FURTHEST)
_GRIDS = (1, 2, 4, 8, 16, 32, 64)  # pixels: sides of attention windows, and steps of networks that downscale


class Reach(NamedTuple):
    """What tiles of a network need, in input pixels."""

    rim: int | None  # with which a cut changes no result by more than TOLERANCE; None: no rim up to FURTHEST suffices
    grid: int  # of which the starts of tiles must be multiples


def measure_reach(
    network: Callable[[Tensor], Tensor], scale: int, device: torch.device, *, multiple: int = 1, smallest: int = 1
) -> Reach:
    """Cut the left of an image off, at several places, and compare the results at its right end.

    `network` computes in fp32 on `device`, and needs sides that are multiples of `multiple` and at least `smallest`.
    There is no rim if it pools or attends over the whole image, or sees further; the grid is then the one with which a
    cut changes least. What is cut off differs in brightness from the rest, so that a mean over the image is noticed.
    """
    grids = [grid for grid in _GRIDS if grid % multiple == 0]
    if not grids:
        return Reach(None, multiple)
    height, core = (round_up(max(side, smallest), multiple) for side in (2 * SMALLEST, SMALLEST))
    image = _scene(height, 2 * FURTHEST + core).to(device)

    def result(start: int) -> Tensor:
        with torch.inference_mode():
            return network(image[..., start:].contiguous())[..., -core * scale :].float()

    whole = result(0)

    def error(start: int) -> float:
        return (result(start) - whole).abs().max().item()

    errors: dict[int, float] = {}
    for grid in grids:  # a start at an odd multiple of it, so that no smaller grid can do
        errors[grid] = error(FURTHEST - grid if grid < FURTHEST else FURTHEST)
        if errors[grid] <= TOLERANCE:
            break
    else:
        return Reach(None, next(grid for grid in grids if errors[grid] <= 2 * min(errors.values())))
    rims = sorted({round_up(rim, grid) for rim in _RIMS})
    low, high = 0, len(rims) - 1  # the error falls as the rim grows
    while low < high:
        middle = (low + high) // 2
        suffices = error(2 * FURTHEST - rims[middle]) <= TOLERANCE
        low, high = (low, middle) if suffices else (middle + 1, high)
    return Reach(rims[low], grid)


def _scene(height: int, width: int) -> Tensor:
    """Return (1, 3, height, width): noise of two sizes, dark and even on the left, bright and rough on the right."""
    draw = torch.Generator().manual_seed(0)
    fine = torch.rand(1, 3, height, width, generator=draw)
    coarse = torch.rand(1, 3, -(-height // 8), -(-width // 8), generator=draw)
    coarse = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :height, :width]
    return torch.linspace(0.1, 1, width) * (0.3 * fine + 0.5 * coarse + 0.2)
