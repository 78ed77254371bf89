"""Runge-Kutta steps: a block's function f advances the features y by one step (paper, section on ODE blocks).

Every solver takes the derivative as `f(stage, y)`, so that the stages can share their weights or not, and its constants
as one tensor, so that they can be learned; `CLASSICAL` holds the textbook values that these start from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from dagan_cli.model.config import GeneratorConfig

Derivative = Callable[[int, Tensor], Tensor]

CLASSICAL: dict[str, tuple[float, ...]] = {
    "euler": (),
    "heun": (1 / 2,),
    "midpoint": (1 / 2,),
    "rk3": (1 / 2, 1 / 6, 4 / 6),
    "rk4": (1 / 2, 1 / 3, 1 / 6),
    "tied-euler": (),
}
EVALUATIONS = {"euler": 1, "heun": 2, "midpoint": 2, "rk3": 3, "rk4": 4}


def evaluations(config: GeneratorConfig, solver: str) -> int:
    """Return how often a block evaluates f in one step."""
    return config.stages if solver == "tied-euler" else EVALUATIONS[solver]


def classical(solver: str, stages: int = 2) -> tuple[float, ...]:
    """Return the textbook constants of a solver; the only one of "tied-euler" is its fixed step length, 1 / stages."""
    return (1 / stages,) if solver == "tied-euler" else CLASSICAL[solver]


def step(solver: str, f: Derivative, y: Tensor, constants: Tensor, stages: int = 2) -> Tensor:
    """Take one step of unit length of y' = f(y); the result has the shape of y.

    solver: a key of `CLASSICAL`; constants: such as `classical` returns. `stages` applies only to "tied-euler", the
    control: that many Euler steps of 1 / stages, which cost as much as a Runge-Kutta step and reach the same time, but
    have order 1.
    """
    if solver == "euler":
        return y + f(0, y)
    if solver == "tied-euler":
        (length,) = constants
        for stage in range(stages):
            y = y + length * f(stage, y)
        return y
    if solver == "heun":
        (a,) = constants
        k1 = f(0, y)
        return y + a * (k1 + f(1, y + k1))
    if solver == "midpoint":
        (a,) = constants
        return y + f(1, y + a * f(0, y))
    if solver == "rk3":  # Kutta's third-order rule
        half, outer, inner = constants
        k1 = f(0, y)
        k2 = f(1, y + half * k1)
        k3 = f(2, y - k1 + (k2 + k2))  # a sum: nodes of a graph know no plain numbers
        return y + outer * (k1 + k3) + inner * k2
    half, inner, outer = constants  # rk4, the classical rule
    k1 = f(0, y)
    k2 = f(1, y + half * k1)
    k3 = f(2, y + half * k2)
    k4 = f(3, y + k3)
    return y + outer * (k1 + k4) + inner * (k2 + k3)


class RungeKutta(nn.Module):
    """A block: y -> one step of any of its solvers, over its own functions.

    functions: one module if the stages share it, else one per stage.
    """

    def __init__(self, functions: list[nn.Module], solvers: tuple[str, ...], *, learned: bool, stages: int) -> None:
        super().__init__()
        self.functions = nn.ModuleList(functions)
        self.stages = stages
        values = {solver: torch.tensor(CLASSICAL[solver]) for solver in solvers if CLASSICAL[solver]}
        self.constants = nn.ParameterDict({s: Parameter(value, requires_grad=learned) for s, value in values.items()})

    def forward(self, y: Tensor, solver: str) -> Tensor:
        """(N, C, H, W) -> same shape."""
        shared = len(self.functions) == 1

        def f(stage: int, at: Tensor) -> Tensor:
            return self.functions[0 if shared else stage](at)

        own = solver in self.constants
        constants = self.constants[solver].to(y.dtype) if own else y.new_tensor(classical(solver, self.stages))
        return step(solver, f, y, constants, self.stages)
