"""A picture: what is known about it, and its pixels frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np

Depth = Literal[8, 16, 32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInfo:
    """All that is written back with a picture, besides its pixels; as an upright picture has it."""

    format: str  # "PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM", "TGA", "QOI" or "JPEG2000"
    width: int
    height: int
    channels: int  # 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; alpha is never premultiplied
    depth: Depth  # bits of a sample; 32 is float
    frames: int = 1  # of an animation, or pages
    durations: tuple[float, ...] = ()  # milliseconds of each frame of an animation; empty for stills and pages
    plays: int = 0  # how often an animation is shown; 0 is for ever
    lossless: bool = True  # False if the file was compressed with loss
    icc: bytes | None = None
    exif: bytes | None = None  # from the byte-order mark on, without "Exif\0\0"
    xmp: bytes | None = None
    iptc: bytes | None = None  # the records, without the wrapping of any file format
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None  # of a JPEG or GIF
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # of a PNG: kind and data, colour tags and texts
    warnings: tuple[str, ...] = ()  # what reading could not keep

    @property
    def has_alpha(self) -> bool:
        return self.channels in (2, 4)


class Picture:
    """An open picture: `info`, and `frames`, each (H, W, C) uint8, uint16 or float32, C-contiguous, read once.

    A still gives one frame. Float samples come as stored, usually in [0, 1]. Damage that shows only while pixels are
    decoded raises BadInput from `frames`.
    """

    def __init__(self, info: PictureInfo, frames: Iterator[np.ndarray], close: Callable[[], None]) -> None:
        self.info = info
        self.frames = frames
        self._close = close

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Picture:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
