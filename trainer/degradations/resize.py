"""Resizing with several kernels, none of which shifts the image.

The edges of input and output coincide, as in MATLAB: the centre of output pixel i is at (i + 1/2) * in / out - 1/2 in
the input. Library functions differ: the "area" mode of torch cuts its cells at whole pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic_weights

Kernel = Literal["area", "bilinear", "bicubic"]


def resized(x: Tensor, height: int, width: int, kernel: Kernel) -> Tensor:
    """Resize (N, C, H, W) to (N, C, height, width), values in any range; bicubic may overshoot it."""
    h, w = x.shape[-2:]
    if h != height:
        x = weights(h, height, kernel).to(x) @ x
    return x if w == width else x @ weights(w, width, kernel).to(x).T


def weights(length: int, out: int, kernel: Kernel) -> Tensor:
    """Return the (out, length) float64 matrix that resizes one axis: rows sum to 1, downscaling widens kernels."""
    return {"area": _area, "bilinear": _bilinear, "bicubic": bicubic_weights}[kernel](length, out)


@lru_cache(maxsize=16)
def _area(length: int, out: int) -> Tensor:
    """Average the input under each output pixel; for enlarging, this is mostly the nearest pixel."""
    start = torch.arange(out, dtype=torch.float64)[:, None] * (length / out)
    pixel = torch.arange(length, dtype=torch.float64)
    covered = (start + length / out).minimum(pixel + 1) - start.maximum(pixel)
    covered = covered.clamp_(min=0)
    return covered / covered.sum(1, keepdim=True)


@lru_cache(maxsize=16)
def _bilinear(length: int, out: int) -> Tensor:
    """Triangle kernel; edge pixels are repeated."""
    step = length / out
    reach = max(1.0, step)
    centre = (torch.arange(out, dtype=torch.float64)[:, None] + 0.5) * step - 0.5
    taps = torch.floor(centre - reach) + torch.arange(int(2 * reach) + 3)
    shares = (1 - (taps - centre).abs() / reach).clamp_(min=0)
    shares = shares / shares.sum(1, keepdim=True)
    pixel = taps.long().clamp_(0, length - 1)
    return torch.zeros(out, length, dtype=torch.float64).scatter_add_(1, pixel, shares)
