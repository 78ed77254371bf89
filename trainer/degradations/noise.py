"""Noise of sensors and amplifiers. Its draws come from NumPy, so that they are the same on every device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

NoiseKind = Literal["gaussian", "poisson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Independent in every pixel and frame; at a deviation of 0 there is none."""

    kind: NoiseKind
    deviation: float  # standard deviation in levels of 255; of Poisson noise that of white, and sqrt(value) of it below
    grey: bool = False  # the same in all three channels


def noisy(x: Tensor, noise: Noise, random: np.random.Generator) -> Tensor:
    """(N, 3, H, W) with [0, 1] from black to white -> the same shape, not clamped."""
    if noise.deviation <= 0:
        return x
    n, channels, h, w = x.shape
    field = random.standard_normal((n, 1 if noise.grey else channels, h, w), dtype=np.float32)
    z = torch.from_numpy(field).to(x)
    deviation = noise.deviation / 255
    if noise.kind == "gaussian":
        return x + deviation * z
    # Counting photons, of which white has 1 / deviation^2. The Poisson quantile by Cornish and Fisher's expansion,
    # k + sqrt(k) z + (z^2 - 1) / 6, has its mean, variance and skewness, and takes one draw a pixel: a library's
    # rejection takes as many as the values decide, so that one rounding would change all that follows.
    light = x.clamp(0, 1)
    if noise.grey:
        light = light.mean(1, keepdim=True)
    return x + light.sqrt() * deviation * z + deviation**2 / 6 * (z.square() - 1)
