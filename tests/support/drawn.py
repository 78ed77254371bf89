"""Pictures drawn from a seed: shading, edges, fine stripes and colours, as photographs and screens have them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def drawn(seed: int, side: int) -> Tensor:
    """(3, side, side) in whole levels of 255, as parts of 1."""
    random = np.random.default_rng(seed)
    shading = torch.from_numpy(random.random((1, 3, 4, 4), dtype=np.float32))
    picture = F.interpolate(shading, size=(side, side), mode="bicubic")[0].clamp(0, 1)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for _ in range(12):
        (cy, cx), radius = random.integers(0, side, 2), side * random.uniform(0.05, 0.25)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        if random.random() < 0.5:
            inside = ((y - cy).abs() < radius) & ((x - cx).abs() < radius * random.uniform(0.1, 1))
        colour = torch.from_numpy(random.random(3, dtype=np.float32))[:, None]
        if random.random() < 0.4:  # stripes
            angle, period = random.uniform(0, np.pi), random.uniform(3, 12)
            wave = torch.sin((y * np.sin(angle) + x * np.cos(angle)) * (2 * np.pi / period))
            colour = colour * (0.6 + 0.4 * wave[inside])
        picture[:, inside] = colour.expand(3, int(inside.sum()))
    return picture.clamp(0, 1).mul(255).round().div(255)


def psnr(a: Tensor, b: Tensor) -> float:
    """In dB, of pictures in [0, 1]."""
    return -10 * torch.log10((a.double() - b.double()).square().mean()).item()
