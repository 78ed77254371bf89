"""Events of a run of `dagan upscale`: progress, and the result of each input."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dagan_cli.errors import BadInput, BadOption, DaganError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Cost of one input."""

    model: str
    tile: tuple[int, int]  # (width, height), input pixels
    tiles: int  # tiles of a frame
    memory: int  # bytes, on the device and for the result
    disk: int  # bytes, estimated; a video needs twice its size while its segments are joined
    seconds: float  # decoding, network and encoding, extrapolated from a few tiles and frames
    at_least: bool = False  # the number of frames is unknown, and so only a part of all is included
    codec: str | None = None  # of a video
    pixel_format: str | None = None  # of a video
    format: str | None = None  # of an image
    depth: int | None = None  # bits per sample of an image


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Result of one input: a row of the report."""

    input: Path
    output: Path | None
    below: Path = Path()  # folder of the input below the folder that was named
    status: Literal["done", "skipped", "failed", "partial", "planned", "stopped", "untried"]
    reason: str = ""
    hint: str = ""
    exit_code: int = 0
    model: str = ""  # as options name it; "" if none was needed
    is_usable: bool = False  # it has failed, but not because of the input
    seconds: float = 0.0
    frames: int = 0
    in_size: tuple[int, int] | None = None
    out_size: tuple[int, int] | None = None
    warnings: tuple[str, ...] = field(default=())
    reused: float | None = None  # share of a video's tiles that were reused from the previous frame
    resumed: int = 0  # frames taken from an earlier run
    workers: tuple[str, ...] = ()  # that made it, where there are several
    forecast: Forecast | None = None  # if planned

    def to_json(self) -> dict[str, Any]:
        """Return the row of the report."""
        return {
            **paths_to_json(input=self.input, output=self.output, below=self.below),
            "status": self.status,
            "reason": self.reason,
            "model": self.model or None,
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "in_size": list(self.in_size) if self.in_size else None,
            "out_size": list(self.out_size) if self.out_size else None,
            "warnings": list(self.warnings),
            "reused": None if self.reused is None else round(self.reused, 4),
            "resumed": self.resumed,
            **({"workers": list(self.workers)} if self.workers else {}),
        } | ({"forecast": asdict(self.forecast)} if self.forecast else {})


def failed(path: Path, error: Exception) -> Item:
    """Return the Item of a failed input; a bug is logged with its traceback, and other inputs continue."""
    if not isinstance(error, DaganError):
        _log.error("bug in dagan, at %r", str(path), exc_info=error)
        error = BadInput(f"{path} triggered a bug in dagan: {error!r}", hint="please report it, with the file")
    return Item(input=path, output=None, status="failed", reason=str(error), hint=error.hint, exit_code=error.exit_code)


def paths_to_json(**paths: Path | None) -> dict[str, Any]:
    """Return paths as text; undecodable bytes are escaped, and `bytes` has the paths that contain any, as hex."""
    texts = {name: None if path is None else "" if path == Path() else str(path) for name, path in paths.items()}
    shown = {name: text and text.encode("utf-8", "backslashreplace").decode() for name, text in texts.items()}
    exact = {name: os.fsencode(text).hex() for name, text in texts.items() if text and text != shown[name]}
    return {**shown, **({"bytes": exact} if exact else {})}


def path_from_json(row: Mapping[str, Any], name: str) -> Path | None:
    """Return a path that `paths_to_json` wrote. Raises ValueError, KeyError, TypeError for anything else."""
    if not isinstance(row, Mapping):
        raise TypeError("not an object")
    exact, text = row.get("bytes", {}), row[name]
    if name in exact:
        text = os.fsdecode(bytes.fromhex(exact[name]))
    if text is not None and (not isinstance(text, str) or b"\0" in os.fsencode(text)):
        raise ValueError("not a path")
    return None if text is None else Path(text)


@dataclass(frozen=True, slots=True)
class Amount:
    """Work on one input, as far as its header declares it."""

    kind: Literal["picture", "video"]
    pixels: int  # of a frame, before upscaling
    frames: int | None  # None if unknown


@dataclass(frozen=True, slots=True)
class Outlook:
    """The work of the whole run, before the first input starts."""

    inputs: int  # all of them, including those that have failed by now
    amounts: Mapping[Path, Amount]  # of the inputs to upscale: those whose outputs exist are left out


@dataclass(frozen=True, slots=True)
class Start:
    """Work on an input starts."""

    index: int  # from 0
    total: int
    input: Path


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model for an input was chosen by what the input is."""

    input: Path
    found: str  # what it is, in words
    model: str  # as options name it


@dataclass(frozen=True, slots=True)
class Expected:
    """The work on a video will be long, and how long with a faster model."""

    input: Path
    model: str  # as options name it
    seconds: float
    faster: str  # another model
    faster_seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Another process writes the result of an input; this one goes on when it is done."""

    input: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    """Tiles of an image or frames of a video are done; `total` is None if unknown."""

    done: int
    total: int | None
    unit: Literal["tiles", "frames"]
    resumed: int = 0  # frames of `done` taken from an earlier run


@dataclass(frozen=True, slots=True)
class Fetch:
    """Part of a model, or of an input, is downloaded."""

    name: str
    done: int  # bytes received
    total: int | None  # bytes in all, if known
    of: Literal["model", "input"] = "model"


@dataclass(frozen=True, slots=True)
class Kept:
    """The work on a video was stopped; the next run starts after the frames that are kept."""

    input: Path
    frames: int
    total: int | None  # None if unknown


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the inputs as a whole that is no failure."""

    text: str  # empty if an error says it
    details: tuple[str, ...]  # one for each file concerned


Event = Outlook | Start | Chosen | Expected | Wait | Advance | Fetch | Kept | Notice | Item
Tell = Callable[[Event], None]

STDOUT = Path("-")  # target that stands for stdout


def interrupted(kept: Kept, target: Path, seconds: float) -> Item:
    """Return the Item of a video that was stopped, and that the next run continues."""
    of = f" of {kept.total}" if kept.total and kept.total > kept.frames else ""
    reason = f"stopped after {kept.frames}{of} frames, which are kept: the same command continues"
    return Item(input=kept.input, output=target, status="stopped", reason=reason, seconds=seconds, frames=kept.frames)


class BadReport(BadOption):
    """The report must not be written where it was asked for."""


class Stopped(Exception):
    """The user asked to stop; no half-written file is left. `kept` tells of the frames of a video in work."""

    def __init__(self, kept: Kept | None = None) -> None:
        super().__init__()
        self.kept = kept


class Abandoned(Exception):
    """The disk is full or read-only; an Item reports it, and the inputs after it were not tried."""
