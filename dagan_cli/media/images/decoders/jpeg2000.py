"""JPEG 2000 with more than 8 bits, which Pillow reduces to 8, and the metadata in its boxes.

Standard: ITU-T T.800 (ISO/IEC 15444-1), annexes A (codestream) and I (JP2 boxes). FFmpeg decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

import numpy as np

from dagan_cli.media.images.blocks.boxes import Box, walk
from dagan_cli.media.images.png import packed_samples

_SIZE_MARKER = b"\xff\x4f\xff\x51"
_SRGB, _GREY = 16, 17
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"


class DeepShape(NamedTuple):
    """Size, channels and bits of the samples of an image that `decode_deep` reads."""

    height: int
    width: int
    channels: int
    bits: int


def sample_bits(stream: BinaryIO) -> int:
    """Return the bits of the deepest component; 0 if the codestream is damaged."""
    return max((depth & 0x7F) + 1 for depth, _, _ in parts) if (parts := _components(_read(stream))) else 0


def deep_shape(stream: BinaryIO) -> DeepShape | None:
    """Return the shape of an image with 9 to 16 bits in grey or RGB, with or without alpha; None for any other."""
    data = _read(stream)
    parts = _components(data)
    depths = {depth for depth, _, _ in parts}
    if not 1 <= len(parts) <= 4 or len(depths) != 1 or any((x, y) != (1, 1) for _, x, y in parts):
        return None
    (depth,) = depths
    boxes = {box.kind: data[box.start : box.end] for box in _header(data)}
    colour = boxes.get(b"colr", b"\2")
    expected = _GREY if len(parts) <= 2 else _SRGB
    known = colour[:1] != b"\1" or int.from_bytes(colour[3:7], "big") == expected
    if not 8 <= depth <= 15 or not known or b"pclr" in boxes:  # signed samples have the highest bit set
        return None
    at = data.index(_SIZE_MARKER) + 8
    right, bottom, left, top = struct.unpack_from(">4I", data, at)
    return DeepShape(bottom - top, right - left, len(parts), depth + 1)


def decode_deep(stream: BinaryIO, shape: DeepShape) -> np.ndarray:
    """Decode to (H, W, C) uint16, scaled so that the highest value becomes 65535. Raises av.FFmpegError, ValueError."""
    import av

    decoder = av.CodecContext.create("jpeg2000", "r")
    (frame,) = decoder.decode(av.Packet(_read(stream)))  # type: ignore[attr-defined]
    bits = {component.bits for component in frame.format.components}
    if len(frame.planes) != 1 or len(frame.format.components) != shape.channels or len(bits) != 1:
        raise ValueError("this layout of JPEG 2000 is not supported")
    samples = packed_samples(frame, ">u2" if frame.format.is_big_endian else "<u2")
    if samples.shape != shape[:3]:
        raise ValueError("its sizes contradict each other")
    samples = samples.astype(np.uint32) >> (bits.pop() - shape.bits)  # FFmpeg puts values into the highest bits
    most = 2**shape.bits - 1
    return ((samples * 65535 + most // 2) // most).astype(np.uint16)


def metadata(stream: BinaryIO) -> dict[str, bytes]:
    """Return profile, EXIF and XMP, as Pillow's `info` names them."""
    data = _read(stream)
    found: dict[str, bytes] = {}
    for box in _header(data):
        if box.kind == b"colr" and data[box.start : box.start + 1] == b"\2":
            found["icc_profile"] = data[box.start + 3 : box.end]
    for box in walk(data):
        content = data[box.start : box.end] if box.kind == b"uuid" else b""
        if content.startswith(_XMP_UUID):
            found["xmp"] = content[16:]
        elif content.startswith(_EXIF_UUID):
            found["exif"] = content[16:]
    return found


def _read(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _header(data: bytes) -> Iterator[Box]:
    """Yield the boxes in the header box."""
    for box in walk(data):
        if box.kind == b"jp2h" and not box.path:
            for inner in walk(data[box.start : box.end]):
                yield replace(inner, start=inner.start + box.start, end=inner.end + box.start)


def _components(data: bytes) -> list[tuple[int, int, int]]:
    """Return depth byte and subsampling of each component, from the SIZ marker."""
    at = data.find(_SIZE_MARKER)
    if at < 0 or at + 42 > len(data):
        return []
    (count,) = struct.unpack_from(">H", data, at + 40)
    parts = data[at + 42 : at + 42 + 3 * count]
    return [(a, b, c) for a, b, c in struct.iter_unpack("BBB", parts[: len(parts) // 3 * 3])]
