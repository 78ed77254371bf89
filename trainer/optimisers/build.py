"""The optimiser of a network: Adam, Muon with Adam, or SGD as the first networks of the field were trained.

Its state is saved with a run, and checked when the run continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dagan_cli.model.generator import Generator
from trainer.baselines import Baseline
from trainer.optimisers.muon import Muon

Kind = Literal["adam", "muon", "sgd"]
_MOST = 10**12  # steps of a run


@dataclass(frozen=True, slots=True)
class Descent:
    """Settings of SGD with momentum."""

    momentum: float
    weight_decay: float
    last_layer: float  # rate of the last layer, as a share of that of the others


def optimiser(
    network: Baseline, kind: str, lr: float, beta2: float, descent: Descent | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser of a network; beta2 is that of Adam, descent the settings of SGD.

    Muon takes the kernels between features, and Adam the rest, first and last layer included.
    """
    network = getattr(network, "_orig_mod", network)  # unwrap torch.compile
    parameters = list(network.parameters())
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=(0.9, beta2), fused=parameters[0].is_cuda)
    if kind == "sgd":
        assert descent is not None
        last = _last_layer(network)
        others = [p for p in parameters if all(p is not own for own in last)]
        groups = [{"params": others, "share": 1.0}, {"params": last, "share": descent.last_layer}]
        return torch.optim.SGD(groups, lr=lr, momentum=descent.momentum, weight_decay=descent.weight_decay)
    named = dict(network.named_parameters())
    kernels = {name for name, p in named.items() if p.ndim == 4 and p.shape[-1] > 1 and not _is_at_an_end(network, p)}
    return Muon([named[n] for n in named if n in kernels], [named[n] for n in named if n not in kernels], lr, beta2)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> float:
    """Set the rate of all parameters; a layer with a share of it keeps that share. Returns the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    return rate


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
        own |= {name: group[name] for name in ("lr", "betas", "eps") if name in group and name in own}
        betas = own["betas"] if isinstance(own.get("betas"), (list, tuple)) else ()
        numbers = (own["lr"], own.get("eps", 0.0), *betas)
        good = all(type(number) in (int, float) and 0 <= number < inf for number in numbers)
        if not good or len(betas) != (2 if "betas" in own else 0) or max(betas, default=0.0) >= 1:
            raise ValueError("its optimiser has impossible rates")
    parameters = {
        index: (parameter, _moments(own))
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


def _moments(group: dict[str, Any]) -> set[str]:
    """Return the names of the moments that are kept for each parameter of a group."""
    if "momentum" in group:  # of SGD; without momentum it keeps none
        return {"momentum_buffer"} if group["momentum"] else set()
    return {"momentum"} if group.get("muon") else {"step", "exp_avg", "exp_avg_sq"}


def _last_layer(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the last layer that has any."""
    layers = [list(layer.parameters(recurse=False)) for layer in network.modules()]
    return [parameters for parameters in layers if parameters][-1]


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
