"""State of a whole run while it works: inputs settled, share of the work done, and time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.upscale.events import Advance, Amount, Event, Item, Outlook, Start

_OPENING = 2000  # work of opening, writing and syncing a file, in pixels through a network


@dataclass(frozen=True, slots=True)
class Left:
    """Time that remains."""

    seconds: float
    at_least: bool = False  # part of the work is unknown, and not included


@dataclass
class _Pace:
    """Work of one kind that was done, and the time it took."""

    work: float = 0.0  # pixels
    seconds: float = 0.0


class Job:
    """Follows the events of a run. Work is counted in pixels of the inputs, as files differ too much in size.

    Images and videos have a pace each, as an encoder can take longer than the network. Frames from an earlier run
    and existing outputs are no work.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.inputs: int | None = None  # in all, once known
        self.settled = 0  # inputs that are done, failed or skipped
        self._clock = clock
        self._left: dict[Path, Amount] = {}  # of the inputs that are not settled
        self._known: Counter[str] = Counter()  # their work by kind, in pixels
        self._whole = 0  # known work of all inputs
        self._unknown = 0  # how many of them have unknown work
        self._paces: dict[str, _Pace] = {}
        self._path: Path | None = None  # input in work
        self._started = 0.0
        self._advance: Advance | None = None  # of that input

    def follow(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Item():
                self._settle(event)
            case Outlook(inputs, amounts):
                self.inputs, self._left = inputs, dict(amounts)
                for amount in amounts.values():
                    self._count(amount, 1)
                self._whole = self._known.total()
            case Start(_, _, path):
                self._path, self._started, self._advance = path, self._clock(), None
            case Advance():
                self._advance = event

    @property
    def share(self) -> float:
        """Share of the known work that is done, frames of an earlier run included, 0 to 1; 1 if there is none."""
        now = self._left.get(self._path) if self._path else None
        done = min(_work(now), self._done()[1]) if now else 0.0
        left = self._known.total() - done
        return 1 - left / self._whole if self._whole else 1.0

    @property
    def rate(self) -> float:
        """Tiles or frames per second of the input in work."""
        step = self._advance
        return (step.done - step.resumed) / max(1e-9, self._clock() - self._started) if step else 0.0

    @property
    def input_left(self) -> Left | None:
        """Time left for the input in work; None if unknown."""
        step = self._advance
        if step is None or step.total is None or step.done > step.total or not self.rate:
            return None
        return Left((step.total - step.done) / self.rate)

    @property
    def left(self) -> Left | None:
        """Time left for the whole run; None if unknown."""
        paces = self._all_paces()
        every = [pace for pace in paces.values() if pace.work]
        if self.inputs is None or not every:
            return None
        other = sum(pace.seconds for pace in every) / sum(pace.work for pace in every)
        left = Counter(self._known)
        now = self._left.get(self._path) if self._path else None
        if now and now.frames is not None:
            left[now.kind] -= min(_work(now), round(self._done()[1]))
        seconds = sum(
            work * (paces[kind].seconds / paces[kind].work if kind in paces and paces[kind].work else other)
            for kind, work in left.items()
        )
        return Left(seconds, at_least=self._unknown > 0)

    def _count(self, amount: Amount, sign: int) -> None:
        if amount.frames is None:
            self._unknown += sign
        self._known[amount.kind] += sign * _work(amount)

    def _settle(self, item: Item) -> None:
        self.settled += 1
        if item.input == self._path:
            amount, seconds = self._left.get(item.input), self._clock() - self._started
            if amount and item.status in ("done", "partial"):
                pace = self._paces.setdefault(amount.kind, _Pace())
                pace.work += (item.frames - item.resumed) * amount.pixels + _OPENING
                pace.seconds += seconds
            self._path, self._advance = None, None
        if amount := self._left.pop(item.input, None):
            self._count(amount, -1)

    def _all_paces(self) -> dict[str, _Pace]:
        """Return the paces, with the input in work."""
        paces = {kind: _Pace(pace.work, pace.seconds) for kind, pace in self._paces.items()}
        new, _ = self._done()
        amount = self._left.get(self._path) if self._path else None
        if amount and new:
            pace = paces.setdefault(amount.kind, _Pace())
            pace.work += new
            pace.seconds += self._clock() - self._started
        return paces

    def _done(self) -> tuple[float, float]:
        """Return the pixels of the input in work that are done, without and with those of an earlier run."""
        step, amount = self._advance, self._left.get(self._path) if self._path else None
        if step is None or amount is None:
            return 0.0, 0.0
        if step.unit == "tiles":
            done = amount.pixels * step.done / (step.total or step.done)
            return done, done
        return float((step.done - step.resumed) * amount.pixels), float(step.done * amount.pixels)


def _work(amount: Amount) -> int:
    return amount.pixels * (amount.frames or 0) + _OPENING
