"""Facts that an image file stores, and the bounded access to its bytes."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

LONGEST = 1 << 26  # bytes read at a time, and of one block of metadata
MOST_PARTS = 20_000  # chunks, segments, boxes, tags


class Unclear(Exception):
    """The bytes make no sense, or there are more of them than a look should read."""


@dataclass(slots=True)
class Stored:
    """What is in the bytes of one file; empty or 0 where it is not there."""

    bits: int = 0  # of the deepest sample
    further_samples: int = 0  # of a TIFF, besides colours
    size: tuple[int, int] = (0, 0)  # of the picture, as stored: not turned
    copies: list[tuple[int, int]] = field(default_factory=list)  # sizes of reduced copies among the pages of a TIFF
    points: tuple[int, int] | None = None  # primaries and transfer characteristics (H.273)
    narrow: bool = False  # the code points are those of samples in narrow range
    profile: bytes = b""
    packet: bytes = b""  # XMP
    extensions: list[bytes] = field(default_factory=list)  # of XMP, each with GUID, length and offset
    resources: dict[int, bytes] = field(default_factory=dict)  # Photoshop's, by number
    place: dict[int, tuple[float, ...] | str] = field(default_factory=dict)  # GeoTIFF tags
    others: dict[str, int] = field(default_factory=dict)  # data besides the image, in bytes: clips, gain maps ...
    damaged: list[str] = field(default_factory=list)  # kinds of PNG chunks with a wrong checksum


class Bytes:
    """A file, read in bounded parts. Raises Unclear beyond its end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = stream.seek(0, io.SEEK_END)

    def part(self, at: int, size: int) -> bytes:
        if not 0 <= at <= at + size <= self.size or size > LONGEST:
            raise Unclear(f"{size:,} bytes at {at:,} are not there, or are too many")
        self._stream.seek(at)
        return self._stream.read(size)

    def numbers(self, form: str, at: int) -> tuple:
        return struct.unpack(form, self.part(at, struct.calcsize(form)))


def resources_in(block: bytes) -> dict[int, bytes]:
    """Return Photoshop's resources of a block by number."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 12 <= len(block) and block[at : at + 4] == b"8BIM" and len(found) < MOST_PARTS:
        name = block[at + 6] + 1
        start = at + 6 + name + name % 2 + 4
        size = int.from_bytes(block[start - 4 : start], "big")
        found[int.from_bytes(block[at + 4 : at + 6], "big")] = block[start : start + size]
        at = start + size + size % 2
    return found
