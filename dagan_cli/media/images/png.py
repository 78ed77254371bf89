"""PNG at chunk level, for what Pillow does not read or write: 16 bits, colour tags, animation frame by frame.

Follows the PNG specification, third edition: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from typing import BinaryIO

import numpy as np

from dagan_cli.media.images.blocks.code_points import CodePoints
from dagan_cli.media.images.png_pixels import compressed

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LIGHT_TAGS = frozenset({b"mDCV", b"cLLI"})  # mastering display and content light of HDR images
COLOUR_TAGS = frozenset({b"gAMA", b"cHRM", b"sRGB"}) | LIGHT_TAGS
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP = b"XML:com.adobe.xmp"
_READ_AS_METADATA = (_XMP, b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp")
_OF_AN_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG colour type
_PIECE = 1 << 22  # bytes of a chunk read at a time


def read_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of each chunk, in order; compressed pixels are skipped, their data is b""."""
    stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"fdAT"):
            stream.seek(size, io.SEEK_CUR)
            yield kind, b""
        else:
            yield kind, stream.read(size)
        stream.seek(4, io.SEEK_CUR)


def without_damaged_chunks(stream: BinaryIO) -> tuple[BinaryIO, list[str]]:
    """Return the file without the ancillary chunks whose checksum is wrong, and their kinds; else `stream` itself.

    The image can be decoded without them (PNG, 13.2). Chunks of an animation stay: without one, others would not fit.
    """
    kinds: list[str] = []
    ranges: list[tuple[int, int]] = []
    at = stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            break
        if kind[:1].islower() and kind not in _OF_AN_ANIMATION:
            check, left = zlib.crc32(kind), size
            while left and (piece := stream.read(min(left, _PIECE))):
                check, left = zlib.crc32(piece, check), left - len(piece)
            stored = stream.read(4)
            if left == 0 and len(stored) == 4 and stored != struct.pack(">I", check):
                kinds.append(kind.decode("ascii"))
                ranges.append((at, at + 12 + size))
        at = stream.seek(at + 12 + size)
    if not ranges:
        return stream, []
    stream.seek(0)
    data = stream.read()
    ends = [0, *(end for _, end in ranges)]
    starts = [*(start for start, _ in ranges), len(data)]
    return io.BytesIO(b"".join(data[a:b] for a, b in zip(ends, starts, strict=True))), list(dict.fromkeys(kinds))


def kept_chunks(stream: BinaryIO) -> tuple[tuple[bytes, bytes], ...]:
    """Return the chunks that stay valid at another size: colour tags, resolution and texts (except EXIF and XMP)."""
    return tuple(
        (kind, data)
        for kind, data in read_chunks(stream)
        if kind in COLOUR_TAGS | {b"pHYs"} or (kind in TEXTS and data.split(b"\0")[0] not in _READ_AS_METADATA)
    )


def code_points(stream: BinaryIO) -> CodePoints | None:
    """Return the colour of a cICP chunk, or None."""
    for kind, data in read_chunks(stream):
        if kind == b"cICP" and len(data) == 4 and data[2] == 0:  # other matrices are not for RGB
            return CodePoints(data[0], data[1], full_range=bool(data[3]))
        if kind == b"IDAT":
            break
    return None


def has_metadata_at_its_end(stream: BinaryIO) -> bool:
    """True if EXIF data or texts follow the pixels."""
    kinds = [kind for kind, _ in read_chunks(stream)]
    after = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else []
    return b"eXIf" in after or not TEXTS.isdisjoint(after)


def deep_channels(stream: BinaryIO) -> int:
    """Return the number of channels from `decode_16_bit`; 0 if this PNG has 8 bits per sample or fewer."""
    header, transparent = b"", False
    for kind, data in read_chunks(stream):
        header = data if kind == b"IHDR" else header
        transparent = transparent or kind == b"tRNS"
        if kind == b"IDAT":
            break
    channels = {number: channels for channels, number in _COLOUR_TYPE.items()}
    return channels[header[9]] + transparent if header[8] == 16 else 0


def decode_16_bit(stream: BinaryIO) -> np.ndarray:
    """Decode all samples of a 16-bit PNG, (H, W, C) uint16; a transparent colour (tRNS) becomes alpha.

    Uses FFmpeg: Pillow returns the high byte only. Raises av.FFmpegError for a damaged file.
    """
    import av

    stream.seek(0)
    decoder = av.CodecContext.create("png", "r")
    (frame,) = decoder.decode(av.Packet(stream.read()))  # type: ignore[attr-defined]
    return packed_samples(frame, ">u2")


def packed_samples(frame, dtype: str) -> np.ndarray:
    """Return the single plane of a packed FFmpeg frame with samples of `dtype`, as (H, W, C) in native byte order."""
    (plane,) = frame.planes
    channels = len(frame.format.components)
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width * channels]
    return rows.reshape(plane.height, plane.width, channels).astype(rows.dtype.newbyteorder("="))


def metadata_chunks(
    *,
    icc: bytes | None,
    colour: CodePoints | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    comment: bytes | None,
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks for this metadata; they belong between IHDR and the pixels."""
    if colour:
        yield b"cICP", bytes([colour.primaries, colour.transfer, 0, colour.full_range])
    if icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)
    if dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(part / 0.0254) for part in dpi), 1)
    if exif:
        yield b"eXIf", exif
    if xmp:
        yield b"iTXt", _XMP + b"\0\0\0\0\0" + xmp
    if comment:
        yield b"iTXt", b"Comment\0\0\0\0\0" + comment.decode("utf-8", "replace").encode()


def write_png(
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    chunks: Iterable[tuple[bytes, bytes]],
    durations: Sequence[float] = (),
    plays: int = 0,
) -> None:
    """Write frames (H, W, C) uint8 or uint16, one at a time; an animation if there are `durations` (milliseconds)."""
    frames = iter(frames)
    first = next(frames)
    height, width, channels = first.shape
    file.write(SIGNATURE)
    header = struct.pack(">IIBBBBB", width, height, 8 * first.itemsize, _COLOUR_TYPE[channels], 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    if durations:
        _write_chunk(file, b"acTL", struct.pack(">II", len(durations), plays))
    for kind, data in chunks:
        _write_chunk(file, kind, data)
    number = 0  # fcTL and fdAT share one sequence
    for index, frame in enumerate(chain([first], frames)):
        if durations:
            _write_chunk(
                file, b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, *_delay(durations[index]), 0, 0)
            )
            number += 1
        for data in compressed(frame):
            if index == 0:
                _write_chunk(file, b"IDAT", data)
            else:
                _write_chunk(file, b"fdAT", struct.pack(">I", number), data)
                number += 1
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, *parts: bytes) -> None:
    file.write(struct.pack(">I", sum(map(len, parts))) + kind)
    check = zlib.crc32(kind)
    for part in parts:
        file.write(part)
        check = zlib.crc32(part, check)
    file.write(struct.pack(">I", check))


def _delay(milliseconds: float) -> tuple[int, int]:
    """Return numerator and denominator of the delay in seconds, each of 16 bits."""
    delay = Fraction(milliseconds / 1000).limit_denominator(1000)
    return (delay.numerator, delay.denominator) if delay.numerator < 65536 else (min(round(delay), 65535), 1)
