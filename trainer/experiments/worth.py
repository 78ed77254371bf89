"""Contribution of the attention in trained weights: PSNR lost if it is replaced by a constant, without retraining."""

from __future__ import annotations

from dataclasses import dataclass

from dagan_cli.model.ablation import observed, with_constant_gates, with_even_attention
from dagan_cli.model.generator import Generator
from trainer.validate import Pairs, validate


@dataclass(frozen=True, slots=True)
class Worth:
    """Loss of PSNR-Y in dB by each replacement."""

    spatial: float  # the softmax is replaced by a plain mean over the window
    channel: float  # each gate is replaced by its mean over all images


def worth(generator: Generator, pairs: Pairs, order: int | None) -> Worth:
    """Measure the contribution of both attentions on (LR, HR) pairs as in `validate`."""
    with observed(generator) as found:
        whole = validate(generator, pairs, order)
    with with_constant_gates(generator, found.constants()):
        ungated = validate(generator, pairs, order)
    with with_even_attention(generator):
        even = validate(generator, pairs, order)
    return Worth(spatial=whole - even, channel=whole - ungated)
