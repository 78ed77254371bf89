"""Write the shape of pixels into a finished Matroska file (RFC 9559).

FFmpeg's muxer takes it from a field of the stream that PyAV does not set, and VP9, AV1, FFV1 and ProRes do not store it
themselves. The header moves forwards into the padding that the muxer leaves before it, so that no cluster moves.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from itertools import count
from typing import BinaryIO
from zlib import crc32

from dagan_cli.media.boxes import ebml

_SEEK_HEAD, _SEEK, _SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AC
_VOID, _CRC = 0xEC, 0xBF
_TRACK_TYPE, _PIXEL_WIDTH, _PIXEL_HEIGHT = 0x83, 0xB0, 0xBA
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_EXACT = 4000  # the shape may be off by one part in so many, as sizes are whole numbers

Part = tuple[int, bytes, bytes]  # ID; all bytes of the element; its content


def write_pixel_shape(file: BinaryIO, number: int, shape: Fraction) -> bool:
    """Set the display size of video track `number`, from 0, so that its pixels have `shape`, width / height.

    False if the file has no room for it, or is not laid out as FFmpeg does; it is unchanged then.
    """
    segment = ebml.segment(file)
    tracks = next(ebml.children(file, segment, ebml.TRACKS), None) if segment else None
    if segment is None or tracks is None or tracks[2] == segment[2]:  # the file ends within it
        return False
    file.seek(segment[1])
    head = file.read(tracks[2] - segment[1])
    parts = _parts(head)
    if [part[0] for part in parts[:2]] != [_SEEK_HEAD, _VOID]:
        return False
    wider = _with_shape(parts[-1], number, shape)
    growth = len(wider) - len(parts[-1][1])
    room = len(parts[1][1]) - growth
    if room < 9 or wider == parts[-1][1]:
        return False
    moved = len(parts[0][1]) + len(parts[1][1])  # what is behind that moves forwards
    middle = b"".join(part[1] for part in parts[2:-1])
    file.seek(segment[1])
    file.write(_with_moved(parts[0], moved, len(head), growth) + _void(room) + middle + wider)
    return True


def _with_shape(tracks: Part, number: int, shape: Fraction) -> bytes:
    """Return the Tracks element with the display size of one video track."""
    seen = -1
    new = []
    for name, whole, content in _parts(tracks[2]):
        inner = _parts(content) if name == ebml.TRACK else []
        seen += (is_video := any(part[0] == _TRACK_TYPE and part[2] == b"\1" for part in inner))
        if is_video and seen == number:
            sized = [_sized(part, shape) if part[0] == ebml.VIDEO else part[1] for part in inner]
            whole = _element(ebml.TRACK, b"".join(sized))
        new.append((name, whole))
    return _element(ebml.TRACKS, _checked(new))


def _sized(video: Part, shape: Fraction) -> bytes:
    children = _parts(video[2])
    values = {name: int.from_bytes(content, "big") for name, _, content in children}
    size = _display_size(values.get(_PIXEL_WIDTH, 1), values.get(_PIXEL_HEIGHT, 1), shape)
    kept = [whole for name, whole, _ in children if name not in (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)]
    for name, value in zip((_DISPLAY_WIDTH, _DISPLAY_HEIGHT), size, strict=True):
        kept.append(_element(name, value.to_bytes(4, "big").lstrip(b"\0")))
    return _element(ebml.VIDEO, b"".join(kept))


def _display_size(width: int, height: int, shape: Fraction) -> tuple[int, int]:
    """Return a size in pixels: exact if one side stays, else with the height, or a multiple of it, as FFmpeg has it."""
    if (width * shape).denominator != 1 and (height / shape).denominator == 1:
        return width, int(height / shape)
    for times in count(1):
        wide = round(times * width * shape)
        if abs(Fraction(wide, times * width) - shape) <= shape / _EXACT:
            return wide, times * height
    raise AssertionError("a multiple of the denominator is exact")


def _with_moved(seek_head: Part, first: int, end: int, by: int) -> bytes:
    """Return the SeekHead, as long as it was, with positions from `first` to `end` lowered."""
    new = []
    for name, whole, content in _parts(seek_head[2]):
        if name == _SEEK:
            inner = []
            for part, bytes_of_part, value in _parts(content):
                at = int.from_bytes(value, "big")
                if part == _SEEK_POSITION and first <= at < end:
                    bytes_of_part = bytes_of_part[: -len(value)] + (at - by).to_bytes(len(value), "big")
                inner.append(bytes_of_part)
            whole = whole[: len(whole) - len(content)] + b"".join(inner)
        new.append((name, whole))
    return seek_head[1][: len(seek_head[1]) - len(seek_head[2])] + _checked(new)


def _checked(children: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the content of a parent; a checksum in front is that of the other children (RFC 8794, 11.3.1)."""
    children = list(children)
    rest = b"".join(whole for name, whole in children if name != _CRC)
    has = any(name == _CRC for name, _ in children)
    return (_element(_CRC, crc32(rest).to_bytes(4, "little")) if has else b"") + rest


def _parts(data: bytes) -> list[Part]:
    """Return the elements in `data`."""
    found, begin = [], 0
    for name, content, end in ebml.elements(io.BytesIO(data), 0, len(data)):
        found.append((name, data[begin:end], data[content:end]))
        begin = end
    return found


def _element(name: int, content: bytes) -> bytes:
    length = next(n for n in range(1, 9) if len(content) < (1 << 7 * n) - 1)
    size = (len(content) | 1 << 7 * length).to_bytes(length, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + content


def _void(length: int) -> bytes:
    """Return padding of 9 bytes or more in all."""
    return bytes([_VOID]) + (length - 9 | 1 << 56).to_bytes(8, "big") + bytes(length - 9)
