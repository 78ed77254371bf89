"""An image: its properties, and its pixels frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Literal

import numpy as np

from dagan_cli.media.images.blocks.code_points import CodePoints
from dagan_cli.media.images.blocks.geotiff import GeoTags

Depth = Literal[8, 16, 32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInfo:
    """Properties and metadata of an image, to be written back with its pixels; they describe the upright image."""

    format: str  # as `media.sniff` names it: "PNG", "JPEG", "WEBP" ...
    width: int
    height: int
    channels: int  # 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; alpha is never premultiplied
    depth: Depth  # bits per sample; 32 is float
    frames: int = 1  # number of frames of an animation, or of pages
    durations: tuple[float, ...] = ()  # milliseconds of each frame of an animation; empty for stills and pages
    plays: int = 0  # how often an animation is played; 0 is forever
    lossless: bool = True  # False if the file was compressed with loss
    icc: bytes | None = None
    colour: CodePoints | None = None  # code points of AVIF and PNG; a PNG's outrank its profile, an AVIF's do not
    exif: bytes | None = None  # from the byte-order mark on, without "Exif\0\0"
    xmp: bytes | None = None
    iptc: bytes | None = None  # the records, without the wrapping of any file format
    photoshop: bytes | None = None  # Photoshop's other resources: clipping paths, copyright flag, URL
    geo: GeoTags = ()  # where a TIFF lies on the map
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None  # JPEG or GIF comment
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # PNG chunks (kind, data): other colour tags and texts
    warnings: tuple[str, ...] = ()  # losses on reading

    @property
    def has_alpha(self) -> bool:
        return self.channels in (2, 4)


class Picture:
    """An open image: `info`, and `frames`, each (H, W, C) uint8, uint16 or float32, C-contiguous, readable once.

    A still has one frame. Float samples are returned as stored, usually in [0, 1]. Damage that is found only while
    pixels are decoded raises BadInput from `frames`.
    """

    def __init__(self, info: PictureInfo, frames: Iterator[np.ndarray], close: Callable[[], None]) -> None:
        self.info = info
        self.frames = frames
        self._close = close

    def peek(self) -> np.ndarray:
        """Return the next frame; `frames` still yields it. Raises BadInput like `frames`."""
        frame = next(self.frames)
        self.frames = chain([frame], self.frames)
        return frame

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Picture:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
