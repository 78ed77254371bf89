"""The time of a phase: what it has spent on steps, validations and the rest, and what its end will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from trainer.config import TrainConfig
from trainer.phases import Phase
from trainer.state import Standing

FEW_STEPS = 50  # of a phase; fewer say nothing about what is trained


class Stopwatch:
    """Counts the time since it was made, or since it counted last, to what a phase has spent."""

    def __init__(self) -> None:
        self._counted = time.monotonic()
        self._validation: float | None = None  # seconds of the last one, of which another ends the phase

    def count(self, at: Standing) -> None:
        now = time.monotonic()
        at.spent, self._counted = at.spent + now - self._counted, now

    @contextmanager
    def validating(self, at: Standing) -> Iterator[None]:
        """Note the time of a validation."""
        began = time.monotonic()
        yield
        self._validation = time.monotonic() - began
        at.validating += self._validation

    def left_for_steps(self, budget: float, at: Standing, config: TrainConfig, lows: list[Tensor]) -> float:
        """Return the part of a budget after which the validation that ends the phase must begin.

        lows: the low-resolution images of a validation. Before the first one, its time is estimated from the steps: a
        forward pass takes about a third of a step.
        """
        if not lows:
            return budget
        if self._validation is not None:
            return budget - self._validation
        steps = at.step - at.origin
        pixels = sum(lr.shape[-2] * lr.shape[-1] for lr in lows)
        each = at.elapsed / steps / 3 / (config.batch * config.generator.patch**2) if steps else 0.0
        return budget - pixels * each


def closing_words(at: Standing, phase: Phase) -> str:
    """Say what the time of a budget went to, and whether there were too few steps to mean anything."""
    words = []
    if phase.budget is not None and phase.iterations is None:
        rest = max(0.0, at.spent - at.elapsed - at.validating)
        words.append(
            f"{at.spent:.0f} s of {phase.budget:.0f}: {at.elapsed:.0f} s of steps, {at.validating:.0f} s of "
            f"validations, {rest:.0f} s of loading and saving"
        )
    if at.step - at.origin < FEW_STEPS:
        words.append(f"{at.step - at.origin} steps are too few to mean anything")
    return "; ".join(words)
