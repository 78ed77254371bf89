"""Resample with exact phase: the last step to an arbitrary size, and the baselines without a network."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf
from numbers import Integral, Real
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dagan_cli.errors import BadOption

Kernel = Literal["nearest", "bicubic", "lanczos"]

Target = float | tuple[int, int]
"""A final factor above 0, or an exact (width, height) in pixels."""


def kernel_of(name: str) -> Kernel | None:
    """Return the kernel of that name, or None."""
    return next((kernel for kernel in get_args(Kernel) if kernel == name), None)


class Resize(nn.Module):
    """Baseline in place of a network: enlarge by a whole factor, without weights."""

    multiple = 1
    grid = 1

    def __init__(self, kernel: Kernel, scale: int = 1) -> None:
        super().__init__()
        if kernel not in get_args(Kernel):
            raise BadOption(f"unknown resampling kernel {kernel!r}", hint=f"use {', '.join(get_args(Kernel))}")
        if scale < 1:
            raise BadOption(f"scale {scale} is too small", hint="use a whole factor of 1 or more")
        self.kernel: Kernel = kernel
        self.scale = scale
        self.receptive_field = 0 if kernel == "nearest" else _KERNELS[kernel][1]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, scale*H, scale*W)."""
        h, w = x.shape[-2:]
        return resample(x, (w * self.scale, h * self.scale), self.kernel)


def scaled_size(width: int, height: int, target: Target) -> tuple[int, int]:
    """Return (width, height) after scaling to `target`, halves rounded up, at least 1x1. Raises BadOption."""
    if isinstance(target, Real) and not isinstance(target, bool):
        factor = float(target)
        if not 0 < factor < inf:
            raise BadOption(f"scale factor {target} is out of range", hint="use a factor above 0")
        size = max(1, floor(width * factor + 0.5)), max(1, floor(height * factor + 0.5))
    elif isinstance(target, tuple | list) and len(target) == 2 and all(map(_is_whole, target)):
        size = int(target[0]), int(target[1])
    else:
        raise BadOption(
            f"{target!r} is neither a scale factor nor a size", hint="use a factor, or (width, height) in whole pixels"
        )
    if min(size) < 1:
        raise BadOption(f"output size {size[0]}x{size[1]} px is too small", hint="use a width and height of 1 or more")
    return size


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def resample(x: Tensor, size: tuple[int, int], kernel: Kernel = "bicubic", out: Tensor | None = None) -> Tensor:
    """(N, C, H, W) of any float type -> (N, C, height, width) for `size` = (width, height); same type and device.

    Pixel centres keep their position: output i is at (i + 1/2) * H / height - 1/2. When shrinking, the kernel is
    stretched to prevent aliasing; at the border, taps outside are dropped and the others scaled up, as in Pillow.
    Bicubic is Keys' with a = -1/2, Lanczos has three lobes; sums are in fp32. An unchanged size is copied.
    `out` receives the result; it is computed in bands of rows, so `out` may be a mapped file.
    """
    width, height = size
    n, c, h, w = x.shape
    if out is None:
        out = x.new_empty(n, c, height, width)
    if (h, w) == (height, width):
        return out.copy_(x)
    bands = [(top, min(top + _BAND, height)) for top in range(0, height, _BAND)]
    if kernel == "nearest":
        columns = nearest_index(w, width, 0, width, x.device)
        for top, bottom in bands:
            rows = nearest_index(h, height, top, bottom, x.device)
            out[..., top:bottom, :] = x.index_select(-2, rows).index_select(-1, columns)
        return out
    blocks = [
        (left, *_taps(kernel, w, width, left, min(left + _BAND, width), x.device)) for left in range(0, width, _BAND)
    ]
    for top, bottom in bands:
        taps, lo = _taps(kernel, h, height, top, bottom, x.device)
        band = taps @ x[..., lo : lo + taps.shape[1], :].float()  # (N, C, bottom - top, W)
        for left, taps, lo in blocks:
            out[..., top:bottom, left : left + len(taps)] = band[..., lo : lo + taps.shape[1]] @ taps.T
    return out


_BAND = 128  # side of the blocks of the banded matrices: small enough to waste little on zeros, large enough to be fast


def filter_matrix(kernel: Kernel, n_in: int, n_out: int) -> Tensor:
    """Return the (n_out, n_in) float64 matrix that resizes an axis, as `resample` does."""
    if kernel == "nearest":
        return torch.eye(n_in, dtype=torch.float64)[nearest_index(n_in, n_out, 0, n_out)]
    if n_in == n_out:
        return torch.eye(n_in, dtype=torch.float64)
    taps, _ = _weights(kernel, n_in, n_out, 0, n_out)
    return taps


def _taps(kernel: Kernel, n_in: int, n_out: int, a: int, b: int, device: torch.device) -> tuple[Tensor, int]:
    """Rows [a, b) of the (n_out, n_in) matrix that resizes an axis, without outer zeros: (b - a, k), first column.

    Computed in float64, returned in fp32.
    """
    if n_in == n_out:  # this axis keeps its size
        return torch.eye(b - a, device=device), a
    taps, lo = _weights(kernel, n_in, n_out, a, b)
    return taps.to(device, torch.float32), lo


def _weights(kernel: Kernel, n_in: int, n_out: int, a: int, b: int) -> tuple[Tensor, int]:
    """Return what `_taps` does, in float64, for an axis that changes its size."""
    curve, support = _KERNELS[kernel]
    ratio = n_in / n_out
    stretch = max(1.0, ratio)
    centres = (torch.arange(a, b, dtype=torch.float64) + 0.5) * ratio - 0.5
    lo = max(0, floor(float(centres[0]) - support * stretch))
    hi = min(n_in, floor(float(centres[-1]) + support * stretch) + 2)
    distance = (torch.arange(lo, hi, dtype=torch.float64) - centres[:, None]) / stretch
    taps = curve(distance.abs())
    return taps / taps.sum(dim=1, keepdim=True), lo


def nearest_index(n_in: int, n_out: int, a: int, b: int, device: torch.device | None = None) -> Tensor:
    """Return for outputs [a, b) of an axis the inputs that contain their centres, in exact integer arithmetic."""
    i = torch.arange(a, b, device=device)
    return torch.div((2 * i + 1) * n_in, 2 * n_out, rounding_mode="floor")


def _cubic(x: Tensor) -> Tensor:
    """Keys (1981), a = -1/2, for x >= 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    """sinc(x) * sinc(x / 3) within three lobes, for x >= 0."""
    return torch.where(x < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


_KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {"bicubic": (_cubic, 2), "lanczos": (_lanczos, 3)}
