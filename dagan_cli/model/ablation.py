"""Replace parts of a trained generator by constants, or leave them out, without training it again.

What the scores lose shows how much of a result depends on the part: a softmax that could be a plain mean, or a gate
that could be a number, does not look at its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from math import log
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dagan_cli.model.attention import ChannelAttention, SpatialAttention, attend, attending_by
from dagan_cli.model.generator import Generator
from dagan_cli.model.rk import RungeKutta, classical

Part = Literal["spatial", "channel", "constants"]
PARTS: tuple[Part, ...] = ("spatial", "channel", "constants")

_ROWS = 1024  # of an attention matrix whose entropy is computed at a time, at most


@dataclass(slots=True)
class _Moments:
    """Count, mean and summed squared deviations of the gates of a layer, float64 (C,), of any number of images."""

    count: int
    mean: Tensor
    squares: Tensor

    def add(self, other: _Moments) -> None:
        """Merge in those of other positions (Chan, Golub and LeVeque, 1979)."""
        total, apart = self.count + other.count, other.mean - self.mean
        self.squares += other.squares + apart**2 * self.count * other.count / total
        self.mean = self.mean + apart * other.count / total
        self.count = total


@dataclass(slots=True)
class Observed:
    """Weights and gates of the attention of a network, on the images that it saw."""

    gates: dict[nn.Module, _Moments] = field(default_factory=dict)  # by layer; gates are between 0 and 1
    entropies: list[float] = field(default_factory=list)  # of softmax rows, relative to equal weights: 1 = all equal

    @property
    def entropy(self) -> float | None:
        """Mean entropy of the spatial attention, 0 to 1; None without one."""
        return sum(self.entropies) / len(self.entropies) if self.entropies else None

    @property
    def gate_spread(self) -> float | None:
        """Mean standard deviation of a channel's gate over all images and positions; None without gates."""
        spreads = [(seen.squares / seen.count).sqrt().mean().item() for seen in self.gates.values()]
        return sum(spreads) / len(spreads) if spreads else None

    def constants(self) -> dict[nn.Module, Tensor]:
        """Return the mean gate of each layer and channel."""
        return {layer: seen.mean for layer, seen in self.gates.items()}


def changes(
    network: Generator, parts: tuple[Part, ...], found: Observed
) -> Iterator[tuple[str, AbstractContextManager[None]]]:
    """Yield each change of the parts that the network has at its order: what is done, and the context that does it.

    found: of the unchanged network, on the images that the changes are measured on.
    """
    kinds = {type(layer) for layer in network.modules()}
    if "spatial" in parts and SpatialAttention in kinds:
        yield "softmax replaced by the mean of its window", with_even_attention(network)
        yield "spatial attention left out", without(network, SpatialAttention)
    if "channel" in parts and ChannelAttention in kinds:
        yield "gates replaced by their means", with_constant_gates(network, found.constants())
        yield "channel attention left out", without(network, ChannelAttention)
    constants = f".constants.{network.solver}"
    if "constants" in parts and any(name.endswith(constants) for name, _ in network.named_parameters()):
        yield f"textbook constants of {network.solver}", with_textbook_constants(network)


@contextmanager
def observed(network: nn.Module) -> Iterator[Observed]:
    """Note what the attention does while the network runs."""
    found = Observed()

    def watched(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        some = q[:, :: max(1, q.shape[1] // _ROWS)].float()
        logits = (some @ k.float().transpose(1, 2)) * scale
        entropy = -(logits.log_softmax(-1) * logits.softmax(-1)).sum(-1).mean()
        relative = entropy.item() / log(max(2, k.shape[1]))
        found.entropies.append(min(max(relative, 0.0), 1.0))  # rounding may leave the range
        return attend(q, k, v, scale)

    def note(layer: nn.Module, logits: Tensor) -> None:
        gates = logits.sigmoid().flatten(0, 2).cpu().double()  # not every device has float64
        mean = gates.mean(0)
        new = _Moments(len(gates), mean, (gates - mean).square().sum(0))
        if (seen := found.gates.get(layer)) is None:
            found.gates[layer] = new
        else:
            seen.add(new)

    with attending_by(network, watched), _gates_through(network, note):
        yield found


@contextmanager
def with_even_attention(network: nn.Module) -> Iterator[None]:
    """Give all positions that the spatial attention compares the same weight: the plain mean of the window."""

    def even(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return v.mean(1, keepdim=True).expand(-1, q.shape[1], -1)

    with attending_by(network, even):
        yield


@contextmanager
def with_constant_gates(network: nn.Module, constants: dict[nn.Module, Tensor]) -> Iterator[None]:
    """Give each channel attention constant gates, (C,) in 0 to 1, such as their means over many images."""
    logits = {layer: gates.double().clamp(1e-12, 1 - 1e-12).logit() for layer, gates in constants.items()}

    def constant(layer: nn.Module, computed: Tensor) -> Tensor:
        return logits[layer].to(computed).expand_as(computed).clone()

    with _gates_through(network, constant):
        yield


@contextmanager
def without(network: nn.Module, kind: type[SpatialAttention] | type[ChannelAttention]) -> Iterator[None]:
    """Leave out the layers of one kind: they return their input."""
    with ExitStack() as stack:
        for layer in network.modules():
            if isinstance(layer, kind):
                own: Any = layer
                own.forward = lambda x: x
                stack.callback(own.__dict__.pop, "forward")
        yield


@contextmanager
def with_textbook_constants(network: nn.Module) -> Iterator[None]:
    """Use the classical constants of the Runge-Kutta rules in place of the trained ones."""
    with ExitStack() as stack, torch.no_grad():
        for block in network.modules():
            if isinstance(block, RungeKutta):
                for solver, values in block.constants.items():
                    stack.callback(values.data.copy_, values.detach().clone())
                    values.data.copy_(torch.tensor(classical(solver, block.stages)))
        yield


@contextmanager
def _gates_through(network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor | None]) -> Iterator[None]:
    """Pass the logits of every gate, (N, h, w, C), to `call(layer, logits)`; a returned tensor replaces them."""

    def hook(layer: ChannelAttention) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        return lambda _, __, logits: call(layer, logits)

    with ExitStack() as stack:
        for layer in network.modules():
            if isinstance(layer, ChannelAttention):
                stack.callback(layer.excite.register_forward_hook(hook(layer)).remove)
        yield
