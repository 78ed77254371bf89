"""Walk the boxes of an MP4 or QuickTime file (ISO/IEC 14496-12). Damage ends a walk; every step has a bound."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST = 10_000  # boxes of one parent
_LARGEST = 1 << 26  # bytes of a box that is read

Box = tuple[bytes, int, int]  # type, first byte and end of the content


def boxes(file: BinaryIO, begin: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two positions."""
    for _ in range(_MOST):
        if begin + 8 > end:
            return
        file.seek(begin)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1 and len(head) == 16:
            size, start = struct.unpack_from(">Q", head, 8)[0], 16
        elif size == 0:
            size = end - begin
        if size < start:
            return
        yield kind, begin + start, min(begin + size, end)
        begin += size


def find(file: BinaryIO, box: Box, *path: bytes) -> Box | None:
    """Return the first box at this path below `box`."""
    found: Box | None = box
    for kind in path:
        found = next((one for one in boxes(file, found[1], found[2]) if one[0] == kind), None) if found else None
    return found


def content(file: BinaryIO, box: Box) -> bytes:
    """Return the bytes of a box, at most 64 MiB."""
    file.seek(box[1])
    return file.read(min(box[2] - box[1], _LARGEST))


def video_tracks(file: BinaryIO) -> list[Box]:
    """Return the video tracks of a file, in their order; [] if it is another file."""
    file.seek(0, 2)
    size = file.tell()
    whole: Box = (b"", 0, size)
    movie = find(file, whole, b"moov")
    if movie is None:
        return []
    tracks = []
    for box in boxes(file, movie[1], movie[2]):
        handler = find(file, box, b"mdia", b"hdlr") if box[0] == b"trak" else None
        if handler and content(file, handler)[8:12] == b"vide":
            tracks.append(box)
    return tracks


def sample_entry(file: BinaryIO, track: Box) -> Box | None:
    """Return the boxes inside the first sample description of a video track, as the content of a box."""
    table = find(file, track, b"mdia", b"minf", b"stbl", b"stsd")
    entry = next(boxes(file, table[1] + 8, table[2]), None) if table else None
    return (entry[0], entry[1] + 78, entry[2]) if entry and entry[1] + 78 <= entry[2] else None
