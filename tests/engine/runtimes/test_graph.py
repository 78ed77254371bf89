"""The generator as OpenVINO's graph gives PyTorch's results, for every network of the family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dagan_cli.engine.runtimes import library
from dagan_cli.engine.runtimes.graph import Unsupported, graph_of
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator

SMALL: dict[str, Any] = {"blocks": 2, "channels": 8, "growth": 4, "layers": 2, "reduction": 2, "patch": 8}
WINDOWS: dict[str, Any] = {"attention": "spatial-channel", "window": 8, "pool": 2}


def network(**choices: Any) -> Generator:
    """A network whose parameters are all at work: none is the zero or the one that training starts from."""
    built = Generator(GeneratorConfig(**(SMALL | choices))).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return built


def difference(built: Generator, shape: tuple[int, ...] = (1, 3, 32, 24)) -> float:
    compiled = library.core().compile_model(graph_of(built, shape), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = torch.rand(shape)
    with torch.inference_mode():
        wanted = built(x).numpy()
    found = compiled(x.numpy())[0]
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint", "rk3", "rk4", "tied-euler"])
@pytest.mark.parametrize("shared", [True, False])
def test_every_solver(solver, shared):
    assert difference(network(solver=solver, attention="none", shared_weights=shared, stages=3)) < 1e-5


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("upsampler", ["steps", "direct"])
@pytest.mark.parametrize("skip", [True, False])
def test_every_way_to_enlarge(scale, upsampler, skip):
    choices = {"scale": scale, "upsampler": upsampler, "image_skip": skip}
    assert difference(network(attention="none", solver="euler", **choices), (2, 3, 9, 7)) < 1e-5


@pytest.mark.parametrize("block", ["dense", "residual"])
@pytest.mark.parametrize("attention", ["none", "channel", "spatial", "spatial-channel", "channel-spatial"])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded"])
def test_every_block_and_attention(block, attention, pairwise):
    choices = WINDOWS | {"block": block, "attention": attention, "pairwise": pairwise, "temperature": 2.0}
    assert difference(network(solver="heun", **choices)) < 1e-5


@pytest.mark.parametrize(
    "choices",
    [
        {"pool": 1},
        {"window": None, "pool": 1},  # all positions attend to all
        {"window": None, "pool": 3},
        {"embedding": 3},
        {"learned_temperature": True},
        {"squeeze": "mean-deviation"},
        {"attended": (2,)},
        {"identity_start": True},
    ],
    ids=str,
)
def test_every_form_of_attention(choices):
    built = network(**(WINDOWS | {"solver": "euler", "pairwise": "embedded", "block": "residual"} | choices))
    shape = (1, 3, 24, 48) if choices.get("pool") == 3 else (2, 3, 32, 24)
    assert difference(built, shape) < 1e-5


@pytest.mark.parametrize("squeeze", ["mean", "mean-deviation"])
@pytest.mark.parametrize("shape", [(1, 3, 32, 24), (1, 3, 8, 64), (1, 3, 16, 16), (1, 3, 8, 8)])
def test_the_sliding_means_of_the_local_window(squeeze, shape):
    built = network(**WINDOWS, squeeze=squeeze, solver="euler", pairwise="embedded")
    built.use_window("local")  # means over 12 x 12 positions, of larger and smaller inputs
    assert difference(built, shape) < 1e-5


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_order_that_is_set(order):
    built = network(**WINDOWS, solver="rk4", orders=(1, 2, 4), block="residual")
    built.order = order
    assert difference(built) < 1e-5


def test_what_has_no_graph_says_so():
    whole = network(attention="spatial", window=None, pool=1)
    whole.use_window("local")
    with pytest.raises(Unsupported, match="overlapping windows"):
        graph_of(whole, (1, 3, 32, 24))
    with pytest.raises(Unsupported, match="25x32 px are no whole windows"):
        graph_of(network(**WINDOWS), (1, 3, 32, 25))
