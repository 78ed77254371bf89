"""Put boxes into MP4 files byte by byte, independent of the code that reads them."""

from __future__ import annotations

import struct

ENTRY = 78  # bytes of a video sample entry before its boxes


def inserted(data: bytes, box: bytes, *path: bytes) -> bytes:
    """Append `box` to the box at `path`, whose parents grow; `moov` must come last, so that no offset changes.

    The last step of the path may be any sample entry, `b"*"`: it is the first box after 8 bytes of `stsd`.
    """
    places, at, end = [], 0, len(data)
    for kind in path:
        if kind == b"*":
            at += 8
        while kind not in (b"*", data[at + 4 : at + 8]):
            at += struct.unpack_from(">I", data, at)[0]
            assert at < end
        places.append(at)
        end = at + struct.unpack_from(">I", data, at)[0]
        at += 8
    grown = bytearray(data[:end] + box + data[end:])
    for place in places:
        size = struct.unpack_from(">I", grown, place)[0]
        struct.pack_into(">I", grown, place, size + len(box))
    return bytes(grown)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def aperture(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """The clean aperture of this size, moved from the centre by half pixels."""
    return box(b"clap", struct.pack(">4IiIiI", width, 1, height, 1, right, 2, down, 2))


STSD = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"*")
EQUIRECTANGULAR = box(
    b"sv3d",
    box(b"svhd", b"\0\0\0\0test\0") + box(b"proj", box(b"prhd", bytes(16)) + box(b"equi", bytes(20))),
)
SIDE_BY_SIDE = box(b"st3d", b"\0\0\0\0\2")
