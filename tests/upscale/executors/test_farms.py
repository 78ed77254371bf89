"""The simulated farm of docs/experiments/farms: the crew loses nothing, and more or better workers are never slower."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from tests.support.documentation import script

SEGMENTS = 20  # of a film


@pytest.fixture(scope="module")
def farms() -> ModuleType:
    return script("experiments/farms/simulate.py")


@pytest.fixture
def run(farms):
    """Simulate three small films, or others."""

    def run(**changes: Any) -> Any:
        return farms.simulate(replace(farms.BASE, **{"films": 3, "frames": SEGMENTS * 240, **changes}))

    return run


@pytest.mark.parametrize("changes", [{}, {"hours": 0.02}, {"slow": 0.3, "hours": 0.02}, {"tells": float("inf")}])
def test_every_segment_is_taken_in_exactly_once(run, changes):
    sim = run(gpus=9, **changes)
    assert sim.done == {(film, number): 1 for film in range(3) for number in range(SEGMENTS)}
    assert len(sim.finished) == 3
    assert (sim.deaths > 0) == ("hours" in changes)


def test_more_workers_are_never_slower(run):
    times = [run(gpus=gpus).now for gpus in (1, 2, 4, 8, 16, 32)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 5 * times[3]


def test_slow_workers_cost_less_with_copies(run):
    even = run(gpus=20).now
    alone, copied = (run(gpus=20, slow=0.1, slowness=6.0, copies=copies) for copies in (False, True))
    assert alone.copies == 0 < copied.copies
    assert even < copied.now < alone.now


def test_the_same_seed_gives_the_same_times(run):
    one, other = (run(gpus=9, slow=0.2, hours=0.05) for _ in range(2))
    assert one.trace == other.trace


def test_films_are_finished_one_after_the_other_by_few_workers(run):
    now, before = run(gpus=2), run(gpus=2, all_at_once=True)
    assert now.finished[0] < 0.5 * now.now
    assert before.finished[0] > 0.8 * before.now


def test_one_worker_takes_the_time_of_its_slowest_stage(farms, run):
    """By hand: 4,800 frames at 28 frames/s; decoding ahead, opening and joining take the rest."""
    sim = run(gpus=1, films=1)
    assert 4800 / 28 < sim.now < 1.2 * 4800 / 28
