"""The Runge-Kutta steps integrate an equation with a known solution at the order they promise."""

from __future__ import annotations

from math import cos, exp, log2, sin

import pytest
import torch
from torch import Tensor, nn

from dagan_cli.model import rk
from dagan_cli.model.rk import CLASSICAL, EVALUATIONS, RungeKutta, step

ORDERS = {"euler": 1, "heun": 2, "midpoint": 2, "rk3": 3, "rk4": 4}


def classical(solver: str, stages: int = 2) -> Tensor:
    return torch.tensor(rk.classical(solver, stages), dtype=torch.float64)


def rotate_and_damp(y: Tensor) -> Tensor:
    """y' = A y, A = [[-0.3, -2], [2, -0.3]]: a damped rotation."""
    a = torch.tensor([[-0.3, -2.0], [2.0, -0.3]], dtype=torch.float64)
    return a @ y


def rotated_and_damped(t: float) -> Tensor:
    """Its solution from (1, 0)."""
    return exp(-0.3 * t) * torch.tensor([cos(2 * t), sin(2 * t)], dtype=torch.float64)


def logistic(y: Tensor) -> Tensor:
    return y * (1 - y)


def logistic_grown(t: float) -> Tensor:
    """Its solution from 0.1."""
    return torch.tensor([1 / (1 + 9 * exp(-t))], dtype=torch.float64)


EQUATIONS = {"damped rotation": (rotate_and_damp, rotated_and_damped), "logistic": (logistic, logistic_grown)}


def error_with(solver: str, equation: str, steps: int, stages: int = 2, time: float = 2.0) -> float:
    """How far the solver is from the solution after `steps` equal steps: a step of length h is a unit step of h*f."""
    slope, solution = EQUATIONS[equation]
    y, h = solution(0.0), time / steps
    for _ in range(steps):
        y = step(solver, lambda _, at: h * slope(at), y, classical(solver, stages), stages)
    return (y - solution(time)).norm().item()


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("solver", ORDERS)
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver, equation):
    observed = log2(error_with(solver, equation, 64) / error_with(solver, equation, 128))
    assert observed == pytest.approx(ORDERS[solver], abs=0.1)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_tied_euler_is_euler_with_shorter_steps_to_the_same_time(stages):
    y = torch.rand(5, dtype=torch.float64)
    expected = y
    for _ in range(stages):
        expected = step("euler", lambda _, at: logistic(at) / stages, expected, classical("euler"))
    tied = step("tied-euler", lambda _, at: logistic(at), y, classical("tied-euler", stages), stages)
    torch.testing.assert_close(tied, expected, rtol=0, atol=0)


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("stages", [2, 4])
def test_tied_euler_has_order_one(stages, equation):
    """Both in the number of steps and in the number of stages."""
    observed = log2(error_with("tied-euler", equation, 64, stages) / error_with("tied-euler", equation, 128, stages))
    assert observed == pytest.approx(1, abs=0.1)
    observed = log2(error_with("tied-euler", equation, 64, stages) / error_with("tied-euler", equation, 64, 2 * stages))
    assert observed == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_every_stage_is_evaluated_once_and_in_turn(solver):
    seen: list[int] = []

    def slope(stage: int, at: Tensor) -> Tensor:
        seen.append(stage)
        return at

    step(solver, slope, torch.ones(1), classical(solver).float())
    assert seen == list(range(EVALUATIONS[solver]))


@pytest.mark.parametrize(("solver", "order"), [("heun", 2), ("midpoint", 2), ("rk3", 3), ("rk4", 4)])
def test_the_classical_constants_reproduce_the_taylor_series_of_the_exponential(solver, order):
    taylor = [1.0, 2.0, 2.5, 2.5 + 1 / 6, 2.5 + 1 / 6 + 1 / 24]
    stepped = step(solver, lambda _, at: at, torch.ones(1, dtype=torch.float64), classical(solver))
    assert stepped.item() == pytest.approx(taylor[order], abs=1e-7)


class Times(nn.Module):
    """f(y) = factor * y."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, y: Tensor) -> Tensor:
        return self.factor * y


@pytest.mark.parametrize("solver", [s for s in CLASSICAL if CLASSICAL[s]])
def test_learned_constants_get_gradients_and_fixed_ones_do_not(solver):
    for learned in (True, False):
        block = RungeKutta([Times(0.7)], (solver,), learned=learned, stages=2)
        block(torch.ones(1, 1, 1, 1), solver).sum().backward()
        constants = block.constants[solver]
        assert len(constants) == len(CLASSICAL[solver])
        if learned:
            assert constants.grad is not None
            assert (constants.grad != 0).all()
        else:
            assert constants.grad is None
            assert not constants.requires_grad


def test_learned_constants_start_at_the_classical_values_and_are_used():
    block = RungeKutta([Times(1.0)], ("heun",), learned=True, stages=2)
    y = torch.ones(1, 1, 1, 1)
    assert block(y, "heun").item() == pytest.approx(2.5)
    with torch.no_grad():
        block.constants["heun"].fill_(1.0)
    assert block(y, "heun").item() == pytest.approx(4.0)  # y + 1 * (y + 2y)


def test_a_block_with_a_function_for_each_stage_uses_each_of_them():
    block = RungeKutta([Times(1.0), Times(10.0)], ("heun",), learned=False, stages=2)
    assert block(torch.ones(1, 1, 1, 1), "heun").item() == pytest.approx(1 + (1 + 10 * 2) / 2)


def test_a_block_that_knows_several_solvers_keeps_constants_for_each():
    block = RungeKutta([Times(1.0)], ("euler", "heun", "rk4"), learned=True, stages=2)
    assert {name: len(value) for name, value in block.constants.items()} == {"heun": 1, "rk4": 3}
    y = torch.ones(1, 1, 1, 1)
    outputs = [block(y, solver).item() for solver in ("euler", "heun", "rk4")]
    assert outputs == pytest.approx([2.0, 2.5, 2.5 + 1 / 6 + 1 / 24])


def test_the_constants_follow_the_precision_of_the_features():
    block = RungeKutta([Times(1.0)], ("rk4",), learned=True, stages=2).half()
    assert block(torch.ones(1, 1, 1, 1, dtype=torch.float16), "rk4").dtype == torch.float16
    block = RungeKutta([nn.Identity()], ("rk4",), learned=True, stages=2)
    assert block(torch.ones(1, 1, 1, 1, dtype=torch.bfloat16), "rk4").dtype == torch.bfloat16
