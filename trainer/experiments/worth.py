"""Contribution of the attention in trained weights: PSNR lost if it is replaced by a constant, without retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dagan_cli.model.attention import ChannelAttention, attending_by
from dagan_cli.model.generator import Generator
from trainer.validate import Pairs, validate


@dataclass(frozen=True, slots=True)
class Worth:
    """Loss of PSNR-Y in dB by each replacement."""

    spatial: float  # the softmax is replaced by a plain mean over the window
    channel: float  # each gate is replaced by its mean over all images


def worth(generator: Generator, pairs: Pairs, order: int | None) -> Worth:
    """Measure the contribution of both attentions on (LR, HR) pairs as in `validate`."""
    gates: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, logits: Tensor) -> None:
        gates.setdefault(module, []).append(logits.sigmoid().flatten(0, 2))

    with _hooked(generator, note):
        whole = validate(generator, pairs, order)
    constant = {module: torch.cat(seen).mean(0).logit() for module, seen in gates.items()}
    with _hooked(generator, lambda module, logits: constant[module].expand_as(logits).clone()):
        ungated = validate(generator, pairs, order)
    with attending_by(generator, _even):
        even = validate(generator, pairs, order)
    return Worth(spatial=whole - even, channel=whole - ungated)


@contextmanager
def _hooked(generator: Generator, call: Callable[[nn.Module, Tensor], Tensor | None]) -> Iterator[None]:
    """Pass the logits of every gate, (N, 1, 1, C), to `call(module, logits)`; a returned tensor replaces them."""

    def hook(module: nn.Module, _: object, logits: Tensor) -> Tensor | None:
        return call(module, logits)

    with ExitStack() as stack:
        for module in generator.modules():
            if isinstance(module, ChannelAttention):
                stack.callback(module.excite.register_forward_hook(hook).remove)
        yield


def _even(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention with equal weights for all positions."""
    return v.mean(1, keepdim=True).expand(-1, q.shape[1], -1)
