"""How long networks take for each pixel, measured in turns, so that a machine's moods meet all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter, process_time

import torch

from trainer.baselines import Baseline

SIDE = 128  # input pixels of the picture that is timed
ROUNDS = 7  # of which the first is not counted


@torch.inference_mode()
def seconds_per_pixel(
    points: Sequence[tuple[Baseline, int | None]], clock: Callable[[], float] = perf_counter
) -> list[float]:
    """Of each network at an order, in fp32 as a frame of one tile goes through it: for an input pixel, the median of
    all rounds but the first.

    clock: `perf_counter` for the time that a user waits, `work_clock` for what it costs on a busy machine.
    """
    times: list[list[float]] = [[] for _ in points]
    for _ in range(ROUNDS):
        for (network, order), each in zip(points, times, strict=True):
            device = next(network.parameters()).device
            picture = torch.rand(1, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
            began = _now(clock)
            network(picture, order)
            each.append(_now(clock) - began)
    return [median(each[1:]) / SIDE**2 for each in times]


def work_clock() -> float:
    """Processor time of this process in seconds; where a GPU does the work, the time of day."""
    return _now(perf_counter if torch.cuda.is_available() else process_time)


def _now(clock: Callable[[], float]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock()
