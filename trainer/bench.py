"""Speed: steps per second of the training loop and of bare steps, and seconds per pixel of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import torch

from trainer.baselines import Baseline
from trainer.config import TrainConfig
from trainer.data.samples import load_pictures, margin_for, sample_batch
from trainer.loop import train
from trainer.losses.terms import PIXEL
from trainer.machine.device import use_bf16
from trainer.networks import new_network
from trainer.optimisers.build import Descent, optimiser

SIDE = 128  # side of the timed input in pixels
ROUNDS = 7  # the first round is discarded


@dataclass(frozen=True, slots=True)
class StepBench:
    """Steps per second of the pixel phase; the goal for `share` is 0.95."""

    loop: float  # whole loop: data, step, weight average and log
    bare: float  # forward, loss, backward and optimiser step, repeated on one batch
    share: float  # median of loop / bare over the rounds
    rounds: int
    batch: int
    patch: int  # input pixels
    degradation: str
    device: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    config: TrainConfig,
    data: list[Path],
    *,
    seconds: float = 20,
    rounds: int = 3,
    note: Callable[[str], None] = lambda _: None,
) -> StepBench:
    """Measure the loop and bare steps in turns, each for `seconds` in total, in a temporary run.

    A generator with several orders runs at the first one only. Raises the errors of `train`.
    """
    odds = tuple(float(i == 0) for i in range(len(config.generator.orders)))
    config = replace(config, gan=None, order_odds=odds, schedule="constant", iterations=None, budget=None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bare, slice_ = _Bare(config, data, device), seconds / rounds
    pairs = []
    for turn in range(rounds):
        note(f"round {turn + 1} of {rounds}")
        pairs.append((_loop(config, data, slice_), bare.rate(slice_)))
    loops, bares = zip(*pairs, strict=True)
    return StepBench(
        loop=median(loops),
        bare=median(bares),
        share=median(loop / alone for loop, alone in pairs),
        rounds=rounds,
        batch=config.batch,
        patch=config.generator.patch,
        degradation=config.degradation,
        device=torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        threads=torch.get_num_threads(),
    )


def _loop(config: TrainConfig, data: list[Path], seconds: float) -> float:
    """Return the steps per second of `dagan train`, after its first second."""
    reported: list[tuple[int, float]] = []

    def is_enough() -> bool:
        return len(reported) > 1 and reported[-1][1] - reported[0][1] >= seconds

    with TemporaryDirectory(prefix="dagan-train-bench-") as name:
        for progress in train(config, data, Path(name), should_stop=is_enough):
            if not progress.message:
                reported.append((progress.step, perf_counter()))
    (first, started), (last, ended) = reported[0], reported[-1]
    return (last - first) / (ended - started)


class _Bare:
    def __init__(self, config: TrainConfig, data: list[Path], device: torch.device) -> None:
        patch, scale = config.generator.patch, config.generator.scale
        pictures = load_pictures(data, smallest=(patch + 2 * margin_for(config.degradation)) * scale)
        chosen: dict[str, Any] = {"degradation": config.degradation, "augment": config.augment, "seed": config.seed}
        chosen |= {"sampling": config.sampling, "kernel": config.kernel}
        batch = sample_batch(pictures, scale=scale, patch=patch, batch=config.batch, step=0, **chosen)
        self._lr, self._hr = (part.to(device, memory_format=torch.channels_last) for part in batch)
        self._network = new_network(config).to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        descent = Descent(config.momentum, config.weight_decay, config.last_layer)
        self._optimiser = optimiser(self._network, config.optimiser, config.lr, config.beta2, descent)
        self._loss = PIXEL[config.loss]
        self._order = config.generator.orders[0] if config.generator.orders else None
        self._half = use_bf16(config, device)
        self._step()

    def rate(self, seconds: float) -> float:
        """Return the steps per second."""
        started, done = perf_counter(), 0
        while perf_counter() - started < seconds:
            self._step()
            done += 1
        return done / (perf_counter() - started)

    def _step(self) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._lr.device.type, torch.bfloat16, enabled=self._half):
            fake = self._network(self._lr, self._order)
        loss = self._loss(fake.float(), self._hr)
        loss.backward()
        self._optimiser.step()
        loss.item()  # wait for the device, which runs asynchronously


@torch.inference_mode()
def seconds_per_pixel(
    points: Sequence[tuple[Baseline, int | None]], clock: Callable[[], float] = perf_counter
) -> list[float]:
    """Return the median seconds per input pixel of each (network, order): fp32, one tile.

    The networks take turns in each round, so that load affects all of them equally. clock: `perf_counter` for the time
    that a user waits, `work_clock` for the cost on a busy machine.
    """
    times: list[list[float]] = [[] for _ in points]
    for _ in range(ROUNDS):
        for (network, order), each in zip(points, times, strict=True):
            device = next(network.parameters()).device
            image = torch.rand(1, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
            began = _now(clock)
            network(image, order)
            each.append(_now(clock) - began)
    return [median(each[1:]) / SIDE**2 for each in times]


def work_clock() -> float:
    """Return the processor time of this process in seconds, or the wall-clock time if there is a GPU."""
    return _now(perf_counter if torch.cuda.is_available() else process_time)


def _now(clock: Callable[[], float]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock()
