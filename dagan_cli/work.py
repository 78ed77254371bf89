"""What the work on each input has at hand, and the events that tell how it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from dagan_cli.engine.reuse import History
from dagan_cli.media.y4m import Y4mSource
from dagan_cli.request import Item, Request
from dagan_cli.upscaler import Engines, Upscaler


@dataclass(frozen=True, slots=True)
class Start:
    """Work on an input begins."""

    index: int  # from 0
    total: int
    input: Path


@dataclass(frozen=True, slots=True)
class Advance:
    """Part of an input is done: tiles of a picture, frames of a video; `total` is None where nobody knows."""

    done: int
    total: int | None
    unit: Literal["tiles", "frames"]
    resumed: int = 0  # of `done`, by an earlier run


Event = Start | Advance | Item


STDOUT = Path("-")  # the target that is no file


class Stopped(Exception):
    """The user asked to stop; nothing half-written is left."""


class Abandoned(Exception):
    """The disk is full or read-only, for all that would follow too: the last Item says so, the rest was not tried."""


Tell = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Work:
    """What every step of the work has at hand."""

    request: Request
    engines: Engines
    tell: Tell
    should_stop: Callable[[], bool]
    piped: bytes | Y4mSource | None  # the input, where it came from stdin: a picture, or a video

    def watch(
        self,
        engine: Upscaler,
        frames: Tensor,
        size: tuple[int, int],
        unit: Literal["tiles", None] = None,
        history: History | None = None,
    ) -> Tensor:
        """Frames through the engine to `size`, stopping between tiles when asked to."""
        steps = engine.steps(frames, size, history)
        while True:
            if self.should_stop():
                raise Stopped
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if unit:
                self.tell(Advance(step.done, step.total, unit))
