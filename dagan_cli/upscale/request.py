"""A request to `dagan upscale` as frozen values with units, checked on construction."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from dagan_cli.errors import BadOption

if TYPE_CHECKING:  # these modules import av, which would delay --help
    from dagan_cli.engine.options import EngineOptions
    from dagan_cli.media.template import Template
    from dagan_cli.media.video.recipe import Encoding
    from dagan_cli.media.video.source import Deinterlace
    from dagan_cli.upscale.inputs.retry import Retry
    from dagan_cli.upscale.inputs.shard import Shard
    from weights.choice import ModelChoice

_NAMED_SIZES = {"720p": 720, "1080p": 1080, "1440p": 1440, "4k": 2160, "8k": 4320}


@dataclass(frozen=True, slots=True)
class Goal:
    """Size of the result: a factor, a box to fit into, or a height."""

    factor: float | None = None
    box: tuple[int, int] | None = None  # (width, height), pixels
    height: int | None = None  # pixels
    name: str = ""  # as the user wrote it, for file names: "x4", "1080p", "1920x1080"
    square: bool = False  # pixels of videos that are not square become square

    @classmethod
    def of(cls, scale: float | None, size: str | None, *, square: bool = False) -> Goal:
        """Parse --scale or --size; the default is a factor of 4. Raises BadOption for invalid values, or for both."""
        if size is None:
            factor = 4.0 if scale is None else scale
            if not (isfinite(factor) and 0 < factor <= 64):
                raise BadOption(
                    f"--scale {factor:g} is out of range", hint="use a factor above 0 and up to 64, such as -s 2"
                )
            return cls(factor=factor, name=f"x{factor:g}", square=square)
        if scale is not None:
            raise BadOption("both --scale and --size were given", hint="give one of them")
        word = size.lower()
        if word in _NAMED_SIZES or re.fullmatch(r"\d{2,5}p", word):
            return cls(height=_NAMED_SIZES.get(word) or int(word[:-1]), name=word, square=square)
        if found := re.fullmatch(r"(\d{1,6})x(\d{1,6})", word):
            width, height = int(found[1]), int(found[2])
            if min(width, height) > 0:
                return cls(box=(width, height), name=word, square=square)
        raise BadOption(f"invalid --size {size!r}", hint=f"use WxH, or one of {', '.join(_NAMED_SIZES)}")

    def factor_for(self, width: float | Fraction, height: float | Fraction) -> float:
        """Return the factor that reaches this goal from an input of this size."""
        if self.factor is not None:
            return self.factor
        if self.height is not None:
            return float(self.height / height)
        assert self.box is not None
        return float(min(self.box[0] / width, self.box[1] / height))

    def size_for(self, width: float | Fraction, height: float | Fraction, even: bool = False) -> tuple[int, int]:
        """Return (width, height) of the result; `even` makes sides even, for video, unless a factor fixes them."""
        factor = self.factor_for(width, height)
        step = 2 if even and self.factor is None else 1
        w, h = (max(step, step * int(side * factor / step + 0.5)) for side in (width, height))
        if self.box is not None:  # rounding must not exceed the box
            w, h = (max(step, min(side, most // step * step)) for side, most in zip((w, h), self.box, strict=True))
        return w, h


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a video to upscale. Raises BadOption for values out of range."""

    start: float | None = None  # seconds from the start of the file
    end: float | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        for name, seconds in (("start", self.start), ("end", self.end)):
            if seconds is not None and not 0 <= seconds < 1e9:
                raise BadOption(f"--{name} {seconds:g} is out of range", hint="use seconds from 0 up, such as 12.5")
        if self.end is not None and self.end <= (self.start or 0):
            raise BadOption("--end is not after --start", hint="use a later --end")

    @property
    def is_whole(self) -> bool:
        return self == Part()

    @property
    def name(self) -> str:
        """The part in the name of a file: "from-1.5_to-3", "frames-20"; "" for the whole video."""
        words = [
            f"{word}-{_decimal(time)}" for word, time in (("from", self.start), ("to", self.end)) if time is not None
        ]
        return "_".join([*words, *([] if self.frames is None else [f"frames-{self.frames}"])])

    def frames_of(self, total: int | None, rate: Fraction) -> int | None:
        """Estimate the frames of the part, of a video of `total` frames at `rate` per second; None: unknown."""
        if total is not None and (self.start is not None or self.end is not None):
            length = total / rate
            first, last = self.start or 0, float(length) if self.end is None else self.end
            total = max(0, round((min(last, float(length)) - first) * rate))
        return total if self.frames is None else self.frames if total is None else min(total, self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One run of `dagan upscale`."""

    inputs: tuple[str, ...]
    output: str | None
    goal: Goal
    model: ModelChoice
    engine: EngineOptions
    devices: tuple[str, ...] = ()  # of workers, one each; fewer than two: one process works, on the engine's device
    cluster: str | None = None  # auto, HOST:PORT or local:N: workers are on the nodes of a Ray cluster
    mixed_nodes: bool = False  # nodes of a cluster may compute in different ways
    template: Template | None = None  # of the names of results; None: the default names
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overwrite: bool = False
    skip_existing: bool = False  # skip existing outputs, whatever they were made from
    format: str | None = None  # of images
    quality: int = 95  # of lossy images, 1 to 100
    lossless: bool = False
    encoding: Encoding  # of videos
    part: Part = field(default_factory=lambda: Part())  # of videos
    deinterlace: Deinterlace = "auto"
    max_pixels: int = 1 << 28  # of a frame of an image
    dry_run: bool = False  # plan and estimate only; write nothing
    resume: bool = True  # continue an interrupted video
    reuse: bool = True  # reuse results of frames and tiles that equal those of the previous frame
    report: Path | None = None  # file that the report will be written to
    listed: Path | None = None  # file that the inputs were read from
    shard: Shard | None = None  # share of the inputs; None: all
    retry: Retry | None = None  # an earlier run whose open inputs are those of this one; then `inputs` is empty
    watch: bool = False  # keep looking for new files in the inputs, which are folders
    replaced: frozenset[Path] = frozenset()  # results that are made again, whatever `overwrite` is
    defaulted: frozenset[str] = frozenset()  # flags that were not given: defaults of the user's own, or of a recipe

    @property
    def own_files(self) -> list[Path]:
        """Files that the run reads besides its inputs: no result and no report may take their place."""
        model = Path(self.model.name) if self.model.name and self.model.is_fixed else None
        return [path for path in (model, self.listed) if path is not None]

    def replaces(self, target: Path) -> bool:
        """True if an existing result is made again."""
        return self.overwrite or target in self.replaced

    def without_effect(self, kinds: set[str]) -> list[str]:
        """Return the given options that change nothing on inputs of these kinds: "picture" and "video"."""
        video, part = self.encoding, self.part
        of_videos = {
            "--codec": video.codec,
            "--crf": video.crf is not None,
            "--preset": video.preset,
            "--pix-fmt": video.pix_fmt,
            "-e": video.options,
            "--audio": video.audio != "copy",
            "--streams": video.streams != "all",
            "--start": part.start is not None,
            "--end": part.end is not None,
            "--frames": part.frames,
            "--deinterlace": self.deinterlace != "auto",
            "--square": self.goal.square,
        }
        of_images = {"--format": self.format, "--quality": self.quality != 95, "--lossless": self.lossless}
        absent = {} if "video" in kinds else of_videos
        absent |= {} if "picture" in kinds else of_images
        return [flag for flag, given in absent.items() if given and flag not in self.defaulted]

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise BadOption(
                f"--quality {self.quality} is out of range", hint="use 1 to 100; at 95 hardly any loss is visible"
            )
        if self.encoding.crf is not None and not 0 <= self.encoding.crf <= 63:
            raise BadOption(
                f"--crf {self.encoding.crf:g} is out of range",
                hint="use 0 to 51, or to 63 for AV1 and VP9; lower is better",
            )


def _decimal(seconds: float) -> str:
    """Return a time to the microsecond, without an exponent: "1.5"."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
