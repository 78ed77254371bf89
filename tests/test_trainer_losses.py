"""Losses by hand, and the running average of the weights by its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.ema import Average
from trainer.losses import PIXEL, charbonnier, l1

REAL = torch.zeros(1, 1, 1, 4)
FAKE = torch.tensor([0.0, 0.5, -0.25, 1.0]).view(1, 1, 1, 4)


def test_l1_is_the_mean_absolute_difference():
    assert l1(FAKE, REAL).item() == pytest.approx((0.5 + 0.25 + 1) / 4)


def test_charbonnier_is_the_mean_root_of_squares_and_a_small_constant():
    assert charbonnier(FAKE, REAL, epsilon=0.1).item() == pytest.approx((0.1 + 0.26**0.5 + 0.0725**0.5 + 1.01**0.5) / 4)
    assert charbonnier(REAL, REAL).item() == pytest.approx(1e-3)


def test_charbonnier_has_a_round_bottom_where_l1_has_none():
    for loss, slope in ((l1, 1.0), (charbonnier, 0.01)):
        fake = torch.full((1,), 1e-5, requires_grad=True)
        loss(fake, torch.zeros(1)).backward()
        assert fake.grad is not None
        assert fake.grad.item() == pytest.approx(slope, rel=1e-3)


def test_both_losses_can_be_chosen_by_name():
    assert PIXEL["l1"] is l1
    assert PIXEL["charbonnier"] is charbonnier


def constant(value: float) -> Generator:
    """A tiny network whose weights all have one value."""
    network = Generator(GeneratorConfig(blocks=1, channels=4, reduction=2, block="residual", upsampler="direct"))
    set_to(network, value)
    return network


def set_to(network: Generator, value: float) -> None:
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, value)


def values(network: Generator) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def test_the_average_follows_its_formula_for_every_parameter():
    decay, network = 0.5, constant(1.0)
    average, expected = Average(network, decay), 1.0
    for step, value in enumerate((2.0, -3.0, 7.0, 0.5, 4.0, 1.0, 9.0, 2.0, 2.5), start=1):
        set_to(network, value)
        average.update(network, step)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
        torch.testing.assert_close(values(average.network), torch.full_like(values(network), expected))


def test_the_average_is_apart_from_the_network_and_never_trained():
    network = constant(1.0)
    average = Average(network, 0.9)
    set_to(network, 5.0)
    assert (values(average.network) == 1).all()
    assert not any(p.requires_grad for p in average.network.parameters())
    assert not average.network.training
    assert all(p.requires_grad for p in network.parameters())
