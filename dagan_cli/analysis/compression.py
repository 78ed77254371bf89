"""Quality that a file itself declares: its tables and quantisers, as a quality on JPEG's scale from 1 to 100.

Numbers of other codecs become the quality of the JPEG with the same error (PSNR of luma), measured on photographs.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import log2
from pathlib import Path
from typing import BinaryIO

from dagan_cli.analysis.curves import between
from dagan_cli.files import open_regular
from dagan_cli.media.boxes.isobmff import boxes
from dagan_cli.media.images.info import PictureInfo

# Luma table of ITU-T T.81, K.1, by rows; libjpeg scales it by the quality.
STANDARD_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))

# Quantiser of a codec, and the equivalent quality of JPEG.
_WEBP = ((0, 98), (4, 96), (9, 94), (14, 90), (20, 86), (26, 81), (33, 74), (39, 68), (45, 59), (61, 31), (84, 15),
         (127, 5))  # fmt: skip
_H264 = ((0, 100), (8, 98), (16, 96), (20, 93), (24, 88), (28, 79), (32, 54), (36, 25), (40, 12), (45, 6), (51, 1))
_MPEG4 = ((1, 97), (2, 94), (4, 86), (6, 76), (10, 44), (16, 19), (25, 10), (31, 6))
_MPEG2 = ((1, 95), (2, 91), (4, 81), (6, 68), (10, 38), (16, 18), (25, 11), (31, 8))
_VP9 = ((0, 100), (30, 95), (60, 91), (100, 82), (128, 70), (160, 40), (200, 12), (255, 1))
_QUANTISERS = {
    "h264": _H264,
    "vp9": _VP9,
    **dict.fromkeys(("mpeg1video", "mpeg2video"), _MPEG2),
    **dict.fromkeys(("mpeg4", "msmpeg4v2", "msmpeg4v3", "flv1", "h263", "wmv1", "wmv2"), _MPEG4),
}
# Bits per pixel of an image or key frame, by the activity of its luma to the power of 0.85, as logarithm to base 2.
_RATES = ((-6, 5), (-5, 12), (-4.5, 15), (-4, 23), (-3.5, 49), (-3, 71), (-2.5, 83), (-2, 90), (-1.5, 95), (-0.5, 98))
_EFFICIENCY = {"hevc": 0.0, "av1": 0.0, "avif": -0.1, "heic": -0.1, "vvc": 0.3, "h264": -0.2, "vp9": -0.1, "vp8": -0.4}
_OTHERS = -0.8  # logarithm of the efficiency of older codecs

_MOST_PARTS = 1000  # segments or chunks of a file that are walked
_SCAN = 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def declared_quality(path: Path | bytes, info: PictureInfo) -> int | None:
    """Return the quality that the tables of a JPEG, or the quantiser of a WebP, stand for; None without one."""
    read = {"JPEG": _jpeg_quality, "WEBP": _webp_quality}.get(info.format)
    if read is None or info.lossless:
        return None
    try:
        with _opened(path) as file:
            return read(file)
    except (OSError, struct.error, IndexError):  # damaged, or gone
        return None


def bits_per_pixel(path: Path | bytes, info: PictureInfo) -> float | None:
    """Return the bits per pixel of a lossy image, without its metadata; None if it is lossless."""
    if info.lossless:
        return None
    try:
        with _opened(path) as file:
            size = file.seek(0, io.SEEK_END)
            if info.format in ("AVIF", "HEIC"):
                size = sum(end - begin for kind, begin, end in boxes(file, 0, size) if kind == b"mdat")
            else:
                size -= sum(len(block or b"") for block in (info.exif, info.xmp, info.iptc, info.photoshop, info.icc))
    except OSError:
        return None
    return max(0, size) * 8 / (info.width * info.height * info.frames)


def _opened(path: Path | bytes) -> BinaryIO:
    return io.BytesIO(path) if isinstance(path, bytes) else open_regular(path)


def quantiser_quality(codec: str, quantiser: float) -> int | None:
    """Return the quality of a frame by its mean quantiser; None for an unknown codec."""
    table = _QUANTISERS.get(codec)
    return round(between(table, quantiser)) if table else None


def rate_quality(codec: str, bits: float, activity: float) -> int | None:
    """Return the quality of an image or key frame of `bits` per pixel; None if there is nothing to compress.

    `activity` is the mean difference of neighbouring pixels in 8-bit code values: more of it needs more bits.
    """
    if bits <= 0 or activity <= 0:
        return None
    return round(between(_RATES, log2(bits) - 0.85 * log2(activity) + _EFFICIENCY.get(codec, _OTHERS)))


@cache
def luma_table(quality: int) -> tuple[int, ...]:
    """Return the table that libjpeg makes for a quality from 1 to 100, by rows."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(255, max(1, (step * scale + 50) // 100)) for step in STANDARD_LUMA)


def quality_of_steps(steps: Sequence[int], standard: Sequence[int]) -> int:
    """Return the quality whose steps have the same mean ratio to those of the standard table."""
    scale = 100 * sum(step / usual for step, usual in zip(steps, standard, strict=True)) / len(steps)
    return max(1, min(100, round((200 - scale) / 2 if scale <= 100 else 5000 / scale)))


def _jpeg_quality(file: BinaryIO) -> int | None:
    """Return the quality of the table of the first component, which is luma, by ITU-T T.81, annex B."""
    file.seek(2)
    tables: dict[int, tuple[int, ...]] = {}
    used = 0
    for _ in range(_MOST_PARTS):
        (marker,) = struct.unpack(">H", file.read(2))
        while marker == 0xFFFF:  # fill bytes
            marker = 0xFF00 | file.read(1)[0]
        if marker & 0xFF == _SCAN or marker < 0xFF00:
            break
        (size,) = struct.unpack(">H", file.read(2))
        if marker & 0xFF == 0xDB:
            tables |= _quantisation_tables(file.read(max(0, size - 2)))
        elif marker & 0xFF in _FRAMES:
            used = file.read(max(0, size - 2))[8]
        else:
            file.seek(max(0, size - 2), io.SEEK_CUR)
    table = tables.get(used)
    if table is None:
        return None
    for quality in range(100, 0, -1):
        if luma_table(quality) == table:
            return quality
    return quality_of_steps(table, STANDARD_LUMA)


def _quantisation_tables(data: bytes) -> dict[int, tuple[int, ...]]:
    """Return the tables of a segment, by their number, in rows."""
    tables, at = {}, 0
    while at < len(data):
        deep, number = data[at] >> 4, data[at] & 15
        steps = struct.unpack_from(">64H" if deep else "64B", data, at + 1)
        rows = [0] * 64
        for place, step in zip(_ZIGZAG, steps, strict=True):
            rows[place] = step
        tables[number] = tuple(rows)
        at += 1 + 64 * (1 + bool(deep))
    return tables


def _webp_quality(file: BinaryIO) -> int | None:
    """Return the quality of the first lossy frame."""
    file.seek(12)
    for _ in range(_MOST_PARTS):
        kind, size = struct.unpack("<4sI", file.read(8))
        if kind == b"VP8 ":
            return _vp8_quality(file.read(min(size, 256)))
        if kind == b"VP8L":
            return None
        file.seek(16 if kind == b"ANMF" else size + size % 2, io.SEEK_CUR)  # a frame holds chunks again
    return None


def _vp8_quality(data: bytes) -> int | None:
    """Return the quality of a key frame by its header: RFC 6386, sections 9.1 to 9.6 and 19.2."""
    if len(data) < 12 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    bits = _Bits(data[10:])
    bits.number(2)  # colour space, clamping
    deltas, absolute = [0], False
    if bits.flag():  # segments
        has_map = bits.flag()
        if bits.flag():
            absolute = bits.flag()
            deltas = [bits.signed(7) for _ in range(4)]
            for _ in range(4):
                bits.signed(6)  # strength of the loop filter
        for _ in range(3 * has_map):
            if bits.flag():
                bits.number(8)
    bits.number(10)  # filter: its type, level and sharpness
    if bits.flag() and bits.flag():
        for _ in range(8):
            bits.signed(6)
    bits.number(2)  # partitions
    base = 0 if absolute else bits.number(7)
    return round(between(_WEBP, sum(min(127, max(0, base + delta)) for delta in deltas) / len(deltas)))


@dataclass(slots=True)
class _Bits:
    """Reads the bits of a boolean decoder (RFC 6386, section 7) whose probabilities are all a half; 0 after its end."""

    data: bytes
    at: int = 2
    range: int = 255
    shifted: int = 0
    value: int = field(init=False)

    def __post_init__(self) -> None:
        self.value = int.from_bytes(self.data[:2].ljust(2, b"\0"), "big")

    def flag(self) -> bool:
        split = 1 + ((self.range - 1) * 128 >> 8)
        found = self.value >= split << 8
        if found:
            self.range, self.value = self.range - split, self.value - (split << 8)
        else:
            self.range = split
        while self.range < 128:
            self.range, self.value, self.shifted = self.range << 1, self.value << 1, self.shifted + 1
            if self.shifted == 8:
                self.value |= self.data[self.at] if self.at < len(self.data) else 0
                self.at, self.shifted = self.at + 1, 0
        return found

    def number(self, bits: int) -> int:
        found = 0
        for _ in range(bits):
            found = found << 1 | self.flag()
        return found

    def signed(self, bits: int) -> int:
        """Return an optional number: 0 if it is not stored."""
        if not self.flag():
            return 0
        size = self.number(bits)
        return -size if self.flag() else size
