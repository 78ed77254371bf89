"""A network in PyTorch, cast to a device and a precision on first use."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from dagan_cli.engine.options import Network


class PyTorch:
    """Runs a network as it is, on any device of PyTorch and in any of its precisions.

    On a CPU in fp32 it is the network that was passed, not a copy.
    """

    name = "torch"

    def __init__(self, network: Network, device: torch.device) -> None:
        self.layout = torch.contiguous_format if device.type == "mps" else torch.channels_last
        self._original = network
        self._device = device
        self._cast: dict[torch.dtype, Network] = {}

    def input_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type of the tiles to pass, for a network that computes in `dtype`."""
        return dtype

    def network(self, dtype: torch.dtype) -> Network:
        """Return the copy on the device in the given precision, made on first use."""
        if dtype not in self._cast:
            is_in_place = (
                dtype == torch.float32 and self._device.type == "cpu"
            )  # the order in memory is all that changes
            copy = self._original if is_in_place else deepcopy(self._original)
            self._cast[dtype] = copy.to(self._device, dtype, memory_format=self.layout)
        return self._cast[dtype]

    def run(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, scale*h, scale*w), in the type of x and on its device."""
        return self.network(x.dtype)(x)
