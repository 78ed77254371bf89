"""Muon (Jordan et al., 2024) for convolution kernels, with Adam for all other parameters, as one optimiser.

Muon replaces the momentum of a matrix with the nearest orthogonal matrix, so that a step moves all directions of a
kernel by the same amount. The scale follows Liu et al., "Muon is Scalable for LLM Training" (2025): the root mean
square of an update is 0.2 of the learning rate, about that of Adam, so that both can use one rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any, overload

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
RMS = 0.2  # root mean square of an update, as a share of the learning rate
_STEPS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the Newton-Schulz iteration in the reference implementation


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for `kernels` (out, in, h, w), Adam without weight decay for `others`.

    `param_groups` contains both, so that they share the learning rate and the state dict.
    """

    def __init__(
        self, kernels: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float, beta2: float
    ) -> None:
        groups = [{"params": list(kernels), "muon": True}, {"params": list(others), "muon": False}]
        super().__init__(groups, {"lr": lr, "betas": (0.9, beta2), "eps": 1e-8})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient."""
        assert closure is None, "a closure is not supported"
        for group in self.param_groups:
            having = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                self._muon(having, group["lr"])
            else:
                self._adam(having, group)

    def _muon(self, parameters: list[Tensor], lr: float) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        for shape, group in by_shape.items():
            moments = [self._moment(parameter, "momentum") for parameter in group]
            grads = [p.grad for p in group if p.grad is not None]
            torch._foreach_lerp_(moments, grads, 1 - MOMENTUM)  # type: ignore[attr-defined]
            lookahead = torch._foreach_lerp(grads, moments, MOMENTUM)  # type: ignore[attr-defined]
            updates = orthogonal(torch.stack([update.flatten(1) for update in lookahead]))  # (K, out, in*h*w)
            scale = -lr * RMS * sqrt(max(updates.shape[1:]))
            for parameter, update in zip(group, updates, strict=True):
                parameter.add_(update.view(shape), alpha=scale)

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        if not parameters:
            return
        first, second, rate, eps = *group["betas"], group["lr"], group["eps"]
        means = [self._moment(p, "exp_avg") for p in parameters]
        squares = [self._moment(p, "exp_avg_sq") for p in parameters]
        grads = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_lerp_(means, grads, 1 - first)  # type: ignore[attr-defined]
        torch._foreach_mul_(squares, second)  # type: ignore[attr-defined]
        torch._foreach_addcmul_(squares, grads, grads, 1 - second)  # type: ignore[attr-defined]
        for parameter, mean, square in zip(parameters, means, squares, strict=True):
            steps = self.state[parameter]["step"] = self.state[parameter].get("step", 0) + 1
            deviation = square.sqrt().div_(sqrt(1 - second**steps)).add_(eps)
            parameter.addcdiv_(mean, deviation, value=-rate / (1 - first**steps))

    def _moment(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        return state[name]


def orthogonal(matrices: Tensor) -> Tensor:
    """Orthogonalise (K, M, N) by Newton-Schulz, fp32: singular values become about 1, between 0.7 and 1.2."""
    x = matrices.float()
    turned = x.shape[1] > x.shape[2]
    if turned:
        x = x.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    a, b, c = _QUINTIC
    for _ in range(_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if turned else x
