"""CUDA graphs: record the kernels of a training step once and launch them together; small networks are launch-bound.

A graph replays memory addresses, not Python: everything it reads besides its inputs (weights, buffers) and everything
it writes (gradients) must keep its address. Source: "CUDA Graphs" in the PyTorch manual, torch.cuda.graph.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dagan_cli.errors import BadOption

Terms = dict[str, Tensor]
Compute = Callable[[Tensor, Tensor, int | None, bool], Terms]

WARM_UP = 3  # runs before the recording, in which libraries select kernels and allocate memory


def graphed(compute: Compute, parameters: Iterable[nn.Parameter]) -> Graphed:
    """Wrap `compute`. Raises BadOption without CUDA, or with several processes, which synchronise within a step."""
    given = list(parameters)
    if not given[0].is_cuda or dist.is_initialized():
        raise BadOption("cuda_graph = true needs a single process with a CUDA device", hint="use cuda_graph = false")
    return Graphed(compute, given)


class Graphed:
    """Record `compute(lr, hr, order, alone)` for each pair of shapes, order and `alone`, and replay it.

    `compute` must add its gradients to `.grad` of the parameters, which is set to zero before. The tensors that it
    returns are overwritten by the next call.
    """

    def __init__(self, compute: Compute, parameters: list[nn.Parameter]) -> None:
        self._compute = compute
        self._parameters = parameters
        self._recorded: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Terms]] = {}

    def __call__(self, lr: Tensor, hr: Tensor, order: int | None, alone: bool) -> Terms:
        key = (lr.shape, hr.shape, order, alone)
        if key not in self._recorded:
            self._recorded[key] = self._record(lr, hr, order, alone)
        graph, small, large, terms = self._recorded[key]
        small.copy_(lr, non_blocking=True)
        large.copy_(hr, non_blocking=True)
        graph.replay()
        return terms

    def _record(
        self, lr: Tensor, hr: Tensor, order: int | None, alone: bool
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Terms]:
        small, large = lr.clone(), hr.clone()
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._once(small, large, order, alone)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            terms = self._once(small, large, order, alone)
        return graph, small, large, terms

    def _once(self, lr: Tensor, hr: Tensor, order: int | None, alone: bool) -> Terms:
        for parameter in self._parameters:
            assert parameter.grad is not None
            parameter.grad.zero_()
        return self._compute(lr, hr, order, alone)
