"""Parts of a network are replaced exactly, and come back as they were."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from dagan_cli.model.ablation import (
    observed,
    with_constant_gates,
    with_even_attention,
    with_textbook_constants,
    without,
)
from dagan_cli.model.attention import ChannelAttention, SpatialAttention
from dagan_cli.model.generator import Generator
from dagan_cli.model.rk import CLASSICAL
from tests.conftest import TINY


@pytest.fixture
def network() -> Generator:
    """A network whose attention does something."""
    made = Generator(replace(TINY, identity_start=False)).eval().requires_grad_(False)
    for layer in made.modules():
        if isinstance(layer, SpatialAttention):
            layer.theta.weight.mul_(300)
            layer.w.weight.mul_(20)
        if isinstance(layer, ChannelAttention):
            layer.squeeze.weight[1] = -layer.squeeze.weight[0]  # so that one of the two units passes its ReLU
            layer.excite.weight.mul_(30)
    made.order = 4
    return made.double()  # so that rounding is far below what is compared


def attentions(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, kind)]


def assert_changed(network: Generator, x: Tensor, found: Tensor, expected: Tensor, before: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert (found - before).abs().max() > 1e-4
    assert torch.equal(network(x), before), "the network is as it was"


def test_even_attention_is_that_of_queries_that_ask_for_nothing(network):
    x = torch.rand(2, 3, 32, 32).double()
    before, blind = network(x), deepcopy(network)
    for layer in attentions(blind, SpatialAttention):
        assert isinstance(layer, SpatialAttention)
        layer.theta.weight.zero_()
        assert layer.theta.bias is not None
        layer.theta.bias.zero_()
    with with_even_attention(network):
        found = network(x)
    assert_changed(network, x, found, blind(x), before)
    with observed(blind) as seen:
        blind(x)
    assert seen.entropy == pytest.approx(1.0)
    with observed(network) as seen:
        network(x)
    assert seen.entropy is not None
    assert 0 < seen.entropy < 0.999


def test_means_and_spread_of_the_gates_are_those_over_all_images_and_positions(network):
    images = [torch.rand(1, 3, *size).double() for size in ((32, 32), (48, 20), (24, 64))]
    kept: dict[object, list[torch.Tensor]] = {}
    layers = [layer for layer in network.modules() if isinstance(layer, ChannelAttention)]

    def keep(layer: ChannelAttention, _module: nn.Module, _given: object, logits: torch.Tensor) -> None:
        kept.setdefault(layer, []).append(logits.sigmoid().flatten(0, 2))

    for layer in layers:
        layer.excite.register_forward_hook(partial(keep, layer))
    with observed(network) as seen:
        for image in images:
            network(image)
    gates = {layer: torch.cat(kept[layer]) for layer in layers}
    for layer in layers:
        torch.testing.assert_close(seen.constants()[layer], gates[layer].mean(0))
    spread = sum(each.std(0, correction=0).mean().item() for each in gates.values()) / len(gates)
    assert seen.gate_spread == pytest.approx(spread, rel=1e-9)


def test_constant_gates_are_the_means_of_what_was_observed(network):
    x = torch.rand(3, 3, 32, 32).double()
    with observed(network) as seen:
        before = network(x)
    constants, by_hand = seen.constants(), deepcopy(network)
    assert seen.gate_spread is not None
    assert seen.gate_spread > 0
    for layer, copy in zip(attentions(network, ChannelAttention), attentions(by_hand, ChannelAttention), strict=True):
        assert isinstance(copy, ChannelAttention)
        scale = copy.gain * constants[layer].view(1, -1, 1, 1)
        assert constants[layer].shape == (TINY.channels,)
        copy.forward = lambda features, scale=scale: features * scale  # type: ignore[method-assign]
    with with_constant_gates(network, constants):
        found = network(x)
    assert_changed(network, x, found, by_hand(x), before)


@pytest.mark.parametrize(("kind", "left"), [(SpatialAttention, "channel"), (ChannelAttention, "spatial")])
def test_a_network_without_layers_of_a_kind_is_one_that_was_built_so(network, kind, left):
    x = torch.rand(1, 3, 32, 32).double()
    before = network(x)
    smaller = Generator(replace(network.config, attention=left)).eval().double()
    inside = {id(p) for layer in attentions(network, kind) for p in layer.parameters()}
    kept = [p for p in network.parameters() if id(p) not in inside]
    with torch.no_grad():
        for mine, theirs in zip(smaller.parameters(), kept, strict=True):
            mine.copy_(theirs)
    smaller.order = 4
    with without(network, kind):
        found = network(x)
    assert_changed(network, x, found, smaller(x), before)


def test_the_textbook_s_constants_are_used_for_a_while(network):
    x = torch.rand(1, 3, 32, 32).double()
    textbook = network(x)
    for block in network.blocks:
        block.constants["rk4"] += 0.1
    before = network(x)
    with with_textbook_constants(network):
        found = network(x)
        assert tuple(network.blocks[0].constants["rk4"].tolist()) == pytest.approx(CLASSICAL["rk4"])
    assert_changed(network, x, found, textbook, before)
