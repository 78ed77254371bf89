"""Evaluation protocol of super-resolution papers: MATLAB's bicubic, the Y channel, PSNR and SSIM.

Training, evaluation and baselines share this module, so that all numbers follow one protocol. Checked against published
values: bicubic on Set5 is 33.66 dB at x2 and 28.42 dB at x4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, log10

import torch
from torch import Tensor

PROTOCOL = "Y of BT.601 studio range, float; SR rounded to 8 bit; `scale` px cut on each side; LR by MATLAB bicubic"

_RADIUS = 5  # of SSIM's window, in samples
_BAND = 1 << 17  # samples whose SSIM is computed at a time, which bounds the memory and stays in the cache


def bicubic(x: Tensor, out_h: int, out_w: int) -> Tensor:
    """MATLAB's imresize(..., 'bicubic') for uint8: (N, C, H, W) in [0, 255] -> (N, C, out_h, out_w), whole values.

    Cubic kernel with a = -1/2, widened when shrinking (antialiasing); columns first, rounded, then rows, rounded, as
    MATLAB does for uint8.
    """
    h, w = x.shape[-2:]
    x = _round_half_up(bicubic_weights(h, out_h).to(x) @ x)
    return _round_half_up(x @ bicubic_weights(w, out_w).to(x).T)


@lru_cache(maxsize=16)
def bicubic_weights(length: int, out: int) -> Tensor:
    """The (out, length) float64 matrix that resizes one axis: rows sum to 1, the image is mirrored at its edges."""
    scale = out / length
    shrink = min(1.0, scale)
    support = 4 / shrink
    centre = (torch.arange(1, out + 1, dtype=torch.float64)) / scale + 0.5 * (1 - 1 / scale)  # 1-based, as in MATLAB
    taps = ceil(support) + 2
    index = torch.floor(centre - support / 2)[:, None] + torch.arange(taps, dtype=torch.float64)
    weights = shrink * _cubic(shrink * (centre[:, None] - index))
    weights = weights / weights.sum(1, keepdim=True)
    mirrored = (index.long() - 1) % (2 * length)
    mirrored = torch.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    return torch.zeros(out, length, dtype=torch.float64).scatter_add_(1, mirrored, weights)


def luma(rgb: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 255] -> (N, 1, H, W) Y in [16, 235], BT.601 as MATLAB's rgb2ycbcr, not rounded."""
    r, g, b = rgb.unbind(1)
    return ((65.481 * r + 128.553 * g + 24.966 * b) / 255 + 16)[:, None]


def psnr_y(sr: Tensor, hr: Tensor, border: int) -> float:
    """Peak signal-to-noise ratio on Y in dB, of (1, 3, H, W) whole values in [0, 255]; inf for identical images."""
    return psnr(_inside(sr, border), _inside(hr, border), of=_luma64)


def ssim_y(sr: Tensor, hr: Tensor, border: int) -> float:
    """Structural similarity on Y, see `ssim`, of (1, 3, H, W) whole values in [0, 255]."""
    return ssim(_inside(sr, border), _inside(hr, border), of=_luma64)


def psnr_rgb(sr: Tensor, hr: Tensor, border: int) -> float:
    """Peak signal-to-noise ratio over R, G and B together in dB, of (1, 3, H, W) in [0, 255]; inf if identical."""
    return psnr(_inside(sr, border), _inside(hr, border), of=Tensor.double)


def psnr(a: Tensor, b: Tensor, peak: float = 255.0, of: Callable[[Tensor], Tensor] = lambda x: x) -> float:
    """Peak signal-to-noise ratio in dB over all samples of two tensors of one shape; inf if they are equal.

    of: makes the float samples of a band of rows, so that the images can stay as they are stored.
    """
    rows, error, count = max(1, _BAND // max(1, a.shape[-1])), 0.0, 0
    for x, y in zip(a.split(rows, -2), b.split(rows, -2), strict=True):  # in bands, which bounds the memory
        difference = of(x) - of(y)
        error, count = error + difference.square_().sum(dtype=torch.float64).item(), count + difference.numel()
    return float("inf") if error == 0 else 10 * log10(peak**2 * count / error)


def ssim(a: Tensor, b: Tensor, of: Callable[[Tensor], Tensor] = lambda x: x) -> float:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian of sigma 1.5, valid windows only, L = 255.

    a, b: (1, 1, H, W) float in [0, 255], both sides at least 11, or images of which `of` makes such planes, a band of
    rows at a time. In float32 the result is exact to about 1e-6: samples are centred first, as variances are
    differences of squares.
    """
    height, width = (side - 2 * _RADIUS for side in a.shape[-2:])
    rows, total = max(1, _BAND // width), 0.0
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height) + 2 * _RADIUS)
        x, y = (of(each[..., band, :]) - 128 for each in (a, b))
        total += _similarities(x, y).sum(dtype=torch.float64).item()
    return total / (height * width)


def _luma64(rgb: Tensor) -> Tensor:
    return luma(rgb.double())


def _similarities(x: Tensor, y: Tensor) -> Tensor:
    """Return the SSIM of each window of two planes (1, 1, H, W), from which 128 was subtracted."""
    mx, my, xx, yy, xy = _blurred(_blurred(torch.cat([x, y, x * x, y * y, x * y]), -2), -1)
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    ma, mb = mx + 128, my + 128
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (vx + vy + c2))


def crop_to_multiple(hr: Tensor, scale: int) -> Tensor:
    """Crop (..., H, W) at the bottom and right to multiples of `scale`."""
    h, w = hr.shape[-2:]
    return hr[..., : h - h % scale, : w - w % scale]


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _round_half_up(x: Tensor) -> Tensor:
    return (x + 0.5).floor_().clamp_(0, 255)


def _blurred(x: Tensor, axis: int) -> Tensor:
    """Filter one axis by a Gaussian of sigma 1.5 with 11 taps, where it has all of them: 10 samples fewer."""
    taps = torch.exp(-torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64).square() / (2 * 1.5**2))
    weights = (taps / taps.sum()).tolist()
    length = x.shape[axis] - 2 * _RADIUS
    blurred = x.narrow(axis, _RADIUS, length) * weights[_RADIUS]
    for i in range(_RADIUS):
        blurred.add_(x.narrow(axis, i, length), alpha=weights[i])
        blurred.add_(x.narrow(axis, 2 * _RADIUS - i, length), alpha=weights[i])
    return blurred


def _inside(x: Tensor, border: int) -> Tensor:
    return x[..., border : x.shape[-2] - border, border : x.shape[-1] - border]
