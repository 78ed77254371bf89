"""Draw the degradation of one sample: a recipe of plain values, which is also its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import pi
from typing import Any, TypeVar

import numpy as np

from trainer.degradations import strengths as odds
from trainer.degradations.blur import Blur
from trainer.degradations.noise import Noise
from trainer.degradations.resize import Kernel
from trainer.degradations.still import Still
from trainer.degradations.strengths import CodecName, Encoder, Range, Ranges, Whole
from trainer.degradations.video import BLOCK, Clip

T = TypeVar("T", bound=str)

FARTHEST = 6  # largest offset in LR pixels of a frame of a clip from the frame that is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Blur, then resize, then noise."""

    blur: Blur | None
    ratio: float  # the size afterwards, as a multiple of the LR size
    kernel: Kernel
    noise: Noise | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The complete degradation of one sample."""

    passes: tuple[Pass, ...]
    final: Kernel  # kernel of the resize to the LR size
    codec: Still | Clip | None
    missing: CodecName | None = None  # the drawn encoder, if FFmpeg lacks it and `codec` replaces it

    def log(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)


def draw_recipe(random: np.random.Generator, ranges: Ranges, scale: int, encoders: frozenset[Encoder]) -> Recipe:
    """Draw the recipe of one sample. encoders: those available in this FFmpeg."""
    passes = [_pass(random, ranges, float(scale), 1.0)]
    if random.random() < odds.SECOND:
        passes.append(_pass(random, ranges, passes[0].ratio, odds.SECOND_SHARE))
    final = _kernel(random, shrinking=passes[-1].ratio > 1)
    drawn = name = _one_of(random, odds.CODECS)
    if name not in ("none", "jpeg", "webp", *encoders):
        present: dict[CodecName, float] = {encoder: odds.CODECS[encoder] for encoder in sorted(encoders)}
        name = _one_of(random, present) if present else "jpeg"
    codec = _codec(random, ranges, name, scale)
    return Recipe(passes=tuple(passes), final=final, codec=codec, missing=None if name == drawn else drawn)


def _pass(random: np.random.Generator, ranges: Ranges, size: float, share: float) -> Pass:
    """Draw a pass over an image of `size` times the LR size, with `share` of the strength."""
    blur = _blur(random, ranges, size, share) if random.random() < ranges.blur else None
    ratio = _even(random, ranges.ratio) if random.random() < ranges.resize else 1.0
    kernel = _kernel(random, shrinking=ratio < size)
    noise = None
    if random.random() < ranges.noise:
        noise = Noise(
            kind="poisson" if random.random() < odds.POISSON else "gaussian",
            deviation=share * _even(random, ranges.deviation),
            grey=bool(random.random() < odds.GREY_NOISE),
        )
    return Pass(blur=blur, ratio=ratio, kernel=kernel, noise=noise)


def _blur(random: np.random.Generator, ranges: Ranges, size: float, share: float) -> Blur:
    kind = _one_of(random, odds.BLURS)
    angle = _even(random, (0, pi))
    if kind == "motion":
        return Blur(kind="motion", angle=angle, length=share * size * _even(random, ranges.motion))
    if kind == "sinc":
        return Blur(kind="sinc", cutoff=min(pi, pi / size * _even(random, ranges.cutoff)))
    first, second = (share * size * _even(random, ranges.sigma) for _ in range(2))
    if kind == "gaussian":
        return Blur(kind="gaussian", sigma=(first, first))
    if kind == "stretched":
        return Blur(kind="gaussian", sigma=(first, second), angle=angle)
    shape = _even(random, (0.5, 4.0) if kind == "generalised" else (1.0, 2.0))
    return Blur(kind=kind, sigma=(first, second), angle=angle, shape=shape)


def _codec(random: np.random.Generator, ranges: Ranges, name: CodecName, scale: int) -> Still | Clip | None:
    if name == "none":
        return None
    grid = _whole(random, (0, BLOCK - 1)), _whole(random, (0, BLOCK - 1))
    if name == "jpeg":
        chroma = "444" if random.random() < odds.JPEG_444 else "420"
        return Still(codec="jpeg", quality=_whole(random, ranges.jpeg), chroma=chroma, grid=grid)
    if name == "webp":
        return Still(codec="webp", quality=_whole(random, ranges.webp), grid=grid)
    modern = name in ("libx264", "libx265")
    quality = {"libx264": ranges.x264, "libx265": ranges.x265}.get(name, ranges.mpeg)
    matrix, other = ("bt601", "bt709") if random.random() < 0.5 else ("bt709", "bt601")
    clip = Clip(
        encoder=name,
        quality=_whole(random, quality),
        preset=_one_of(random, odds.PRESETS) if modern else "",
        blocks=32 if name == "libx265" and random.random() < 0.5 else 16,
        b_frames=_whole(random, (0, 3 if modern else 2)),
        moves=((0, 0),) * _whole(random, (5, 7)),
        matrix=matrix,
        shown_as=other if random.random() < odds.WRONG_MATRIX else matrix,
        siting=_one_of(random, odds.SITINGS),
        grid=grid,
    )
    return replace(clip, moves=_moves(random, len(clip.moves), clip.taken, scale))


def _moves(random: np.random.Generator, frames: int, taken: int, scale: int) -> tuple[tuple[int, int], ...]:
    """Draw a steady pan with jitter, in HR pixels, mostly not whole LR pixels; the taken frame has offset 0."""
    moving = random.random() >= odds.STANDING
    pan, tremble = random.normal(0, odds.PAN, 2), random.normal(0, odds.TREMBLE, (frames, 2))
    place = moving * (np.arange(frames)[:, None] * pan + tremble)
    steps = np.rint(scale * (place - place[taken]).clip(-FARTHEST, FARTHEST)).astype(int)
    return tuple((int(y), int(x)) for y, x in steps)


def _kernel(random: np.random.Generator, *, shrinking: bool) -> Kernel:
    return _one_of(random, odds.SHRINKING if shrinking else odds.ENLARGING)


def _one_of(random: np.random.Generator, shares: Mapping[T, float]) -> T:
    names = list(shares)
    share = np.array(list(shares.values()))
    return names[random.choice(len(names), p=share / share.sum())]


def _even(random: np.random.Generator, between: Range) -> float:
    return float(random.uniform(*between))


def _whole(random: np.random.Generator, between: Whole) -> int:
    """Draw a whole number, both ends included."""
    return int(random.integers(between[0], between[1] + 1))
