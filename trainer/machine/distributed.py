"""Data-parallel training in several processes (`torchrun`): shares of a batch, gradients, shared decisions."""

from __future__ import annotations

import importlib
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def started() -> int:
    """Return the number of processes that `torchrun` started, this one among them; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join() -> tuple[int, int]:
    """Join the processes that `torchrun` started; returns (rank, number of processes)."""
    count = started()
    if count > 1 and not dist.is_initialized():
        # An optimiser loads it. Loaded after the group is made, it keeps the group's threads alive past `leave`, and a
        # thread that still runs as Python ends aborts the process (one of 160 runs on a busy machine, PyTorch 2.13).
        importlib.import_module("torch._dynamo")
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), count) if count > 1 else (0, 1)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """Return (rank, number of processes)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def share_of(batch: Tensor, rank: int, count: int) -> Tensor:
    """Return the part of a batch (N, ...) that process `rank` of `count` computes; all parts have the same size."""
    return batch.chunk(count)[rank] if count > 1 else batch


def agree(values: tuple[float, ...]) -> tuple[float, ...]:
    """Broadcast the values of the first process to all processes."""
    if not dist.is_initialized():
        return values
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return tuple(shared.tolist())


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace the gradients with their mean over all processes: the gradients of the whole batch."""
    if not dist.is_initialized():
        return
    for parameter in parameters:  # a gradient may be missing in some of the processes
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone(memory_format=torch.preserve_format)


def average_terms(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the means of scalar terms over all processes: those of the whole batch."""
    if not dist.is_initialized() or not terms:
        return terms
    names = sorted(terms)
    means = torch.stack([terms[name].detach().float() for name in names])
    dist.all_reduce(means)
    return dict(zip(names, means / dist.get_world_size(), strict=True))
