"""Cost of a tile on its way through a network: bytes and arithmetic per input pixel, from the configuration alone.

Each function follows the forward pass of its network, and counts what is alive at once: the results that are still
needed, and what is computed from them. tests/model/test_footprint.py compares it with a measurement. Left out are what
does not grow with the tile, such as the weights, and attention over so small a tile that its weights are held at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from dagan_cli.model.config import GeneratorConfig, Window
from dagan_cli.model.rk import evaluations


@dataclass(frozen=True, slots=True)
class Footprint:
    """Cost of a tile of n pixels: n * bytes_per_pixel, and n * (flops_per_pixel + n * flops_per_pair).

    The last term is attention over the whole tile.
    """

    bytes_per_pixel: float
    flops_per_pixel: float = 1.0
    flops_per_pair: float = 0.0

    def growth(self, pixels: int) -> float:
        """Ratio of the arithmetic per pixel of such a tile to that of a small one."""
        return 1 + pixels * self.flops_per_pair / self.flops_per_pixel


def of_generator(config: GeneratorConfig, solver: str, window: Window, itemsize: int, explicit: int) -> Footprint:
    """Return the footprint of a generator in numbers of `itemsize` bytes, channels last, without gradients.

    With at most `explicit` keys, the weights of the attention are held; see `attention.explicit_keys`.
    """
    c = config.channels * itemsize
    attended = config.attended or range(1, config.blocks + 1)
    peak = c + c + c + c + c  # at the end: shallow features, last block, fusion, its convolution, and the sum
    for number in range(1, config.blocks + 1):
        has_attention = number in attended
        held = (2 if number == 1 else 3) * c  # shallow features, the block's input, and the sum for the fusion
        peak = max(peak, held + _step(config, solver, c, _function(config, has_attention, window, itemsize, explicit)))
    peak = max(peak, 4 * c + _upsampler(config, itemsize))
    return Footprint(peak, *_flops(config, solver, window, len(attended)))


def of_srresnet(scale: int, channels: int, blocks: int, itemsize: int) -> Footprint:
    """Return the footprint of SRGAN's generator. Its largest features are those before and after the last PReLU."""
    steps = round(log2(scale))
    trunk = 9 * channels**2 * (2 * blocks + 1)
    flops = 2 * (
        trunk + 81 * 3 * channels + sum(36 * channels**2 * 4**i for i in range(steps)) + 243 * channels * scale**2
    )
    return Footprint(channels * itemsize * (2 + 2 * scale**2), flops)


def _step(config: GeneratorConfig, solver: str, c: int, function: int) -> int:
    """Return the bytes of a Runge-Kutta step next to its input, by what `rk.step` holds of each c bytes."""
    if solver == "tied-euler":
        again = c if config.stages > 1 else 0  # from the second stage on, its own input
        return again + max(function, 2 * c)
    arguments, sums = {"euler": (0, 2), "midpoint": (1, 2), "heun": (2, 3), "rk3": (3, 6), "rk4": (4, 7)}[solver]
    return max(arguments * c + function, sums * c)


def _function(config: GeneratorConfig, has_attention: bool, window: Window, itemsize: int, explicit: int) -> int:
    """Return the bytes of f(y) next to y."""
    c = config.channels * itemsize
    if config.block == "residual":
        peak = 2 * c
    else:
        g, n = config.growth * itemsize, config.layers
        # The last concatenation: what it joins, and its result. Before the first there is only y.
        peak = max(2 * (c + n * g) if n > 1 else c + 2 * g, 2 * c + n * g)
    if has_attention and "spatial" in config.attention:
        peak = max(peak, _spatial(config, window, itemsize, explicit))
    if has_attention and "channel" in config.attention:
        peak = max(peak, _channel(config, window, itemsize))
    return peak


def _spatial(config: GeneratorConfig, window: Window, itemsize: int, explicit: int) -> int:
    """Return the bytes of the attention over positions, with its input."""
    c = config.channels * itemsize
    e = (config.embedding or config.channels // 2) * itemsize
    is_embedded = config.pairwise == "embedded"
    d = e if is_embedded else c  # of queries, keys, values and the result
    fewer = config.pool**2  # queries for each key
    pooled = c // fewer + 1 if config.pool > 1 else 0
    held = c + pooled + ((d + 2 * d // fewer + 1) if is_embedded else 0)
    peak = c + pooled + (config.channels * 8 // fewer + 1 if config.pool > 1 else 0)  # with the places of the maxima
    if config.learned_temperature:
        peak = max(peak, held + d)
        held += 0 if is_embedded else d
    result = d
    if config.window is not None:
        split = d + 2 * d // fewer + 1
        keys = (config.window // config.pool) ** 2
        weights = 2 * keys * itemsize if keys <= explicit else 0
        peak = max(peak, held + split + max(weights, weights // 2 + d + 4), held + 2 * d)
    elif window == "local":  # the windows are cut out one by one, and are smaller than the tile
        result = 2 * d + itemsize
        peak = max(peak, held + 3 * d + result)
    else:
        peak = max(peak, held + d + 4)
    return max(peak, c + result, c + d + e, c + e + c)


def _channel(config: GeneratorConfig, window: Window, itemsize: int) -> int:
    """Return the bytes of the attention over channels, with its input."""
    c = config.channels * itemsize
    wide = 4 * config.channels  # statistics are in fp32
    copy = wide if itemsize < 4 else 0
    if window == "global":
        return max(2 * c, c + copy + wide if config.squeeze == "mean-deviation" else 0)
    waist = config.channels // config.reduction
    gated = 3 * c + waist * itemsize
    if config.squeeze == "mean-deviation":
        return max(gated, c + copy + 7 * wide)
    return max(gated, c + waist * (itemsize + 16))


def _upsampler(config: GeneratorConfig, itemsize: int) -> int:
    """Return the bytes of the upsampler next to its input."""
    s, c = config.scale, config.channels
    image = 3 * s * s * itemsize
    if config.upsampler == "direct":
        return 2 * image + (3 * itemsize if config.image_skip else 0)  # the repetition copies its source
    last = s if s == 3 else 2
    before = (s // last) ** 2 * c  # channels per input pixel before the last shuffle
    return max(2 * before * last**2 * itemsize, c * s * s * itemsize + image, (3 if config.image_skip else 1) * image)


def _flops(config: GeneratorConfig, solver: str, window: Window, attended: int) -> tuple[float, float]:
    """Return the arithmetic per pixel, and per pair of pixels where the attention is over the whole tile."""
    c, g, s = config.channels, config.growth, config.scale
    e = config.embedding or c // 2
    if config.block == "residual":
        block = 18 * c * c
    else:
        block = sum(9 * (c + i * g) * g for i in range(config.layers)) + (c + config.layers * g) * c
    fewer, attention, pair = config.pool**2, 0.0, 0.0
    if "spatial" in config.attention:
        is_embedded = config.pairwise == "embedded"
        attention += (c * e * (1 + 2 / fewer) if is_embedded else c * e) + e * c
        products = 2 * (e if is_embedded else c) / fewer
        if config.window is not None:
            attention += products * config.window**2
        elif window == "local":
            attention += products * ceil(1.5 * config.patch) ** 2
        else:
            pair = products
    if "channel" in config.attention and window == "local":
        attention += 2 * c * (c // config.reduction)
    times = evaluations(config, solver)
    if config.upsampler == "direct":
        tail = 27 * c * s * s
    else:
        factors = [3] if s == 3 else [2] * round(log2(s))
        sides = [1]
        for factor in factors:
            sides.append(sides[-1] * factor)
        tail = sum(9 * c * c * f * f * side**2 for f, side in zip(factors, sides, strict=False)) + 27 * c * s * s
    ends = 27 * c + 9 * c * c + config.blocks * c * c + 9 * c * c
    total = times * (config.blocks * block + attended * attention) + ends + tail
    return 2 * total, 2 * times * attended * pair
