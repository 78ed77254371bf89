"""Loss terms of fake and real images, (N, 3, H, W) in [0, 1] -> a scalar each, in fp32 or wider."""

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


def euclidean(fake: Tensor, real: Tensor) -> Tensor:
    """Half the sum of squared differences of an image, mean over the batch: Caffe's loss, for rates of its time."""
    return (full(fake) - full(real)).square().sum() / (2 * len(fake))


def charbonnier(fake: Tensor, real: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2) (Lai et al., CVPR 2017): L1 smoothed around 0."""
    return (full(fake) - full(real)).square().add(epsilon**2).sqrt().mean()


PIXEL = {"l1": l1, "charbonnier": charbonnier, "mse": mse, "euclidean": euclidean}


def heavier_border(image: Tensor, factor: float, width: int) -> Tensor:
    """Multiply the outermost `width` pixels along each side of (N, C, H, W) by `factor`, and corners by its square.

    Applied to fake and real alike, it multiplies their difference, where a network sees nothing beyond the border.
    """
    for dim in (2, 3):
        length = image.shape[dim]
        weight = torch.ones(length, dtype=image.dtype, device=image.device)
        weight[:width] = factor
        weight[max(0, length - width) :] = factor
        image = image * (weight[:, None] if dim == 2 else weight)
    return image


def total_variation(fake: Tensor) -> Tensor:
    """2 (sum dv^2 / count_v + sum dh^2 / count_h) / N, counts of one image: the term of the paper's baseline."""
    vertical, horizontal = full(fake).diff(dim=-2), full(fake).diff(dim=-1)
    return 2 * (vertical.square().mean() + horizontal.square().mean())


def fft_l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of the spectra, over real and imaginary parts (Cho et al., ICCV 2021).

    Not normalised: it grows with the square root of the patch area.
    """
    return torch.view_as_real(torch.fft.fft2(full(fake) - full(real))).abs().mean()


def colour(fake: Tensor, lr: Tensor) -> Tensor:
    """L1 between the LR (N, 3, H/s, W/s) and the fake averaged over each LR pixel.

    Preserves the colours of a GAN without affecting its texture.
    """
    return l1(F.avg_pool2d(full(fake), fake.shape[-1] // lr.shape[-1]), lr)


def grid(fake: Tensor, real: Tensor, scale: int, window: int = 8) -> Tensor:
    """L1 between local means, taken separately for each of the scale x scale positions within an input pixel.

    window: side of the averaging window in input pixels. Penalises patterns that repeat with every input pixel, but not
    texture. Networks that end in a pixel shuffle produce such patterns, and the strides of perceptual networks hide
    them.
    """
    positions = F.pixel_unshuffle(full(fake) - full(real), scale)
    return F.avg_pool2d(positions, min(window, *positions.shape[-2:])).abs().mean()


def shifted(images: Tensor, offset: Tensor, most: int) -> Tensor:
    """Crop (N, C, H, W) to (N, C, H - most, W - most), `offset` rows and columns, 0 to most, from the top left."""
    for dim, start in zip((2, 3), offset, strict=True) if most else ():
        kept = torch.arange(images.shape[dim] - most, device=images.device)
        images = images.index_select(dim, start + kept)
    return images


def ldl(fake: Tensor, real: Tensor, average: Tensor) -> Tensor:
    """L1 weighted by `artifact_map`, which has no gradient (Liang et al., CVPR 2022)."""
    return (artifact_map(fake, real, average) * (full(fake) - full(real))).abs().mean()


@torch.no_grad()
def artifact_map(fake: Tensor, real: Tensor, average: Tensor, window: int = 7) -> Tensor:
    """Return a map (N, 1, H, W), from 0 up, of where the fake is likely an artifact rather than detail.

    It is the variance of the residual in the window around each pixel, times the fifth root of its variance in the
    image; zero where the fake is closer to the real image than `average`, the output of the averaged generator.
    """
    residual = (full(fake) - full(real)).abs().sum(1, keepdim=True)
    steadier = (full(average) - full(real)).abs().sum(1, keepdim=True)
    whole = residual.var(dim=(1, 2, 3), keepdim=True) ** 0.2
    windows = F.pad(residual, [window // 2] * 4, mode="reflect").unfold(2, window, 1).unfold(3, window, 1)
    return (whole * windows.var(dim=(-2, -1))).masked_fill(residual < steadier, 0)


def full(x: Tensor) -> Tensor:
    """Convert to fp32, leaving fp64 as it is: sums of many half-precision terms lose the small ones."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
