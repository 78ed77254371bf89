"""One meaning of pixel values, in training and in use: integers in files, floats in [0, 1] in the network."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(pixels: Tensor, peak: int = 255) -> Tensor:
    """Integer (N, H, W, C) in [0, peak] -> float32 (N, C, H, W) in [0, 1], channels_last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(peak)


def to_integer(x: Tensor, peak: int = 255) -> Tensor:
    """Float (N, C, H, W) -> uint8 (peak 255) or int32 (N, H, W, C): clamped to [0, 1], rounded half to even."""
    y = x.permute(0, 2, 3, 1).to(torch.float32, copy=True).clamp_(0, 1).mul_(peak).round_()
    return y.to(torch.uint8 if peak == 255 else torch.int32)
