"""Analyse a source: what its file declares about its compression, and what its pixels show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np

from dagan_cli.analysis.blocking import Blocking, Grid, blocking_of
from dagan_cli.analysis.compression import bits_per_pixel, declared_quality, quantiser_quality, rate_quality
from dagan_cli.analysis.content import Content, combing_of, content_of
from dagan_cli.analysis.noise import noise_of
from dagan_cli.analysis.patches import CELL, Patches, patches_of, patches_of_luma
from dagan_cli.analysis.sharpness import resolution_of
from dagan_cli.errors import DaganError
from dagan_cli.media.excerpt import Excerpt, excerpts
from dagan_cli.media.images.info import PictureInfo

_RESAVED = 85  # a JPEG of at least this quality may have been one of a lower quality before
_LOWER = 10  # by which the earlier quality must be lower
_LOSSLESS = {"apng", "ffv1", "ffvhuff", "gif", "huffyuv", "magicyuv", "png", "qtrle", "rawvideo", "utvideo", "v210"}
_JPEG_INSIDE = {*_LOSSLESS, "mjpeg"}  # their pixels may show the steps of JPEG
_COMBED = 0.3  # share of frames
_WORDS: dict[Content, str] = {"photo": "photograph", "drawing": "drawing", "screen": "screenshot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Measurements of a source. None: not measurable, as in an image of one pixel, or of one colour."""

    quality: int | None = None  # 1 to 100, JPEG's scale or its equivalent; None: lossless, or unknown
    quality_from: Literal["file", "pixels"] | None = None  # "file": its tables or rate; "pixels": an estimate
    bits_per_pixel: float | None = None  # of a lossy file: of an image, or of a key frame of a video
    codec: str = ""  # of a video, as FFmpeg names it; or the format of an image
    noise: float | None = None  # standard deviation in 8-bit code values, of luma; an estimate
    grain: bool = False  # the noise of neighbouring pixels is correlated
    resolution: float | None = None  # 0 to 1; 1: as sharp as its pixels allow; an estimate
    content: Content | None = None  # an estimate
    blocking: float | None = None  # steps at the borders of blocks above those next to them, in 8-bit code values
    interlaced: bool = False  # declared, or lines of two times are seen; only of a video

    def describe(self) -> str:
        """Return the words: "JPEG quality about 60 (from the file), some noise (sigma 4), sharp, photograph"; or ""."""
        words = [self._compression(), self._noise(), self._sharpness()]
        words.append("visible blocks" if (self.blocking or 0) >= 0.5 else "")
        words.append("interlaced" if self.interlaced else "")
        words.append(_WORDS[self.content] if self.content else "")
        return ", ".join(filter(None, words))

    def _compression(self) -> str:
        if self.quality is None and self.bits_per_pixel is None:
            return "no traces of compression" if self.content else ""
        if self.quality is None:
            return "compressed, of unknown quality"
        if self.quality_from != "file":
            return f"JPEG quality about {self.quality} (from its pixels)"
        if self.codec in ("JPEG", "mjpeg"):
            return f"JPEG quality about {self.quality} (from the file)"
        return f"as compressed as a JPEG of quality {self.quality}"

    def _noise(self) -> str:
        if self.noise is None:
            return ""
        kind = "grain" if self.grain else "noise"
        if self.noise < 2:
            return "no noise"
        much = "little" if self.noise < 4 else "some" if self.noise < 10 else "strong"
        return f"{much} {kind} (sigma {self.noise:.0f})"

    def _sharpness(self) -> str:
        if self.resolution is None:
            return ""
        if self.resolution >= 0.95:  # below, `auto` takes the model for degraded sources: the word is to say why
            return "sharp"
        if self.resolution >= 0.75:
            return "a little soft"
        return "soft" if self.resolution >= 0.55 else f"blurred, as if enlarged {1 / self.resolution:.1f} times"


def analyse_image(path: Path | bytes, pixels: np.ndarray, info: PictureInfo) -> Analysis:
    """Analyse an image by its file and its first frame (H, W, C), as `open_picture` yields it. Raises nothing.

    Estimates from pixels are rounded: they are the same on every machine.
    """
    quality, bits = declared_quality(path, info), bits_per_pixel(path, info)
    known = Analysis(
        quality=quality,
        quality_from=None if quality is None else "file",
        bits_per_pixel=_rounded(bits, 3),
        codec=info.format,
    )
    patches = patches_of(pixels)
    if patches is None:
        return known
    resaved = info.lossless or (info.format == "JPEG" and quality is not None and quality >= _RESAVED)
    blocking = blocking_of(patches, search=resaved, known=_grids(info) if info.format == "JPEG" else ())
    seen = _seen(patches, blocking)
    if blocking.quality is not None and (quality is None or blocking.quality <= quality - _LOWER):
        return replace(known, quality=blocking.quality, quality_from="pixels", **seen)
    if quality is None and bits is not None:
        quality = rate_quality(info.format.lower(), bits, patches.activity)
        known = replace(known, quality=quality, quality_from=None if quality is None else "file")
    return replace(known, **seen)


def analyse_video(path: Path) -> Analysis:
    """Analyse a video by a few frames spread across it; each estimate is the median of theirs. Raises nothing."""
    frames = []
    try:
        for excerpt in excerpts(path):
            frames.append(_frame(excerpt))
    except DaganError:  # what was read until then counts
        pass
    return _combined(frames) if frames else Analysis()


def _grids(info: PictureInfo) -> tuple[Grid, ...]:
    """Return the grids that the blocks of a JPEG may have after its image was turned upright."""
    return tuple(dict.fromkeys(product((0, info.height % CELL), (0, info.width % CELL))))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Measurements of one frame."""

    key: bool
    codec: str
    by_quantiser: int | None  # quality
    by_rate: int | None
    seen: Analysis | None  # of key frames
    flagged: bool
    combed: bool
    bits: float | None


def _frame(excerpt: Excerpt) -> _Frame:
    layout = excerpt.layout
    patches = None
    if excerpt.planes and layout is not None:
        if layout.matrix == "rgb" and layout.chroma == "rgb":
            pixels = np.stack(excerpt.planes[:3], axis=2)
            patches = patches_of(pixels if layout.depth == 8 else pixels << (16 - layout.depth))
        else:
            patches = patches_of_luma(excerpt.planes[0], layout.depth, layout.full_range)
    lossy = excerpt.codec not in _LOSSLESS
    bits = None
    if excerpt.bits is not None and excerpt.planes and lossy:
        bits = excerpt.bits / excerpt.planes[0].size
    seen = None
    if patches is not None and excerpt.is_key:
        blocking = blocking_of(patches, search=excerpt.codec in _JPEG_INSIDE)
        seen = Analysis(quality=blocking.quality, **_seen(patches, blocking))
    return _Frame(
        key=excerpt.is_key,
        codec=excerpt.codec,
        by_quantiser=_by_quantiser(excerpt),
        by_rate=rate_quality(excerpt.codec, bits, patches.activity) if bits and patches else None,
        seen=seen,
        flagged=excerpt.interlaced,
        combed=patches is not None and combing_of(patches),
        bits=bits,
    )


def _by_quantiser(excerpt: Excerpt) -> int | None:
    if excerpt.quantiser is None:
        return None
    depth = excerpt.layout.depth if excerpt.layout and excerpt.codec == "h264" else 8
    return quantiser_quality(excerpt.codec, excerpt.quantiser - 6 * (depth - 8))  # six for each bit more


def _combined(frames: list[_Frame]) -> Analysis:
    pixels = [frame.seen for frame in frames if frame.seen]
    by_quantiser, by_rate, by_pixels = (
        _median(values)
        for values in (
            (frame.by_quantiser for frame in frames),
            (frame.by_rate for frame in frames),
            (one.quality for one in pixels),
        )
    )
    declared = by_quantiser if by_quantiser is not None else by_rate
    quality = by_pixels if by_pixels is not None else declared
    return Analysis(
        quality=None if quality is None else round(quality),
        quality_from=None if quality is None else "pixels" if by_pixels is not None else "file",
        bits_per_pixel=_rounded(_median(frame.bits for frame in frames), 3),
        codec=frames[0].codec,
        noise=_rounded(_median(one.noise for one in pixels), 1),
        grain=2 * sum(one.grain for one in pixels) > len(pixels),
        resolution=_rounded(_median(one.resolution for one in pixels), 2),
        content=_most_frequent([one.content for one in pixels if one.content]),
        blocking=_rounded(_median(one.blocking for one in pixels), 1),
        interlaced=any(frame.flagged for frame in frames)
        or sum(frame.combed for frame in frames) >= max(2, _COMBED * len(frames)),
    )


def _seen(patches: Patches, blocking: Blocking) -> dict:
    """Return the fields of an `Analysis` that pixels show."""
    noise = noise_of(patches)
    content = content_of(patches)
    return {
        "noise": None if noise is None or content is None else round(noise.sigma, 1),
        "grain": noise is not None and noise.grain,
        "resolution": _rounded(resolution_of(patches), 2),
        "content": content,
        "blocking": None if content is None else round(blocking.step, 1),
    }


def _median(values: Iterable[float | None]) -> float | None:
    """Return the lower median of the known values; None without any."""
    known = sorted(value for value in values if value is not None)
    return known[(len(known) - 1) // 2] if known else None


def _most_frequent(kinds: list[Content]) -> Content | None:
    return max(kinds, key=kinds.count) if kinds else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
