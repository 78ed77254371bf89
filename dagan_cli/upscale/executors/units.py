"""Units of work for workers, their answers and their messages. All can be sent to another process or machine."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.media.video.mux import FilePlan
from dagan_cli.media.video.split.timeline import Stretch
from dagan_cli.upscale.events import Event
from dagan_cli.upscale.job import Job
from dagan_cli.upscale.used import Used
from weights.choice import ModelChoice


@dataclass(frozen=True, slots=True)
class Inputs:
    """Upscale whole inputs, as one process would: images, or a video that cannot be cut. The answer is `Left`."""

    jobs: tuple[Job, ...]
    waits: bool = False  # for other processes that write the same results


@dataclass(frozen=True, slots=True)
class Left:
    """The inputs of a unit are told as Items; `jobs` are those whose results other processes are writing."""

    jobs: tuple[Job, ...]
    used: tuple[Used, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Choose the model for a video. The answer is `Seen`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """The model for a video, as it runs on the worker."""

    choice: ModelChoice
    used: Used


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Upscale and encode one segment of a video into a new file in a work folder. The answer is `Made`."""

    path: Path
    plan: FilePlan
    choice: ModelChoice
    signature: str  # of the model on the worker that looked at the video: frames of another kind would not fit
    stretch: Stretch
    folder: Path
    number: int  # of the segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A segment is encoded."""

    name: str  # of its file in the folder
    durations: list[int]  # of its frames, ticks
    before: str  # digest of the source's frame before the first one; "" if there is none
    last: str  # digest of the source's frame that is the last one
    has_captions: bool
    reused: int  # tiles that were reused from the frame before
    tiles: int  # all tiles
    notices: tuple[str, ...]
    used: Used


Unit = Inputs | Look | Piece
Answer = Left | Seen | Made


@dataclass(frozen=True, slots=True)
class Told:
    """A worker tells an event of its unit."""

    event: Event


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has done its unit."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Raised:
    """A unit has ended with an error, and the worker goes on; `is_fatal`: every unit on it would."""

    error: Exception
    is_fatal: bool = False


@dataclass(frozen=True, slots=True)
class Died:
    """A worker has died, with the unit that it had."""

    reason: str


Message = Told | Done | Raised | Died


def sendable(error: Exception) -> Exception:
    """Return an error that another process can receive: some of libraries cannot be sent, or not be made again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its own code raises
        return RuntimeError(repr(error))
    return error


class WorkerDied(Exception):
    """Workers have died over a unit as often as it may be repeated."""


class OtherKind(Exception):
    """A worker computes in another way than the one that began the video: its pixels would differ."""
