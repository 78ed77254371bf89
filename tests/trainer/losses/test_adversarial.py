"""Adversarial losses: values by hand, formulas in float64, slopes by finite differences."""

from __future__ import annotations

from math import exp, log
from typing import get_args

import pytest
import torch
from torch import Tensor

from trainer.losses.adversarial import Kind, accuracy, adversarial

KINDS: tuple[Kind, ...] = get_args(Kind)
REAL = torch.tensor([[2.0], [0.0]])
FAKE = torch.tensor([[-1.0], [0.5]])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def entropy(x: float, target: int) -> float:
    """Binary cross-entropy of one logit, as written in textbooks."""
    return -log(sigmoid(x)) if target else -log(1 - sigmoid(x))


@pytest.mark.parametrize(
    ("kind", "generator", "discriminator"),
    [
        (
            "sigmoid",
            1 - (sigmoid(-1) + sigmoid(0.5)) / 2,
            1 - (sigmoid(2) + sigmoid(0)) / 2 + (sigmoid(-1) + sigmoid(0.5)) / 2,
        ),
        (
            "bce",
            (entropy(-1, 1) + entropy(0.5, 1)) / 2,
            (entropy(2, 1) + entropy(0, 1)) / 2 + (entropy(-1, 0) + entropy(0.5, 0)) / 2,
        ),
        ("hinge", 0.25, (0 + 1) / 2 + (0 + 1.5) / 2),
        ("lsgan", (4 + 0.25) / 4, (1 + 1) / 4 + (1 + 0.25) / 4),
        (  # the means are 1 (real) and -1/4 (fake)
            "ragan",
            (entropy(-1 - 1, 1) + entropy(0.5 - 1, 1) + entropy(2 + 0.25, 0) + entropy(0 + 0.25, 0)) / 4,
            (entropy(2 + 0.25, 1) + entropy(0 + 0.25, 1) + entropy(-1 - 1, 0) + entropy(0.5 - 1, 0)) / 4,
        ),
    ],
)
def test_the_losses_are_those_worked_out_by_hand(kind, generator, discriminator):
    loss = adversarial(kind)
    assert loss.generator(REAL, FAKE).item() == pytest.approx(generator, rel=1e-6)
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-6)


def bce(logits: Tensor, target: float) -> Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def test_ragan_is_its_formula_on_maps_of_logits():
    real, fake = torch.randn(2, 3, 1, 4, 5, dtype=torch.float64)
    loss = adversarial("ragan")
    torch.testing.assert_close(
        loss.discriminator(real, fake), 0.5 * (bce(real - fake.mean(), 1) + bce(fake - real.mean(), 0))
    )
    torch.testing.assert_close(
        loss.generator(real, fake), 0.5 * (bce(real - fake.mean(), 0) + bce(fake - real.mean(), 1))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_slopes_are_those_of_finite_differences(kind):
    real, fake = (x.double().requires_grad_() for x in (REAL + 0.3, FAKE + 0.1))  # off the kinks of the hinge
    loss = adversarial(kind)
    assert torch.autograd.gradcheck(loss.discriminator, (real, fake))
    assert torch.autograd.gradcheck(lambda x: loss.generator(real.detach(), x), (fake,))


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_never_learns_through_the_real_logits(kind):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    adversarial(kind).generator(real, fake).backward()
    assert real.grad is None
    assert fake.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_descent_moves_logits_where_each_player_wants_them(kind):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    adversarial(kind).discriminator(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad >= 0).all()
    assert kind == "lsgan" or (fake.grad > 0).all()  # zero already is what least squares want of a fake
    fake = torch.zeros(4, requires_grad=True)
    adversarial(kind).generator(real.detach(), fake).backward()
    assert fake.grad is not None
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_logits_give_full_precision_losses(kind):
    real, fake = torch.randn(2, 1000).to(torch.bfloat16)
    loss = adversarial(kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.stack([loss.generator(real, fake), loss.discriminator(real, fake)])
    expected = torch.stack(
        [loss.generator(real.double(), fake.double()), loss.discriminator(real.double(), fake.double())]
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_any_size_keep_losses_finite(kind):
    real, fake = (torch.tensor([x, -x], requires_grad=True) for x in (200.0, 150.0))
    loss = adversarial(kind)
    (loss.generator(real, fake) + loss.discriminator(real, fake)).backward()
    for logits in (real, fake):
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_accuracy_is_the_share_of_logits_on_their_side_of_the_border():
    real, fake = torch.tensor([0.3, 0.7, 2.0, -1.0]), torch.tensor([-1.0, 0.3])
    assert accuracy(real, fake).item() == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert accuracy(real, fake, "lsgan").item() == pytest.approx((2 / 4 + 2 / 2) / 2)
    # above the mean of the fake, -0.35: three of the real; below the mean of the real, 0.5: both of the fake
    assert accuracy(real, fake, "ragan").item() == pytest.approx((3 / 4 + 2 / 2) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_discriminator_that_says_always_the_same_is_right_half_the_time(kind):
    for value in (-2.0, 0.0, 2.0):
        assert accuracy(torch.full((4,), value), torch.full((4,), value), kind).item() == 0.5


def test_ragans_accuracy_does_not_care_where_zero_is():
    real, fake = torch.randn(8), torch.randn(8) - 2
    assert accuracy(real + 50, fake + 50, "ragan") == accuracy(real, fake, "ragan") > 0.7
