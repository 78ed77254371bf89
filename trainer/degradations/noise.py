"""Noise of sensors and amplifiers, drawn with NumPy so that it is the same on every device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

NoiseKind = Literal["gaussian", "poisson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Noise that is independent in every pixel and frame; deviation 0 means none."""

    kind: NoiseKind
    deviation: float  # standard deviation in levels of 255; for Poisson noise at white, times sqrt(value) below
    grey: bool = False  # equal in all three channels


def noisy(x: Tensor, noise: Noise, random: np.random.Generator) -> Tensor:
    """Add noise to (N, 3, H, W), [0, 1] from black to white; the result is not clamped."""
    if noise.deviation <= 0:
        return x
    n, channels, h, w = x.shape
    field = random.standard_normal((n, 1 if noise.grey else channels, h, w), dtype=np.float32)
    z = torch.from_numpy(field).to(x)
    deviation = noise.deviation / 255
    if noise.kind == "gaussian":
        return x + deviation * z
    # Photon counts, with 1 / deviation^2 photons for white. The Cornish-Fisher expansion of the Poisson quantile,
    # k + sqrt(k) z + (z^2 - 1) / 6, has the right mean, variance and skewness and needs one draw per pixel. With the
    # rejection sampling of libraries, the number of draws depends on the values: one rounding error would change all
    # later draws.
    light = x.clamp(0, 1)
    if noise.grey:
        light = light.mean(1, keepdim=True)
    return x + light.sqrt() * deviation * z + deviation**2 / 6 * (z.square() - 1)
