"""Store encoded packets on disk unchanged, without a container that rounds times or rewrites headers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal

if TYPE_CHECKING:
    from av.packet import PktSideDataT  # exists only in PyAV's stub

_HEAD = struct.Struct("<qqIH?")  # pts, duration, bytes, number of side data, is a key frame
_SIDE = struct.Struct("<II")  # FFmpeg's type, bytes; VP9 stores its transparency as side data


def store(file: BinaryIO, packet: Packet, data: bytes | None = None) -> None:
    """Append one packet, with other `data` if given.

    Its decoding time is left out: `decoding_times` recomputes those of a whole file.
    """
    assert packet.pts is not None
    sides = list(packet.iter_sidedata())
    file.write(
        _HEAD.pack(
            packet.pts, packet.duration or 0, packet.size if data is None else len(data), len(sides), packet.is_keyframe
        )
    )
    for side in sides:
        file.write(_SIDE.pack(packet_sidedata_type_from_literal(cast("PktSideDataT", side.data_type)), side.data_size))
        file.write(bytes(side))
    file.write(memoryview(packet) if data is None else data)


def load(file: BinaryIO) -> Iterator[Packet]:
    """Yield the packets of a file from its start, in the order they were stored."""
    while head := file.read(_HEAD.size):
        pts, duration, size, sides, is_key = _HEAD.unpack(head)
        pieces = [_side(file) for _ in range(sides)]
        packet = Packet(file.read(size))
        for piece in pieces:
            piece.to_packet(packet, move=True)
        packet.pts, packet.duration, packet.is_keyframe = pts, duration, is_key
        yield packet


def times(file: BinaryIO) -> Iterator[int]:
    """Yield the presentation time of each packet; the data is skipped."""
    while head := file.read(_HEAD.size):
        pts, _, size, sides, _ = _HEAD.unpack(head)
        for _ in range(sides):
            file.seek(_SIDE.unpack(file.read(_SIDE.size))[1], 1)
        file.seek(size, 1)
        yield pts


def decoding_times(pts: list[int]) -> list[int]:
    """Return decoding times of packets shown at `pts`, given in decoding order: strictly increasing, never after `pts`.

    They are as late as the order allows: the sorted times, shifted by the depth of the reordering.
    """
    shown = sorted(pts)
    depth = 0
    for i, time in enumerate(pts):
        while i >= depth and shown[i - depth] > time:
            depth += 1
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    return [shown[0] - (depth - i) * step for i in range(min(depth, len(pts)))] + shown[: max(0, len(shown) - depth)]


def _side(file: BinaryIO) -> PacketSideData:
    kind, size = _SIDE.unpack(file.read(_SIDE.size))
    piece = PacketSideData(kind, size)  # type: ignore[call-arg]  # PyAV's stub lacks the constructor
    memoryview(piece)[:] = file.read(size)  # type: ignore[arg-type]
    return piece
