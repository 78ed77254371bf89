"""The page on which results are looked at: slider, blink, zoom, difference, and the numbers.

What a page shows is described here; a command fills it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Column:
    """What is compared: the reference, or one result, in every view."""

    label: str  # such as "reference", "a.png" or "dagan-x4-real, denoise 0.5"
    facts: Sequence[tuple[str, str]] = ()  # name and value, such as ("whole job", "about 3 min")
    command: str = ""  # to copy


@dataclass(frozen=True, slots=True)
class View:
    """One place that is shown in all columns: an image, a crop, a frame, or a second of a video."""

    title: str  # such as "baby.png" or "frame 48, 0:02.000"
    images: Sequence[Sequence[np.ndarray]]  # per column its frames, uint8 (H, W, 3), all of one size; a still has one
    scores: Sequence[Sequence[str]] = ()  # per column one value for each of `Viewer.scores`; empty without a reference
    note: str = ""  # such as "most detail", or "worst by PSNR-Y"
    seconds: float | None = None  # time in the video, for the scrubber
    rate: float = 0.0  # frames per second, if there are several frames


@dataclass(frozen=True, slots=True)
class Curve:
    """One score of each column over the frames of a video."""

    title: str  # such as "PSNR-Y, dB"
    seconds: Sequence[float]
    values: Sequence[Sequence[float | None]]  # per column; None where there is no value


@dataclass(frozen=True, slots=True)
class Viewer:
    """A page to look at results."""

    title: str
    lead: str  # one or two sentences below the title
    columns: Sequence[Column]
    views: Sequence[View]  # the first one is shown first
    scores: Sequence[str] = ()  # names of the scores, such as "PSNR-Y, dB"
    table: Sequence[Sequence[str]] = ()  # all numbers: a row of heads, then rows; may list more than the views
    curves: Sequence[Curve] = field(default=())
    notes: Sequence[str] = ()  # plain sentences below the table, such as the protocol
