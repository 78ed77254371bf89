"""A tile that sees what it saw in the frame before is not computed again, and the picture is the same to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dagan_cli.engine.engine import Engine
from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.reuse import History
from tests.support.fakes import Limited


class Counting(torch.nn.Module):
    """Enlarges, looks 4 px around, and counts the tiles it was given."""

    scale = 2
    receptive_field = 4

    def __init__(self) -> None:
        super().__init__()
        self.blur = torch.nn.Conv2d(3, 12, 9, padding=4)
        self.register_buffer("tiles", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("tiles").add_(len(x))
        return torch.nn.functional.pixel_shuffle(self.blur(x), 2)


def upscaler(**options) -> Engine:
    torch.manual_seed(0)  # all of them alike
    return Engine(Counting(), EngineOptions(device="cpu", tile=32, **options))


def calls(engine: Engine) -> int:
    return int(getattr(engine.network(torch.float32), "tiles"))  # noqa: B009


def run(engine: Engine, frames: Tensor, history: History | None = None) -> Tensor:
    steps = engine.steps(frames, None, history)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def video(frames: int = 4) -> Tensor:
    """A still picture in which one small square moves."""
    still = torch.rand(1, 3, 70, 90, generator=torch.Generator().manual_seed(1)).repeat(frames, 1, 1, 1)
    for i, frame in enumerate(still):
        frame[:, 3:6, 3 + i : 6 + i] = 1 - i / 8
    return still


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_only_what_changed_is_computed_and_the_result_is_the_same(together, batch):
    frames = video()
    plain, clever, history = upscaler(batch=1), upscaler(batch=batch), History()
    expected = torch.cat([run(plain, frame[None]) for frame in frames])
    got = torch.cat([run(clever, group, history) for group in frames.split(together)])
    if batch == 1:
        assert torch.equal(got, expected)
    else:  # a convolution of several pictures may round otherwise
        torch.testing.assert_close(got, expected)
    tiles = plain.plan(70, 90).count
    assert calls(plain) == 4 * tiles
    assert calls(clever) == tiles + 3  # the square stays in the first tile
    assert (history.tiles, history.reused) == (4 * tiles, 3 * (tiles - 1))


def test_a_change_that_only_the_rim_of_a_tile_sees_is_seen():
    engine, history = upscaler(batch=1), History()
    frame = video(1)
    run(engine, frame, history)
    first = calls(engine)
    y, x = engine.plan(70, 90).tiles[0]
    changed = frame.clone()
    changed[0, 0, y.stop - 1, x.stop - 1] = 2.0
    got = run(engine, changed, history)
    assert calls(engine) > first
    assert torch.equal(got, run(engine, changed))


def test_another_size_is_computed_anew():
    engine, history = upscaler(batch=1), History()
    run(engine, torch.zeros(1, 3, 70, 90), history)
    got = run(engine, torch.zeros(1, 3, 90, 70), history)
    assert got.shape == (1, 3, 180, 140)
    assert history.reused == 0


@pytest.mark.slow
def test_when_memory_runs_out_the_past_is_forgotten_and_the_picture_right():
    frames, history, network = video(2), History(), Counting()
    limited: Any = Limited(network, 40 * 40)
    engine = Engine(limited, EngineOptions(device="cpu", tile=64))
    expected = run(Engine(network, EngineOptions(device="cpu", tile=64)), frames)
    torch.testing.assert_close(run(engine, frames, history), expected)
    assert "out of memory" in engine.notices[0]
    torch.testing.assert_close(run(engine, frames[1:], history), expected[1:])
