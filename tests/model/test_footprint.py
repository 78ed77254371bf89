"""The footprint by formula against a measurement of what is alive: of all released models, and of drawn networks."""

from __future__ import annotations

from random import Random
from typing import Any, get_args

import pytest
import torch

from dagan_cli.engine.measuring.meter import metered
from dagan_cli.model.checkpoint import load_model
from dagan_cli.model.config import Attention, GeneratorConfig, Window
from dagan_cli.model.generator import Generator
from dagan_cli.model.rk import CLASSICAL
from dagan_cli.model.srresnet import SrResNet, SrResNetConfig
from weights.catalog import CATALOG

CPU = torch.device("cpu")
SIDES = (96, 144)  # pixels; both larger than the local windows of a patch of 32, and multiples of all windows here
MOST = 1.02  # times what was measured; never less than it


def growth_of(network: Any, dtype: torch.dtype) -> tuple[float, float]:
    """Return the bytes by which the measured peak grows with each pixel, and the measured arithmetic per pixel."""
    network = network.eval().requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
    seen = []
    for side in SIDES:
        tile = torch.rand(1, 3, side, side).to(dtype, memory_format=torch.channels_last)
        seen.append((side * side, metered(network, tile)))
    (small, few), (large, many) = seen
    return (many.peak - few.peak) / (large - small), many.flops / large


def require_exact(network: Any, dtype: torch.dtype = torch.float32) -> None:
    bytes_per_pixel, flops = growth_of(network, dtype)
    seen = network.footprint(CPU, dtype)
    assert bytes_per_pixel <= seen.bytes_per_pixel * 1.0001  # of the last rows and columns of sums over windows
    assert seen.bytes_per_pixel <= MOST * bytes_per_pixel
    if getattr(network, "window", "global") == "global" or "spatial" not in network.config.attention:
        assert seen.flops_per_pixel + SIDES[1] ** 2 * seen.flops_per_pair == pytest.approx(flops, rel=0.1)


def config_drawn(chance: Random) -> GeneratorConfig:
    def some(*choices: Any) -> Any:
        return chance.choice(choices)

    blocks = some(1, 2, 3)
    return GeneratorConfig(
        scale=some(2, 3, 4, 8),
        blocks=blocks,
        channels=some(8, 16),
        block=some("dense", "residual"),
        growth=some(4, 8, 32),
        layers=some(1, 2, 3),
        attention=some(*get_args(Attention)),
        attended=some(None, (1,), (blocks,)),
        pairwise=some("gaussian", "embedded"),
        learned_temperature=some(True, False),
        embedding=some(None, 4, 8),
        window=some(None, 8, 16, 24),
        pool=some(1, 2, 4),
        reduction=some(1, 4, 8),
        squeeze=some("mean", "mean-deviation"),
        solver=some(*CLASSICAL),
        stages=some(1, 2, 3),
        upsampler=some("steps", "direct"),
        image_skip=some(True, False),
        patch=some(16, 32),
        default_window=some(*get_args(Window)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.name)
def test_it_is_exact_for_a_released_model_at_every_order(model):
    network = load_model(model.path).generator
    for order in network.config.orders:
        network.order = order
        require_exact(network)


@pytest.mark.slow
@pytest.mark.parametrize("window", get_args(Window))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(10))
def test_it_is_exact_for_any_configuration(seed, dtype, window):
    network = Generator(config_drawn(Random(f"{seed} {dtype} {window}")))
    network.use_window(window)
    require_exact(network, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "blocks"), [(2, 1), (4, 3), (8, 2)])
def test_it_is_exact_for_a_converted_srgan(scale, blocks):
    require_exact(SrResNet(SrResNetConfig(scale=scale, blocks=blocks, channels=8)))


def test_weights_of_attention_are_held_only_where_that_is_faster():
    windows = Generator(GeneratorConfig(blocks=1, channels=8, window=16, upsampler="direct"))  # 256 keys
    on_cpu, on_gpu = (windows.footprint(torch.device(name), torch.bfloat16) for name in ("cpu", "cuda"))
    assert on_cpu.bytes_per_pixel > on_gpu.bytes_per_pixel + 256 * 2
    assert on_cpu.bytes_per_pixel > 2 * 256 * 2  # the products with all keys, and their softmax
