"""Discriminators, which tell real images from upscaled ones; only training uses them."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Kind = Literal["leftthomas", "srgan", "vgg128", "unet"]


def discriminator(kind: Kind, side: int = 96, width: int = 64) -> nn.Module:
    """Create a discriminator: RGB (N, 3, H, W) in [0, 1] -> logits, above 0 for real.

    leftthomas: SRGAN's convolutions with global average pooling, as in the common PyTorch port; (N, 1).
    srgan: the original (Ledig et al., CVPR 2017), whose dense layer fits images of one `side` in pixels; (N, 1).
    vgg128: ESRGAN's (Wang et al., 2018), exact for 128 pixels; other sides are pooled to its grid; (N, 1).
    unet: Real-ESRGAN's (Wang et al., 2021), with spectral norm; one logit per pixel, (N, 1, H, W).
    width: channels of unet and leftthomas at full resolution. 64 is the original; 16 costs a sixteenth, for CPUs.
    """
    if kind == "unet":
        return UNet(width)
    if kind == "vgg128":
        return nn.Sequential(*_vgg_convs(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), *_dense(512 * 4 * 4, 100))
    if kind == "srgan":
        return nn.Sequential(*_srgan_convs(), nn.Flatten(), *_dense(512 * ceil(side / 16) ** 2, 1024))
    head = (nn.Conv2d(8 * width, 16 * width, 1), _leaky(), nn.Conv2d(16 * width, 1, 1), nn.Flatten())
    return nn.Sequential(*_srgan_convs(width), nn.AdaptiveAvgPool2d(1), *head)


class UNet(nn.Module):
    """U-Net of depth 3 with additive skips; all but the first and last convolution have spectral norm."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        pairs = list(pairwise((width, 2 * width, 4 * width, 8 * width)))
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(_normed(a, b, 4, 2) for a, b in pairs)
        self.up = nn.ModuleList(_normed(b, a, 3, 1) for a, b in reversed(pairs))
        self.end = nn.ModuleList(_normed(width, width, 3, 1) for _ in range(2))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = _activate(self.first(images))
        skips = []
        for down in self.down:
            skips.append(x)
            x = _activate(down(x))
        for up in self.up:
            skip = skips.pop()
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear")  # twice the size, plus one if the skip's is odd
            x = _activate(up(x)) + skip
        for end in self.end:
            x = _activate(end(x))
        return self.last(x)


class _Conv(nn.Conv2d):
    """A convolution whose normalised weight is computed in full precision, also under autocast."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            weight = self.weight
        return self._conv_forward(input, weight, self.bias)


def _normed(width: int, out: int, kernel: int, stride: int) -> nn.Module:
    return spectral_norm(_Conv(width, out, kernel, stride, 1, bias=False))


def _srgan_convs(width: int = 64) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), _leaky()]
    for a, b in pairwise(width * times for times in (1, 1, 2, 2, 4, 4, 8, 8)):
        layers += [nn.Conv2d(a, b, 3, 2 if a == b else 1, 1), nn.BatchNorm2d(b), _leaky()]
    return layers


def _vgg_convs() -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), _leaky()]
    for width, out in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 512)):
        if width > 3:
            layers += [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), _leaky()]
        layers += [nn.Conv2d(out, out, 4, 2, 1, bias=False), nn.BatchNorm2d(out), _leaky()]
    return layers


def _dense(width: int, hidden: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, hidden), _leaky(), nn.Linear(hidden, 1)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
