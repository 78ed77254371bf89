"""Measure a network: bytes and arithmetic per pixel, from two small tiles.

Importing this module takes three seconds, as PyTorch then loads sympy. So it is imported only where it measures.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from dagan_cli.engine.memory import attempt
from dagan_cli.engine.tiles import SMALLEST, round_up
from dagan_cli.model.footprint import Footprint


def measure(
    network: Callable[[Tensor], Tensor] | None, device: torch.device, dtype: torch.dtype, grid: int
) -> Footprint:
    """Measure `network` on two small tiles; infinite bytes if even these, or the network itself, do not fit."""
    side = round_up(SMALLEST, grid)
    seen = []
    for tile in (side, 2 * side):
        meter = network and attempt(lambda tile=tile: metered(network, _sample(tile, device, dtype)))
        if meter is None:
            return Footprint(float("inf"))
        seen.append((tile * tile, meter.peak, meter.flops))
    (small, _, few), (large, peak, many) = seen
    pair = max(0.0, (many / large - few / small) / (large - small))
    return Footprint(peak / large, max(1.0, few / small - small * pair), pair)


class Meter(TorchDispatchMode):
    """Count the peak bytes of live tensors (`peak`) and the floating-point operations (`flops`) in its context."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.flops = 0
        self._live = 0
        self._seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif "scaled_dot_product" in str(packet) and "backward" not in str(packet):  # the CPU kernel is not registered
            self.flops += sdpa_flop_count(*(x.shape for x in args[:3]))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._add(x.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._live += size
        self.peak = max(self.peak, self._live)
        self._seen[key] = weakref.ref(storage, lambda _: self._drop(key, size))

    def _drop(self, key: int, size: int) -> None:
        self._live -= size
        del self._seen[key]


def metered(network: Callable[[Tensor], Tensor], x: Tensor) -> Meter:
    """Run `network` on (N, 3, h, w) in a meter."""
    # Not inference_mode: there convolutions reach the meter before they are decomposed.
    with torch.no_grad(), Meter() as meter:
        network(x)
    return meter


def _sample(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))  # not the global one
    return image.to(device, dtype, memory_format=torch.channels_last)
