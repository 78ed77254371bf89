"""Clock of a transport or program stream (ISO/IEC 13818-1), read from the headers of its packets of streams (PES).

Verification uses it: it is independent of the reader's rule, which sees FFmpeg's times. Times are ticks of 90 kHz; the
stored ones have 33 bits and wrap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.packet import Packet

from dagan_cli.files import open_regular

_WRAP = 1 << 33
_HZ = 90_000
_AHEAD, _BACK = 10 * _HZ, _HZ // 10  # a time farther ahead, or that falls back by more, is a jump
_BLOCK = 188 * 192 * 32  # bytes read at a time: whole packets of both sizes
_NEAR = 100  # bytes by which positions may differ: FFmpeg counts from the packet, or from the four bytes before it
_STEP = 3600  # ticks of a frame before any distance is known
_MOST = 100_000  # jumps; more is damage

Stamp = tuple[int, int, int, int | None]  # position in the file, stream, presentation time, decoding time if stored


@dataclass(frozen=True, slots=True)
class Span:
    """Packets of a stream in one piece of the clock: times as stored."""

    decoded: int  # decoding time of the first
    shown: int  # presentation time of the first
    due: int  # decoding time after the last
    end: int  # end of all


@dataclass(slots=True)
class _Place:
    """The stamps of one stream so far."""

    last: int | None = None  # decoding time of its last packet
    step: int | None = None  # smallest distance of two packets
    jumps: list[int] = field(default_factory=list)  # positions


class JoinedClock:
    """Times as if the clock of a file never jumped, by the position of a packet and its stored time."""

    def __init__(self, path: Path, video: int, start: Fraction) -> None:
        """Read a whole file; `video` is the number of its main stream (PID, or stream ID). Raises OSError.

        `start` is the start time of the file as FFmpeg tells it, in seconds: it may have unwrapped the clock.
        """
        self._places: dict[int, _Place] = {}
        self._pieces: list[tuple[int, int, int]] = []  # position, first stored time, the joined clock at that time
        self.is_program = False  # a program stream, whose streams have numbers of one byte
        end: int | None = None  # of all frames so far, on the joined clock
        with open_regular(path) as file:
            self.is_program = file.read(4) == b"\0\0\1\xba"
            file.seek(0)
            for position, stream, pts, dts in stamps(file):
                time = pts if dts is None else dts
                place = self._places.setdefault(stream, _Place())
                length = place.step or _STEP
                jumps = place.last is not None and not -_BACK <= _apart(time, place.last) <= _AHEAD + length
                if jumps and len(place.jumps) < _MOST:
                    place.jumps.append(position)
                if stream == video:
                    if not self._pieces:
                        turns = round((start * _HZ - time) / _WRAP)
                        self._pieces.append((0, time, time + turns * _WRAP))
                    elif jumps and len(self._pieces) < _MOST:
                        due = self._at(-1, place.last or 0) + length
                        late = 0 if end is None else max(0, end - due - _apart(pts, time))
                        self._pieces.append((position, time, due + late))
                    end = max(end or 0, self._at(-1, pts) + length)
                step = 0 if place.last is None or jumps else _apart(time, place.last)
                if step > 0:
                    place.step = min(step, place.step or step)
                place.last = time

    @property
    def jumps(self) -> int:
        """Number of jumps of the main stream."""
        return max(0, len(self._pieces) - 1)

    def shift(self, stream: int, position: int, ticks: int) -> int:
        """Return the number of ticks to add to the time of a packet, as FFmpeg tells it."""
        piece = self.piece(stream, position)
        return self._at(piece, ticks) - ticks if piece else 0

    def number(self, stream: int) -> int:
        """Return the number of a stream in the file from FFmpeg's."""
        return stream & (0xFF if self.is_program else 0x1FFF)

    def piece(self, stream: int, position: int) -> int:
        """Return the number of jumps of a stream up to a position in the file."""
        place = self._places.get(stream)
        own = place.jumps if place and len(place.jumps) == self.jumps else [at for at, _, _ in self._pieces[1:]]
        return bisect_right(own, position + _NEAR)

    def refine(self, frames: Sequence[Span | None], sounds: Iterable[Sequence[Span | None]]) -> None:
        """Place each piece exactly: its headers need not tell the time of every frame, nor how long it lasts.

        `frames` are those of the main stream in each piece, `sounds` those of each audio stream; None: nothing is
        there. Sound that would begin more than 0.1 s before it has ended delays the piece and all after it.
        """
        streams = [spans for spans in sounds if len(spans) == len(self._pieces)]
        for piece in range(1, len(self._pieces)):
            late = 0
            before, after = frames[piece - 1], frames[piece]
            if before and after:
                due, end = self._at(piece - 1, before.due), self._at(piece - 1, before.end)
                late = due - self._at(piece, after.decoded)
                late = max(late, end - self._at(piece, after.shown))
                late = late if abs(late) <= _HZ else 0  # the headers do not agree at all
            for spans in streams:
                if (old := spans[piece - 1]) and (new := spans[piece]):
                    overlap = self._at(piece - 1, old.due) - self._at(piece, new.decoded)
                    late = overlap if overlap - late > _BACK and overlap <= _AHEAD else late
            self._pieces[piece:] = [(at, first, joined + late) for at, first, joined in self._pieces[piece:]]

    def _at(self, piece: int, time: int) -> int:
        _, first, joined = self._pieces[piece]
        return joined + _apart(time, first)


class Mover:
    """Moves the packets of a file, which FFmpeg reads, to its joined clock; without one, they stay."""

    def __init__(self, clock: JoinedClock | None) -> None:
        self._clock = clock
        self._positions: dict[int, int] = {}  # of the last packet of each stream that has one

    def move(self, packet: Packet) -> None:
        ticks = packet.pts if packet.dts is None else packet.dts
        if self._clock is None or ticks is None:
            return
        stream = self._clock.number(packet.stream.id)
        if packet.pos is not None:
            self._positions[packet.stream_index] = packet.pos
        shift = self._clock.shift(stream, self._positions.get(packet.stream_index, 0), ticks)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift


def stamps(file: BinaryIO) -> Iterator[Stamp]:
    """Yield the time stamps of a file in its order; nothing for other formats."""
    head = file.read(4 + 192 * 2)
    if head[:4] == b"\0\0\1\xba":
        yield from _of_program(file)
    elif step := next((size for size, at in ((188, 0), (192, 4)) if head[at::size][:2] == b"GG"), 0):
        yield from _of_transport(file, step)


def _of_transport(file: BinaryIO, step: int) -> Iterator[Stamp]:
    at = 4 if step == 192 else 0  # .m2ts has four bytes before each packet
    while True:
        file.seek(at)
        data = file.read(_BLOCK)
        if len(data) < 188:
            return
        rows = np.frombuffer(data, np.uint8)[: (len(data) - 188) // step * step + 188]
        count = (len(rows) - 188) // step + 1
        table = np.lib.stride_tricks.as_strided(rows, (count, 188), (step, 1), writeable=False)
        lost = np.flatnonzero(table[:, 0] != 0x47)
        good = int(lost[0]) if len(lost) else count
        for row in np.flatnonzero(table[:good, 1] & 0x40):  # a packet of a stream starts here
            packet = bytes(table[row])
            body = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
            times = _times(packet[body:])
            if times and packet[3] & 0x10:
                yield at + int(row) * step, (packet[1] & 31) << 8 | packet[2], *times
        at += good * step
        if len(lost):  # parts joined in the middle of a packet
            found = next((i for i in range(1, step) if data[good * step + i :: step][:3] == b"GGG"), step)
            at += found


def _of_program(file: BinaryIO) -> Iterator[Stamp]:
    at, data, begin = 0, b"", 0
    while True:
        if at + 32 > begin + len(data):
            file.seek(at)
            data, begin = file.read(_BLOCK), at
        found = data.find(b"\0\0\1", at - begin)
        if found < 0 or len(data) < 32:
            if len(data) < _BLOCK:
                return
            at = begin + len(data) - 2
            data = b""
            continue
        at = begin + found
        if found + 32 > len(data) and len(data) == _BLOCK:
            data = b""
            continue
        kind = data[found + 3] if found + 3 < len(data) else 0
        if not (kind == 0xBD or 0xC0 <= kind <= 0xEF):
            at += 4 if kind >= 0xB9 else 3
            continue
        if times := _times(data[found : found + 32]):
            yield at, kind, *times
        at += 6 + int.from_bytes(data[found + 4 : found + 6], "big")


def _times(data: bytes) -> tuple[int, int | None] | None:
    """Return the times in a PES header (ISO/IEC 13818-1, 2.4.3.6), or in one of MPEG-1; None if it has none."""
    if len(data) < 14 or data[:3] != b"\0\0\1":
        return None
    if data[6] & 0xC0 == 0x80:
        has, at = data[7] >> 6, 9
    else:  # MPEG-1: stuffing, a buffer size, then the times
        at = next((i for i in range(6, min(22, len(data))) if data[i] != 0xFF), 6)
        at += 2 if data[at] & 0xC0 == 0x40 else 0
        has = {2: 2, 3: 3}.get(data[at] >> 4, 0) if at < len(data) else 0
    need = {2: 5, 3: 10}.get(has, 0)
    if not need or len(data) < at + need:
        return None
    return _time(data, at), _time(data, at + 5) if has == 3 else None


def _time(data: bytes, at: int) -> int:
    a, b, c, d, e = data[at : at + 5]
    return (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1


def _apart(time: int, other: int) -> int:
    """Return the shortest way from `other` to `time` on the circle of 33 bits."""
    return (time - other + _WRAP // 2) % _WRAP - _WRAP // 2
