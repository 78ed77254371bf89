"""What a preview has found: models with their cost and command, and places with their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dagan_cli.pages.viewer import Column, View, Viewer
from dagan_cli.preview.places import Box
from dagan_cli.upscale.events import paths_to_json

INPUT = "input (nearest)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A model that the whole job could use."""

    model: str  # as options name it
    why: str = ""  # what the input is, if dagan chose the model for that
    seconds: float  # of the whole job, as a dry run estimates it
    at_least: bool  # the number of frames is unknown
    output: Path  # that the command writes
    command: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place of the input, through all models."""

    why: str
    box: Box  # input pixels
    time: float | None  # of a film, seconds from its start
    rate: float  # frames per second; 0 for a still
    images: Sequence[Sequence[np.ndarray]]  # of the input and of each option, its frames (h, w, 3) uint8

    @property
    def title(self) -> str:
        """Where it is: "at 32, 48" or "0:12.480, at 32, 48"."""
        at = f"at {self.box.left}, {self.box.top}"
        return at if self.time is None else f"{clock(self.time)}, {at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A preview of one input."""

    path: Path
    kind: str  # "picture" or "video"
    in_size: tuple[int, int]  # (width, height)
    out_size: tuple[int, int]
    options: Sequence[Option]
    spots: Sequence[Spot]
    notes: Sequence[str]
    seconds: dict[str, float]  # where the time of the preview went, by step

    def viewer(self) -> Viewer:
        """Return the page."""
        columns = [Column(INPUT)]
        for option in self.options:
            facts = [("whole job", in_words(option.seconds, option.at_least))]
            facts += [("chosen, as the input is", option.why)] if option.why else []
            facts += [("warning", warning) for warning in option.warnings]
            columns.append(Column(option.model, facts, option.command))
        views = [View(s.title, s.images, note=s.why, seconds=s.time, rate=s.rate) for s in self.spots]
        (w, h), (width, height) = self.in_size, self.out_size
        models = "1 model" if len(self.options) == 1 else f"{len(self.options)} models"
        lead = f"{w}x{h} to {width}x{height}, through {models}. Times are for the whole job."
        return Viewer(f"Preview of {self.path.name}", lead, columns, views, notes=self.notes)

    def to_json(self, page: Path) -> dict[str, Any]:
        """Return the document of `--json`, with the path of the page."""
        return {
            **paths_to_json(input=self.path, page=page),
            "kind": "image" if self.kind == "picture" else "video",
            "in_size": list(self.in_size),
            "out_size": list(self.out_size),
            "models": [
                {
                    "model": option.model,
                    "why": option.why or None,
                    "seconds": round(option.seconds, 3),
                    "at_least": option.at_least,
                    **paths_to_json(output=option.output),
                    "command": option.command.encode("utf-8", "backslashreplace").decode(),
                    "warnings": list(option.warnings),
                }
                for option in self.options
            ],
            "places": [
                {
                    "why": spot.why,
                    "left": spot.box.left,
                    "top": spot.box.top,
                    "width": spot.box.width,
                    "height": spot.box.height,
                    "time": None if spot.time is None else round(spot.time, 3),
                    "frames": len(spot.images[0]),
                    "rate": round(spot.rate, 3),
                }
                for spot in self.spots
            ],
            "notes": list(self.notes),
            "spent": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
        }


def in_words(seconds: float, at_least: bool = False) -> str:
    """Return a duration as an estimate: "about 3 min", "at least 2.5 h"."""
    about = "at least" if at_least else "about"
    if seconds < 1:
        return "at least 1 s" if at_least else "less than 1 s"
    if seconds < 100:
        return f"{about} {seconds:.0f} s"
    return f"{about} {seconds / 60:.0f} min" if seconds < 6000 else f"{about} {seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """Return a time of a film: "0:02.000" or "1:02:03.500"."""
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:06.3f}"
    return f"{hours}:{minutes:02}:{tail}" if hours else f"{minutes}:{tail}"
