"""Blur: one kernel for the whole image, as caused by lenses, motion, resizing and sharpening."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, pi, sin
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BlurKind = Literal["gaussian", "generalised", "plateau", "sinc", "motion"]

LARGEST = 10  # radius in pixels at which every kernel is cut off: 21 x 21, as in Real-ESRGAN (Wang et al., 2021)

FAST_SIDE = 15  # up to this side, a kernel is two to four times as fast in channels_last format, on a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """Parameters of one kernel. Lengths are in pixels of the blurred image; length 0 gives the identity."""

    kind: BlurKind
    sigma: tuple[float, float] = (0.0, 0.0)  # gaussian, generalised, plateau: standard deviations along two axes
    angle: float = 0.0  # rotation of the first axis, or of the motion, in radians
    shape: float = 1.0  # generalised: exp(-q^shape / 2), plateau: 1 / (1 + q^shape), q = squared distance in sigmas
    cutoff: float = pi  # sinc: the highest frequency that passes, in radians per pixel
    length: float = 0.0  # motion: length of the line


def kernel(blur: Blur) -> Tensor:
    """Return (k, k) float64 with k odd; it sums to 1 and is point-symmetric, so it does not shift the image."""
    if blur.kind == "motion":
        weights = _line(blur.length, blur.angle)
    elif blur.kind == "sinc":
        weights = _low_pass(blur.cutoff)
    elif max(blur.sigma) <= 0:
        weights = torch.ones(1, 1, dtype=torch.float64)
    else:
        weights = _bell(blur)
    return weights / weights.sum()


def blurred(x: Tensor, blur: Blur) -> Tensor:
    """Blur (N, C, H, W), mirrored at the edges; height and width must be above LARGEST."""
    weights = kernel(blur).to(x)
    side = weights.shape[0]
    if side == 1:
        return x
    channels = x.shape[1]
    padded = F.pad(x, [side // 2] * 4, mode="reflect")
    if side <= FAST_SIDE:
        padded = padded.contiguous(memory_format=torch.channels_last)
    return F.conv2d(padded, weights.expand(channels, 1, side, side), groups=channels).contiguous()


def _bell(blur: Blur) -> Tensor:
    radius = min(LARGEST, ceil(3 * max(blur.sigma)))
    first, second = (max(sigma, 1e-3) for sigma in blur.sigma)
    y, x = _grid(radius)
    along, across = x * cos(blur.angle) + y * sin(blur.angle), y * cos(blur.angle) - x * sin(blur.angle)
    q = (along / first).square() + (across / second).square()
    if blur.kind == "gaussian":
        return torch.exp(-q / 2)
    return torch.exp(-(q**blur.shape) / 2) if blur.kind == "generalised" else 1 / (1 + q**blur.shape)


def _low_pass(cutoff: float) -> Tensor:
    """Return the kernel of an ideal circular low-pass: w J1(w r) / (2 pi r), and w^2 / (4 pi) at the centre."""
    if cutoff >= pi * 2**0.5:  # outside the corners of the spectrum
        return torch.ones(1, 1, dtype=torch.float64)
    radius = min(LARGEST, ceil(4 * pi / cutoff))  # four rings
    y, x = _grid(radius)
    r = (x.square() + y.square()).sqrt()
    r[radius, radius] = 1
    weights = cutoff * torch.special.bessel_j1(cutoff * r) / (2 * pi * r)
    weights[radius, radius] = cutoff**2 / (4 * pi)
    return weights


def _line(length: float, angle: float) -> Tensor:
    """Return a line through the centre, each of its points split among the four nearest pixels."""
    half = min(length / 2, LARGEST - 1.0)
    radius = ceil(half)
    weights = np.zeros((2 * radius + 2, 2 * radius + 2))  # one more than the line covers, for zero weights
    along = np.linspace(-half, half, 8 * radius + 1)
    y, x = along * sin(angle) + radius, along * cos(angle) + radius
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (1 - np.abs(top + down - y)) * (1 - np.abs(left + right - x))
        np.add.at(weights, (top + down, left + right), share)
    return torch.from_numpy(weights[:-1, :-1].copy())


def _grid(radius: int) -> tuple[Tensor, Tensor]:
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    return steps[:, None].expand(2 * radius + 1, -1), steps[None].expand(2 * radius + 1, -1)
