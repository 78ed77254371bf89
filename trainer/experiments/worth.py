"""What the attention of trained weights is worth: PSNR lost when it is replaced by something that ignores its input."""

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
    """Decibels of PSNR-Y that are lost with the replacement; nothing is trained again."""

    spatial: float  # every position of a window counts alike: the softmax is a plain mean
    channel: float  # each gate is its mean over all images


def worth(generator: Generator, pairs: Pairs, order: int | None) -> Worth:
    """Measure both attentions of a generator over (LR, HR) pairs, as `validate` takes them."""
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
def _hooked(generator: Generator, see: Callable[[nn.Module, Tensor], Tensor | None]) -> Iterator[None]:
    """Show the logits of every gate, (N, 1, 1, C), to `see(module, logits)`; a tensor that it returns replaces them."""

    def hook(module: nn.Module, _: object, logits: Tensor) -> Tensor | None:
        return see(module, logits)

    with ExitStack() as stack:
        for module in generator.modules():
            if isinstance(module, ChannelAttention):
                stack.callback(module.excite.register_forward_hook(hook).remove)
        yield


def _even(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention in which every position counts alike."""
    return v.mean(1, keepdim=True).expand(-1, q.shape[1], -1)
