"""Named loss terms over fake and real pictures, (N, 3, H, W) in [0, 1] -> a scalar each, in fp32 or better."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference."""
    return F.l1_loss(full(fake), full(real))


def mse(fake: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference."""
    return F.mse_loss(full(fake), full(real))


def charbonnier(fake: Tensor, real: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2) (Lai et al., CVPR 2017): L1 with a round bottom."""
    return (full(fake) - full(real)).square().add(epsilon**2).sqrt().mean()


PIXEL = {"l1": l1, "charbonnier": charbonnier, "mse": mse}


def total_variation(fake: Tensor) -> Tensor:
    """2 (sum dv^2 / count_v + sum dh^2 / count_h) / N, counts of one picture: the term of the paper's baseline."""
    vertical, horizontal = full(fake).diff(dim=-2), full(fake).diff(dim=-1)
    return 2 * (vertical.square().mean() + horizontal.square().mean())


def fft_l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of the spectra, over real and imaginary parts (Cho et al., ICCV 2021), not normalised:
    it grows with the square root of the patch's area."""
    return torch.view_as_real(torch.fft.fft2(full(fake) - full(real))).abs().mean()


def colour(fake: Tensor, lr: Tensor) -> Tensor:
    """L1 between the fake, averaged over the square of each LR pixel, and the LR (N, 3, H/s, W/s): holds the colours
    of a GAN without touching its texture."""
    return l1(F.avg_pool2d(full(fake), fake.shape[-1] // lr.shape[-1]), lr)


def grid(fake: Tensor, real: Tensor, scale: int, window: int = 8) -> Tensor:
    """L1 between local means, taken for each of the scale x scale places within an input pixel by itself, over windows
    of `window` input pixels: a pattern that repeats with every input pixel costs, texture does not.

    Perceptual networks step over such patterns with their strides, and networks that end in a pixel shuffle make them.
    """
    places = F.pixel_unshuffle(full(fake) - full(real), scale)
    return F.avg_pool2d(places, min(window, *places.shape[-2:])).abs().mean()


def moved(pictures: Tensor, offset: Tensor, most: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H - most, W - most), what lies `offset` rows and columns, 0 to most, from the top left."""
    for dim, start in zip((2, 3), offset, strict=True) if most else ():
        kept = torch.arange(pictures.shape[dim] - most, device=pictures.device)
        pictures = pictures.index_select(dim, start + kept)
    return pictures


def ldl(fake: Tensor, real: Tensor, average: Tensor) -> Tensor:
    """L1 weighted by `artifact_map`, which gets no gradient (Liang et al., CVPR 2022)."""
    return (artifact_map(fake, real, average) * (full(fake) - full(real))).abs().mean()


@torch.no_grad()
def artifact_map(fake: Tensor, real: Tensor, average: Tensor, window: int = 7) -> Tensor:
    """Where the fake is likelier artifact than detail: (N, 1, H, W), from 0 up.

    The residual's variance in the window around each pixel, times the fifth root of its variance in the picture; zero
    where the fake is nearer the real picture than `average`, the output of the averaged generator, is.
    """
    residual = (full(fake) - full(real)).abs().sum(1, keepdim=True)
    steadier = (full(average) - full(real)).abs().sum(1, keepdim=True)
    picture = residual.var(dim=(1, 2, 3), keepdim=True) ** 0.2
    windows = F.pad(residual, [window // 2] * 4, mode="reflect").unfold(2, window, 1).unfold(3, window, 1)
    return (picture * windows.var(dim=(-2, -1))).masked_fill(residual < steadier, 0)


def full(x: Tensor) -> Tensor:
    """fp32, or fp64 where it comes so: sums of many half-precision terms lose the small ones."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
