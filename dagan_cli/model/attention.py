"""Dual attention of a block: over positions (non-local) and over channels (squeeze-excitation)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.model.config import GeneratorConfig


class SpatialAttention(nn.Module):
    """Non-local block (Wang et al., CVPR 2018) with its inner residual: x + W(softmax over j of q_i.k_j applied to v).

    Gaussian: q = k = x, and v = x with g applied after the sum. The rows of the softmax sum to one, so this equals
    applying g first, and the fused kernels, which need q, k and v of one width, can run.
    Embedded: q = theta(x), k = phi(x), v = g(x), each half as wide.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.channels
        e = config.embedding or c // 2
        self.embedded = config.pairwise == "embedded"
        self.scale = 1.0 / config.temperature
        self.sharpness = nn.Parameter(torch.zeros(())) if config.learned_temperature else None  # log of a factor
        self.window = config.window
        self.pool = config.pool
        self.local: int | None = None  # side of the overlapping windows that replace global attention
        self.attend: Attend = attend  # replaced by tools that watch or change it
        if self.embedded:
            self.theta = nn.Conv2d(c, e, 1)
            self.phi = nn.Conv2d(c, e, 1)
        self.g = nn.Conv2d(c, e, 1)
        self.w = nn.Conv2d(e, c, 1)
        if config.identity_start:
            nn.init.zeros_(self.w.weight)
            nn.init.zeros_(_bias(self.w))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape. With a window, H and W must be multiples of it."""
        if self.window is None and self.local is not None and max(x.shape[-2:]) > self.local:
            y = self._overlapping(x, self.local)
        else:
            y = self._attend(x)
        y = y if self.embedded else pointwise(self.g, y)
        y = pointwise(self.w, y)
        return y + x if y.requires_grad else y.add_(x)  # autograd copies what is changed in place through a view

    def _attend(self, x: Tensor) -> Tensor:
        """Attend to the (pooled) positions of the same window, or of the whole: (N, C, H, W) -> (N, D, H, W)."""
        h, w = x.shape[-2:]
        pooled = x if self.pool == 1 else F.max_pool2d(x, self.pool, ceil_mode=True)
        q, k, v = x, pooled, pooled
        if self.embedded:
            q, k, v = pointwise(self.theta, x), pointwise(self.phi, pooled), pointwise(self.g, pooled)
        if self.sharpness is not None:
            q = q * self.sharpness.exp()
        if self.window is None:
            y = self.attend(_rows(q), _rows(k), _rows(v), self.scale)  # (N, H*W, D)
            return y.unflatten(1, (h, w)).permute(0, 3, 1, 2)
        small = self.window // self.pool
        y = self.attend(
            _windows(q, self.window), _windows(k, small), _windows(v, small), self.scale
        )  # (N * windows, side^2, D)
        return _join(y, h, w, self.window)

    def _overlapping(self, x: Tensor, side: int) -> Tensor:
        """Attend in evenly spaced windows, averaged where they overlap (TLC, Chu et al., ECCV 2022)."""
        n, c, h, w = x.shape
        out = x.new_zeros(n, self.g.out_channels if self.embedded else c, h, w)
        count = x.new_zeros(1, 1, h, w)
        for ys, xs in product(_even_spans(h, side), _even_spans(w, side)):
            out[..., ys, xs] += self._attend(x[..., ys, xs])
            count[..., ys, xs] += 1
        return out / count


class ChannelAttention(nn.Module):
    """Squeeze-excitation (Hu et al., CVPR 2018): each channel times a gate made from all channel means, no biases.

    The gate can also use the standard deviation of each channel.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c, waist = config.channels, config.channels // config.reduction
        self.sees_deviation = config.squeeze == "mean-deviation"
        self.squeeze = nn.Linear(2 * c if self.sees_deviation else c, waist, bias=False)
        self.excite = nn.Linear(waist, c, bias=False)
        self.gain = 1.0  # sigmoid(0) = 1/2, so a gate that starts at 1 needs twice that
        self.local: int | None = None  # side of the sliding mean that replaces the global one
        if config.identity_start:
            self.gain = 2.0
            nn.init.zeros_(self.excite.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape."""
        local = self.local if self.local is not None and max(x.shape[-2:]) > self.local else None
        if local is None or self.sees_deviation:
            waist = self.squeeze(self._statistics(x, local).permute(0, 2, 3, 1))
        else:  # squeezing and averaging commute; squeezed first, there are fewer channels to average
            waist = sliding_mean(self.squeeze(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), local).permute(0, 2, 3, 1)
        gate = self.excite(F.relu(waist)).sigmoid_().permute(0, 3, 1, 2)
        return torch.addcmul(x.new_zeros(()), x, gate, value=self.gain)

    def _statistics(self, x: Tensor, local: int | None) -> Tensor:
        """Return the gate's statistics, (N, C or 2C, h, w), over the whole input or over sliding windows."""
        if not self.sees_deviation:
            return x.mean((2, 3), keepdim=True)
        wide = x.float()  # for the difference of squares
        mean, square = (
            y.mean((2, 3), keepdim=True) if local is None else sliding_mean(y, local) for y in (wide, wide.square())
        )
        deviation = (square - mean.square()).clamp_min(0).add(1e-6).sqrt()  # the sum keeps the gradient finite
        return torch.cat((mean, deviation), 1).to(x.dtype)


def pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute a 1x1 convolution as a matrix product, without copies if channels are last in memory."""
    return F.linear(x.permute(0, 2, 3, 1), layer.weight.flatten(1), layer.bias).permute(0, 3, 1, 2)


Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]  # (q, k, v, scale) -> output of the attention


@contextmanager
def attending_by(network: nn.Module, attend: Attend) -> Iterator[None]:
    """Replace the function by which this network's spatial attention computes, to watch or change it."""
    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, SpatialAttention):
                stack.callback(partial(setattr, module, "attend", module.attend))
                module.attend = attend
        yield


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(scale * q kT) v over (B, N, D) queries and (B, M, D) keys and values -> (B, N, D).

    On a CPU with few keys, two matrix products and a softmax are faster than the fused kernel; elsewhere the fused
    kernel is faster, keeps its logits in fp32 and never holds the N x M weights.
    """
    if len(q) > _LARGEST_BATCH:
        parts = zip(*(x.split(_LARGEST_BATCH) for x in (q, k, v)), strict=True)
        return torch.cat([attend(*part, scale=scale) for part in parts])
    if k.shape[1] <= explicit_keys(q.device, q.dtype):
        return torch.softmax(scale * (q @ k.transpose(1, 2)), dim=-1) @ v
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=scale)[:, 0]


_LARGEST_BATCH = 65_535  # limit of CUDA's fused kernels (pytorch issue 142228)


def explicit_keys(device: torch.device, dtype: torch.dtype) -> int:
    """Return the most keys for which `attend` holds all weights, because that was faster."""
    return 0 if device.type != "cpu" else 576 if dtype == torch.bfloat16 else 128


def sliding_mean(x: Tensor, side: int) -> Tensor:
    """Mean over a side x side window around each position; edges repeat the outermost full window (TLC); fp32 sums."""
    for dim in (2, 3):
        length = x.shape[dim]
        k = min(side, length)
        sums = F.pad(x.float().cumsum(dim), (0, 0) * (3 - dim) + (1, 0))  # one zero before the first element
        means = (sums.narrow(dim, k, length - k + 1) - sums.narrow(dim, 0, length - k + 1)) / k
        before = (length - means.shape[dim]) // 2
        index = torch.arange(length, device=x.device).sub(before).clamp(0, means.shape[dim] - 1)
        x = means.index_select(dim, index).to(x.dtype)
    return x


def _rows(x: Tensor) -> Tensor:
    """(N, D, H, W) -> (N, H*W, D)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _windows(x: Tensor, side: int) -> Tensor:
    """(N, D, H, W) -> (N * H/side * W/side, side^2, D)."""
    n, d, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, h // side, side, w // side, side, d)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, d)


def _join(y: Tensor, h: int, w: int, side: int) -> Tensor:
    """The inverse of `_windows`: (N * h/side * w/side, side^2, D) -> (N, D, h, w)."""
    y = y.reshape(-1, h // side, w // side, side, side, y.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return y.reshape(-1, h, w, y.shape[-1]).permute(0, 3, 1, 2)


def _even_spans(length: int, side: int) -> Iterator[slice]:
    """Yield slices of one side, spread evenly to cover the length; they overlap by the excess."""
    side = min(side, length)
    count = ceil(length / side)
    for i in range(count):
        start = i * (length - side) // max(1, count - 1)
        yield slice(start, start + side)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
