"""Muon: every direction of a kernel moves equally far; all that is no kernel is Adam's, and both go on to the bit."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import pytest
import torch
from torch import nn

from dagan_cli.model.generator import Generator
from tests.conftest import TINY
from trainer.optimisers.build import optimiser
from trainer.optimisers.muon import RMS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 40, 8), (1, 16, 16)])
def test_singular_values_are_brought_together_and_their_vectors_kept(shape):
    u, values, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    matrices = (u * torch.rand_like(values).add(0.2)[:, None]) @ v  # none is near 0, which five steps cannot bring to 1
    made = orthogonal(matrices.float()).double()  # the oracle: U V of the decomposition
    inner = u.mT @ made @ v.mT
    values = inner.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6
    assert values.max() < 1.25
    assert (inner - torch.diag_embed(values)).abs().max() < 1e-3


def test_a_first_step_moves_a_kernel_by_its_share_of_the_rate_whatever_the_gradient():
    for size in (1e-6, 1e3):
        kernel = nn.Parameter(torch.zeros(16, 16, 3, 3))
        kernel.grad = size * torch.randn(16, 16, 3, 3)
        Muon([kernel], [], lr=1e-2, beta2=0.99).step()
        assert kernel.square().mean().sqrt().item() == pytest.approx(RMS * 1e-2, rel=0.2)
        assert (kernel * kernel.grad).sum() < 0


def test_all_but_kernels_between_features_are_adams():
    torch.manual_seed(0)
    ours, theirs = Generator(TINY), Generator(TINY)
    theirs.load_state_dict(ours.state_dict())
    muon = optimiser(ours, "muon", 1e-3, 0.99)
    adam = optimiser(theirs, "adam", 1e-3, 0.99)
    x = torch.rand(1, 3, 16, 16)
    for _ in range(3):
        for network, stepped in ((ours, muon), (theirs, adam)):
            stepped.zero_grad()
            network(x, 4).square().mean().backward()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = None if other.grad is None else other.grad.clone()  # so that both see the same
        muon.step()
        adam.step()
    kernels, same = set(), set()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        (same if torch.allclose(mine, other, rtol=1e-5, atol=1e-7) else kernels).add(name)
    assert {name for name, p in ours.named_parameters() if p.ndim == 4 and p.shape[-1] == 3} - kernels == {
        "sfe1.weight",
        "upsampler.0.weight",
    }
    assert all(name.endswith("weight") and dict(ours.named_parameters())[name].shape[-1] == 3 for name in kernels)
    assert same


@pytest.mark.slow
def test_a_compiled_network_has_the_same_kernels():
    network = Generator(TINY)
    groups = [
        optimiser(of, "muon", 1e-3, 0.99).param_groups for of in (network, cast(Generator, torch.compile(network)))
    ]
    assert [len(group["params"]) for group in groups[0]] == [len(group["params"]) for group in groups[1]]
    assert all(a is b for a, b in zip(groups[0][0]["params"], groups[1][0]["params"], strict=True))


def test_its_state_goes_on_to_the_bit():
    torch.manual_seed(0)
    network = Generator(TINY)
    x = torch.rand(1, 3, 16, 16)

    def steps(of: Generator, by: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            by.zero_grad()
            of(x, 1).square().mean().backward()
            by.step()

    first = optimiser(network, "muon", 1e-3, 0.99)
    steps(network, first, 2)
    again = deepcopy(network)
    second = optimiser(again, "muon", 1e-3, 0.99)
    second.load_state_dict(deepcopy(first.state_dict()))
    steps(network, first, 2)
    steps(again, second, 2)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
