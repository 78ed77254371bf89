"""How far an unknown network sees, and where its tiles may start, measured on networks with known answers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.engine.engine import Engine
from dagan_cli.engine.measuring.reach import TOLERANCE, Reach, measure_reach
from dagan_cli.engine.options import EngineOptions
from tests.support.fakes import Blur, Mean

CPU = torch.device("cpu")


class Windowed(nn.Module):
    """Each pixel becomes the mean of its window, windows starting at the left and at the top; any sides."""

    scale = 1
    receptive_field = None
    is_measured = True

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        padded = F.pad(x, (0, -w % self.window, 0, -h % self.window), "replicate")
        means = F.interpolate(F.avg_pool2d(padded, self.window), scale_factor=self.window, mode="nearest")
        return self.weight * means[..., :h, :w]


@pytest.mark.parametrize(("radius", "rim"), [(1, 8), (8, 8), (9, 16), (20, 32), (33, 64)])
def test_the_rim_is_the_next_one_that_covers_the_receptive_field(radius, rim):
    assert measure_reach(Blur(radius), 2, CPU) == Reach(rim, 1)


@pytest.mark.parametrize("window", [2, 8, 32])
def test_the_grid_is_the_side_of_attention_windows(window):
    assert measure_reach(Windowed(window), 1, CPU) == Reach(max(8, window), window)


def test_a_network_that_sees_everything_has_no_rim():
    assert measure_reach(Mean(), 2, CPU).rim is None


def test_a_network_that_sees_further_than_any_rim_has_none():
    def network(x: Tensor) -> Tensor:
        return x + F.pad(x, (100, 0, 0, 0), "replicate")[..., : x.shape[-1]]

    assert measure_reach(network, 1, CPU).rim is None


@pytest.mark.parametrize("multiple", [8, 128])
def test_sides_are_multiples_of_what_the_network_needs(multiple):
    def network(x: Tensor) -> Tensor:
        assert x.shape[-2] % multiple == 0
        assert x.shape[-1] % multiple == 0
        return x

    assert measure_reach(network, 1, CPU, multiple=multiple).grid == multiple


@pytest.mark.parametrize("size", [(100, 131), (129, 97)])
def test_tiles_start_on_the_measured_grid_and_need_no_sides_on_it(size):
    image, network = torch.rand(1, 3, *size), Windowed(8)
    tiled = Engine(network, EngineOptions(device="cpu", tile=64))
    plan = tiled.plan(*size)
    assert plan.count > 1
    assert all(span.start % 8 == 0 for span in (*plan.ys, *plan.xs))
    assert (plan.ys[-1].stop, plan.xs[-1].stop) == size
    assert (tiled(image) - network(image)).abs().max() <= TOLERANCE


@pytest.mark.parametrize(("window", "noted"), [(8, False), (64, True)])
def test_it_is_noted_if_the_result_depends_on_the_tiles(window, noted):
    engine = Engine(Windowed(window), EngineOptions(device="cpu", tile=64))
    assert engine.plan(100, 300).count > 1
    assert any("the result depends on their size" in notice for notice in engine.notices) == noted


def test_nothing_is_measured_for_one_tile():
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was measured")

    engine = Engine(Windowed(8), EngineOptions(device="cpu"))
    engine._reach = fail  # type: ignore[method-assign]
    assert engine.plan(200, 300).count == 1
