"""Networks with known answers. Each stands in for a generator: (N, 3, h, w) -> (N, 3, scale*h, scale*w)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Blur(nn.Module):
    """Averages `radius` pixels around each pixel, then doubles: so far sees each pixel, and no further."""

    scale = 2

    def __init__(self, radius: int = 1) -> None:
        super().__init__()
        self.receptive_field = radius

    def forward(self, x: Tensor) -> Tensor:
        r = self.receptive_field
        blurred = F.avg_pool2d(F.pad(x, (r, r, r, r), "replicate"), 2 * r + 1, stride=1)
        return F.interpolate(blurred, scale_factor=2, mode="nearest")


class Convolutions(nn.Module):
    """A small network of random convolutions with zero padding, x `scale`, and its own true receptive field."""

    def __init__(self, depth: int = 3, width: int = 8, scale: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = depth + 1
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            first = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
            middle = [layer for _ in range(depth - 1) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
            last = [nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
            self.layers = nn.Sequential(*first, *middle, *last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Windows(nn.Module):
    """Each pixel sees the mean of its window of a fixed grid: right only in tiles that start on the grid."""

    scale = 1
    grid = 8
    receptive_field = 7

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        assert h % 8 == 0, "the height is no multiple of the window"
        assert w % 8 == 0, "the width is no multiple of the window"
        return F.interpolate(F.avg_pool2d(x, 8), scale_factor=8, mode="nearest")


class Mean(nn.Module):
    """Adds the mean of all it is given: sees everywhere, as pooling and global attention do."""

    scale = 2
    receptive_field = None

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest") + x.mean((1, 2, 3), keepdim=True)


class Limited(nn.Module):
    """Another network on a device whose memory ends above `pixels` input pixels a call; keeps what it was given.

    Copies share `calls`, the shapes that were computed, so the copy inside an Upscaler can be watched from outside.
    """

    def __init__(self, network: nn.Module, pixels: float, error: Exception | None = None) -> None:
        super().__init__()
        self.network = network
        self.scale = network.scale
        self.receptive_field = network.receptive_field
        self.grid = getattr(network, "grid", 1)
        self.pixels = pixels
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.calls: list[tuple[int, ...]] = []
        self.weight = nn.Parameter(torch.zeros(()))

    def __deepcopy__(self, memo: dict) -> Limited:
        return self

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if n * h * w > self.pixels:
            raise self.error
        self.calls.append(tuple(x.shape))
        return self.network(x)


class Overflowing(nn.Module):
    """Doubles the picture; where a pixel is above `above`, half precision overflows on the way and fp32 does not."""

    scale = 2
    receptive_field = 0

    def __init__(self, above: float = 0.5) -> None:
        super().__init__()
        self.above = above
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        big = torch.where(x > self.above, 1e6, 1.0).to(x.dtype)  # infinite in fp16
        return F.interpolate(x * big / big * self.weight, scale_factor=2, mode="nearest")


class NotFinite(nn.Module):
    """A broken network: NaN in every precision."""

    scale = 1
    receptive_field = 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float("nan")))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Mirror(nn.Module):
    """Treats left and right differently, so that an ensemble changes its result: adds each pixel's left neighbour."""

    scale = 1
    receptive_field = 1

    def forward(self, x: Tensor) -> Tensor:
        return x + F.pad(x, (1, 0, 0, 0))[..., :-1]
