"""What happens in a run of `dagan upscale`: the events that are reported, and how each input ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Cost of one input."""

    model: str
    tile: tuple[int, int]  # (width, height), input pixels
    tiles: int  # tiles of a frame
    memory: int  # bytes on the device, and for the result
    disk: int  # bytes, roughly; a video needs its room twice while its segments are joined
    seconds: float  # of the network, by the measured pace of one tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Result of one input: a row of the report."""

    input: Path
    output: Path | None
    status: Literal["done", "skipped", "failed", "partial", "planned"]
    reason: str = ""
    hint: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    frames: int = 0
    in_size: tuple[int, int] | None = None
    out_size: tuple[int, int] | None = None
    warnings: tuple[str, ...] = field(default=())
    reused: float | None = (
        None  # share of a video's tiles that equal those of the previous frame and were not computed again
    )
    resumed: int = 0  # frames that an earlier run had made
    forecast: Forecast | None = None  # if planned

    def to_json(self) -> dict[str, Any]:
        """The row as the report holds it; paths of any bytes become printable."""
        return {
            "input": _printable(self.input),
            "output": _printable(self.output) if self.output else None,
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "in_size": list(self.in_size) if self.in_size else None,
            "out_size": list(self.out_size) if self.out_size else None,
            "warnings": list(self.warnings),
            "reused": None if self.reused is None else round(self.reused, 4),
            "resumed": self.resumed,
        } | ({"forecast": asdict(self.forecast)} if self.forecast else {})


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Start:
    """Work on an input starts."""

    index: int  # from 0
    total: int
    input: Path


@dataclass(frozen=True, slots=True)
class Advance:
    """Tiles of an image or frames of a video are done; `total` is None if unknown."""

    done: int
    total: int | None
    unit: Literal["tiles", "frames"]
    resumed: int = 0  # frames of `done` that an earlier run had made


@dataclass(frozen=True, slots=True)
class Fetch:
    """Part of a model is downloaded."""

    name: str
    done: int  # bytes received
    total: int | None  # bytes in all, if known


Event = Start | Advance | Fetch | Item
Tell = Callable[[Event], None]

STDOUT = Path("-")  # the target that is not a file


class Stopped(Exception):
    """The user asked to stop; no half-written file is left."""


class Abandoned(Exception):
    """The disk is full or read-only for all inputs that follow; the last Item says so, the rest was not tried."""
