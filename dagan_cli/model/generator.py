"""The generator: RDN's skeleton with dual attention in its blocks, each block a step of a Runge-Kutta scheme.

input -> sfe1 -> sfe2 -> block 1 -> ... -> block D      every block's output goes to the fusion
           |                                  |
           +------------- + <------ fusion <--+         -> upsampler -> output
"""

from __future__ import annotations

from math import ceil, log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.errors import BadOption
from dagan_cli.model import footprint
from dagan_cli.model.attention import ChannelAttention, SpatialAttention, explicit_keys
from dagan_cli.model.config import ORDER_SOLVERS, GeneratorConfig, Window
from dagan_cli.model.rk import RungeKutta, evaluations


class Dense(nn.Module):
    """f(y) as a residual dense block without its residual: `layers` densely connected convolutions, fused 1x1."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c, g = config.channels, config.growth
        self.layers = nn.ModuleList(nn.Conv2d(c + i * g, g, 3, padding=1) for i in range(config.layers))
        self.fusion = nn.Conv2d(c + config.layers * g, c, 1)

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape."""
        for layer in self.layers:
            y = torch.cat((y, F.relu(layer(y))), dim=1)
        return self.fusion(y)


class Residual(nn.Module):
    """f(y) as two plain 3x3 convolutions."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.channels
        self.first = nn.Conv2d(c, c, 3, padding=1)
        self.last = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape."""
        return self.last(F.relu(self.first(y), inplace=True))


def block_function(config: GeneratorConfig, *, attended: bool = True) -> nn.Sequential:
    """Build f(y): the convolutions, then, if `attended`, the attention in the configured order."""
    convolutions = Dense(config) if config.block == "dense" else Residual(config)
    if config.identity_start:  # every block starts as y -> y, at any depth of the network
        last = convolutions.fusion if isinstance(convolutions, Dense) else convolutions.last
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
    kinds = {"spatial": SpatialAttention, "channel": ChannelAttention}
    wanted = config.attention.split("-") if attended and config.attention != "none" else []
    return nn.Sequential(convolutions, *(kinds[kind](config) for kind in wanted))


class Generator(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), nominally in [0, 1] and not clamped.

    Any H and W from 1 up: if the attention uses windows or pooling, the input is padded (edge values repeated) to whole
    windows and the result cropped.
    """

    compiles = True  # OpenVINO can run it

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        c, s = config.channels, config.scale
        self.sfe1 = nn.Conv2d(3, c, 3, padding=1)
        self.sfe2 = nn.Conv2d(c, c, 3, padding=1)

        solvers = tuple(ORDER_SOLVERS[order] for order in config.orders) or (config.solver,)
        own = 1 if config.shared_weights else evaluations(config, config.solver)
        attended = config.attended or range(1, config.blocks + 1)
        self.blocks = nn.ModuleList(
            RungeKutta(
                [block_function(config, attended=number in attended) for _ in range(own)],
                solvers,
                learned=config.learned_constants,
                stages=config.stages,
            )
            for number in range(1, config.blocks + 1)
        )
        self.fusion1 = nn.Conv2d(config.blocks * c, c, 1)
        self.fusion2 = nn.Conv2d(c, c, 3, padding=1)

        if config.upsampler == "direct":
            self.upsampler = nn.Sequential(last := nn.Conv2d(c, 3 * s * s, 3, padding=1), nn.PixelShuffle(s))
        else:
            factors = [3] if s == 3 else [2] * round(log2(s))
            steps = [layer for f in factors for layer in (nn.Conv2d(c, f * f * c, 3, padding=1), nn.PixelShuffle(f))]
            self.upsampler = nn.Sequential(*steps, last := nn.Conv2d(c, 3, 3, padding=1))
        if config.identity_start and config.image_skip and last.bias is not None:  # starts as the enlarged input
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)
        self._order: int | None = config.order
        self.use_window(config.default_window)

    def forward(self, x: Tensor, order: int | None = None) -> Tensor:
        """(N, 3, H, W) -> (N, 3, scale*H, scale*W). `order` overrides `self.order` for this call."""
        h, w = x.shape[-2:]
        x = self._pad_to_windows(x)
        solver = self.solver if order is None else self._solver_of(order)
        shallow = self.sfe1(x)
        y = self.sfe2(shallow)
        fused: Tensor | None = None
        weights = self.fusion1.weight.flatten(1).split(self.config.channels, dim=1)
        for block, weight in zip(self.blocks, weights, strict=True):
            y = block(y, solver)
            # The 1x1 convolution over all block outputs, summed block by block: the concatenation, D times as large as
            # the features, is never held.
            rows = y.permute(0, 2, 3, 1).flatten(0, 2)  # (N*H*W, C)
            if fused is None:
                fused = F.linear(rows, weight, self.fusion1.bias)
            else:  # autocast does not cast in-place operations
                fused.addmm_(rows.to(fused.dtype), weight.T.to(fused.dtype))
        assert fused is not None
        n, c, *sides = y.shape
        deep = self.fusion2(fused.view(n, *sides, c).permute(0, 3, 1, 2)) + shallow
        return self._enlarge(deep, x)[..., : h * self.scale, : w * self.scale]

    def _enlarge(self, features: Tensor, x: Tensor) -> Tensor:
        """Features (N, C, H, W) and the network's input (N, 3, H, W) -> (N, 3, scale*H, scale*W)."""
        s = self.scale
        if not self.config.image_skip:
            return self.upsampler(features)
        if self.config.upsampler == "direct":  # the same sum before the shuffle, without interpolation
            convolution, shuffle = self.upsampler
            return shuffle(convolution(features).add_(x.repeat_interleave(s * s, dim=1)))
        return self.upsampler(features) + F.interpolate(x, scale_factor=s, mode="nearest")

    @property
    def scale(self) -> int:
        return self.config.scale

    @property
    def order(self) -> int | None:
        """Current order of the solver (1, 2 or 4); None for a network without a choice of orders."""
        return self._order

    @order.setter
    def order(self, order: int) -> None:
        self._solver_of(order)
        self._order = order

    @property
    def solver(self) -> str:
        return self.config.solver if self._order is None else self._solver_of(self._order)

    def use_window(self, window: Window) -> None:
        """Attend and pool over the whole input, or over windows of 1.5 times the training patch (TLC, ECCV 2022)."""
        self.window: Window = window
        for module in self.modules():
            if isinstance(module, (SpatialAttention, ChannelAttention)):
                module.local = None if window == "global" else self.context

    @property
    def context(self) -> int | None:
        """Side of the local windows, in input pixels: pooling over less changes the result. None = it pools nowhere."""
        return None if self.config.attention == "none" else ceil(1.5 * self.config.patch)

    @property
    def grid(self) -> int:
        """Tiles must start at multiples of this, so that their attention windows are those of the whole image."""
        has_spatial = "spatial" in self.config.attention
        return (self.config.window or self.config.pool) if has_spatial else 1

    @property
    def receptive_field(self) -> int | None:
        """Receptive field of one output pixel, in input pixels to each side; None = the whole input."""
        config = self.config
        kinds = set() if config.attention == "none" else set(config.attention.split("-"))
        convolutions = config.blocks * (config.layers if config.block == "dense" else 2)
        attention = 0
        if "spatial" in kinds:
            if config.window is None:  # the windows of `local` are spread over the whole input, so they depend on it
                return None
            attention += config.window - 1
        if "channel" in kinds:
            if self.window == "global":
                return None
            attention += ceil(1.5 * config.patch)
        attention *= config.blocks if config.attended is None else len(config.attended)
        upsampler = 1 if config.upsampler == "direct" else 2 if config.scale in (2, 3) else 3
        return 2 + evaluations(config, self.solver) * (convolutions + attention) + 1 + upsampler

    def footprint(self, device: torch.device, dtype: torch.dtype) -> footprint.Footprint:
        """Return what a tile costs there in this type, with channels last."""
        keys = explicit_keys(device, dtype)
        return footprint.of_generator(self.config, self.solver, self.window, dtype.itemsize, keys)

    def _solver_of(self, order: int) -> str:
        if order not in self.config.orders:
            trained = ", ".join(map(str, self.config.orders)) or "none; leave out --order"
            raise BadOption(f"--order {order} does not fit this model", hint=f"its orders: {trained}")
        return ORDER_SOLVERS[order]

    def _pad_to_windows(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        right, below = -w % self.grid, -h % self.grid
        return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x
