"""Adversarial losses of logits of any shape, computed in fp32 also under autocast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from trainer.losses.terms import full

Kind = Literal["sigmoid", "bce", "hinge", "lsgan", "ragan"]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Adversarial:
    """Losses of both networks: (logits of real images, logits of fake ones) -> scalar. Only ragan's G uses the real."""

    generator: Loss
    discriminator: Loss


def adversarial(kind: Kind) -> Adversarial:
    """Return the losses of one kind.

    sigmoid: on probabilities, as in the paper's baseline; it saturates.
    bce: binary cross-entropy, the generator's in the non-saturating form (Goodfellow et al., 2014).
    hinge: Lim and Ye, 2017. lsgan: least squares to 1 and 0, halved (Mao et al., ICCV 2017).
    ragan: relativistic average (Jolicoeur-Martineau, 2018), halved as in ESRGAN.
    """
    return KINDS[kind]


def accuracy(real: Tensor, fake: Tensor, kind: Kind = "bce") -> Tensor:
    """Return the share of correctly classified logits, 0 to 1, real and fake weighted equally; 0.5 is chance.

    The threshold is 0; for lsgan halfway between its targets, for ragan the mean logit of the other class.
    """
    real, fake = full(real), full(fake)
    below = fake.mean() if kind == "ragan" else 0.5 if kind == "lsgan" else 0.0
    above = real.mean() if kind == "ragan" else below
    return ((real >= below).float().mean() + (fake < above).float().mean()) / 2


def _sigmoid_g(real: Tensor, fake: Tensor) -> Tensor:
    return (1 - full(fake).sigmoid()).mean()


def _sigmoid_d(real: Tensor, fake: Tensor) -> Tensor:
    return 1 - full(real).sigmoid().mean() + full(fake).sigmoid().mean()


def _bce_g(real: Tensor, fake: Tensor) -> Tensor:
    return _to_real(full(fake))


def _bce_d(real: Tensor, fake: Tensor) -> Tensor:
    return _to_real(full(real)) + _to_fake(full(fake))


def _hinge_g(real: Tensor, fake: Tensor) -> Tensor:
    return -full(fake).mean()


def _hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - full(real)).mean() + F.relu(1 + full(fake)).mean()


def _lsgan_g(real: Tensor, fake: Tensor) -> Tensor:
    return (full(fake) - 1).square().mean() / 2


def _lsgan_d(real: Tensor, fake: Tensor) -> Tensor:
    return ((full(real) - 1).square().mean() + full(fake).square().mean()) / 2


def _ragan_g(real: Tensor, fake: Tensor) -> Tensor:
    return _ragan_d(fake, real.detach())


def _ragan_d(real: Tensor, fake: Tensor) -> Tensor:
    real, fake = full(real), full(fake)
    return (_to_real(real - fake.mean()) + _to_fake(fake - real.mean())) / 2


def _to_real(logits: Tensor) -> Tensor:
    """Binary cross-entropy of logits with target 1: -log sigmoid(x) = softplus(-x)."""
    return F.softplus(-logits).mean()


def _to_fake(logits: Tensor) -> Tensor:
    return F.softplus(logits).mean()


KINDS: dict[Kind, Adversarial] = {
    "sigmoid": Adversarial(_sigmoid_g, _sigmoid_d),
    "bce": Adversarial(_bce_g, _bce_d),
    "hinge": Adversarial(_hinge_g, _hinge_d),
    "lsgan": Adversarial(_lsgan_g, _lsgan_d),
    "ragan": Adversarial(_ragan_g, _ragan_d),
}
