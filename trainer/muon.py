"""Muon (Jordan et al., 2024) for convolution kernels, with Adam for all other parameters, as one optimiser.

Muon replaces the momentum of a matrix with the nearest orthogonal matrix, so that a step moves all directions of a
kernel by the same amount. The scale follows Liu et al., "Muon is Scalable for LLM Training" (2025): the root mean
square of an update is 0.2 of the learning rate, about that of Adam, so that both can use one rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, sqrt
from typing import Any, overload

import torch
from torch import Tensor, nn

from dagan_cli.model.generator import Generator
from trainer.baselines import Baseline

MOMENTUM = 0.95
RMS = 0.2  # root mean square of an update, as a share of the learning rate
_MOST = 10**12  # steps of a run
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


def optimiser(network: Baseline, kind: str, lr: float, beta2: float) -> torch.optim.Optimizer:
    """Return Adam, or Muon for the kernels between features with Adam for the rest, first and last layer included."""
    network = getattr(network, "_orig_mod", network)  # unwrap torch.compile
    parameters = list(network.parameters())
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=(0.9, beta2), fused=parameters[0].is_cuda)
    named = dict(network.named_parameters())
    kernels = {name for name, p in named.items() if p.ndim == 4 and p.shape[-1] > 1 and not _is_at_an_end(network, p)}
    return Muon([named[n] for n in named if n in kernels], [named[n] for n in named if n not in kernels], lr, beta2)


def restore(optimiser: torch.optim.Optimizer, saved: Any) -> None:
    """Continue from a saved state dict: its moments and rates. Raises ValueError unless it is of such an optimiser.

    Torch itself takes almost any values, and then fails in a later step, or trains wrongly.
    """
    groups = optimiser.state_dict()["param_groups"]
    if not isinstance(saved, dict) or saved.keys() != {"state", "param_groups"}:
        raise ValueError("it holds no state of an optimiser")
    given, moments = saved["param_groups"], saved["state"]
    if not isinstance(given, list) or not all(isinstance(group, dict) for group in given):
        raise ValueError("its optimiser has no groups of parameters")
    if [group.get("params") for group in given] != [group["params"] for group in groups]:
        raise ValueError("its optimiser has other parameters")
    for own, group in zip(groups, given, strict=True):
        own |= {name: group[name] for name in ("lr", "betas", "eps") if name in group}
        betas = own["betas"] if isinstance(own["betas"], (list, tuple)) else ()
        good = all(type(number) in (int, float) and 0 <= number < inf for number in (own["lr"], own["eps"], *betas))
        if not good or len(betas) != 2 or max(betas) >= 1:
            raise ValueError("its optimiser has impossible rates")
    parameters = {
        index: (parameter, {"momentum"} if own.get("muon") else {"step", "exp_avg", "exp_avg_sq"})
        for own, group in zip(groups, optimiser.param_groups, strict=True)
        for index, parameter in zip(own["params"], group["params"], strict=True)
    }
    if not isinstance(moments, dict) or not moments.keys() <= parameters.keys():
        raise ValueError("its optimiser has moments of other parameters")
    for index, values in moments.items():
        parameter, names = parameters[index]
        if not isinstance(values, dict) or values.keys() != names or not _are_moments(values, parameter):
            raise ValueError(f"its optimiser has other moments than those of parameter {index}")
    optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _are_moments(values: dict[str, Any], parameter: Tensor) -> bool:
    step: Any = values.get("step", 0)
    squares = values.get("exp_avg_sq")
    if isinstance(step, Tensor):
        step = step.item() if step.numel() == 1 else None
    moments = [value for name, value in values.items() if name != "step"]
    fits = all(isinstance(m, Tensor) and (m.shape, m.dtype) == (parameter.shape, parameter.dtype) for m in moments)
    counted = type(step) in (int, float) and 0 <= step <= _MOST
    return fits and counted and (squares is None or bool((squares >= 0).all()))


def _is_at_an_end(network: Baseline, parameter: nn.Parameter) -> bool:
    """True for parameters of the layers that read or write pixels."""
    if isinstance(network, Generator):
        ends = (network.sfe1, network.upsampler)
        return any(parameter is own for layer in ends for own in layer.parameters())
    return 3 in parameter.shape[:2]
