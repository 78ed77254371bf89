"""The worth of an attention is the PSNR that is lost when it no longer looks at its input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dagan_cli.model.generator import Generator
from tests.conftest import TINY
from trainer.experiments.worth import worth
from trainer.validate import Pairs


def pairs_of(generator: Generator) -> Pairs:
    """Images, two unlike each other, that the generator restores but for noise of one level."""
    random = torch.Generator().manual_seed(0)
    lr = [level * torch.rand(1, 3, 16, 16, generator=random).double() for level in (255, 60)]
    return [(x, (generator(x / 255, 1) * 255).clamp(0, 255) + torch.randn(1, 3, 32, 32, generator=random)) for x in lr]


def attentive() -> Generator:
    """A generator with attention that counts, and looks at its input; its waist is wide, so that no gate is closed.

    It computes in float64: in fp32, the order of a sum, which is the processor's, decides how some pixels are rounded.
    """
    torch.manual_seed(0)
    generator = Generator(replace(TINY, reduction=1)).eval().requires_grad_(False).double()
    for name, parameter in generator.named_parameters():
        if any(f".{layer}." in name for layer in ("theta", "phi", "g", "w", "excite", "squeeze")):
            parameter.mul_(8)
    return generator


def test_attention_that_looks_at_its_input_is_worth_something():
    generator = attentive()
    found = worth(generator, pairs_of(generator), 1)
    assert found.spatial > 0.1
    assert found.channel > 0.1


def test_attention_that_treats_all_alike_is_worth_nothing():
    generator = attentive()
    for name, parameter in generator.named_parameters():
        if ".theta." in name or ".squeeze." in name:
            parameter.zero_()
    found = worth(generator, pairs_of(generator), 1)
    assert found.spatial == pytest.approx(0, abs=1e-4)
    assert found.channel == pytest.approx(0, abs=1e-4)


def test_nothing_stays_replaced():
    generator = attentive()
    x: Tensor = torch.rand(1, 3, 16, 16).double()
    before = generator(x)
    worth(generator, pairs_of(generator), 1)
    assert torch.equal(generator(x), before)
