"""Join the pieces of a clock that jumps, for all streams of a file in the same way.

A recording whose encoder was restarted, two recordings joined with `cat`, and a counter of 33 bits that wraps all have
timestamps that jump in the middle of the file. Formats for broadcast and discs (FFmpeg marks them AVFMT_TS_DISCONT)
allow that, and players close the jump. The rule is that of FFmpeg's `ts_discontinuity_detect`: a decoding time that
falls back, or that is more than 10 s ahead, continues where the packet before it ended. A smaller gap stays a gap.

The main video decides where a piece begins. It continues where the last frame ended, or later if sound would overlap
by more than 0.1 s. All readers of a file pass the video and all sound, so that frames and copied streams, which are
read through different handles, get the same times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

_AHEAD = 10  # seconds; a smaller gap is kept (FFmpeg's -dts_delta_threshold)
_BACK = Fraction(1, 10)  # seconds by which decoding times may fall back
_IN_STEP = 1  # seconds; a packet that follows the one before it as closely as this belongs to the same piece
_LATER = 12  # packets of the video that are read before a packet that does not follow is assigned to a piece
_WAITING = 10_000  # packets that wait, at most
_STRAY = 60  # seconds; a time that is farther from those around it is damage

Found = Literal["", "joint", "stray"]


def clock_of(container: InputContainer, video: Stream) -> Clock | None:
    """Return a clock for the streams of an open file; None if the format does not allow jumps."""
    jumps = bool(container.format.flags & Flags.ts_discont.value)
    return Clock(video, container.streams.audio) if jumps and video.time_base else None


@dataclass(slots=True)
class _Place:
    """Position of a stream other than the video."""

    piece: int = 0  # index of the piece that its last packet belongs to
    due: float | None = None  # end of its last packet, seconds of the joined clock


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A packet that was read, and is not given on yet."""

    packet: Packet
    piece: int  # of the video when it was read
    count: int  # packets of the video that were read with or before it


class Clock:
    """Times of a file as if its clock never jumped."""

    def __init__(self, video: Stream, sounds: Sequence[Stream]) -> None:
        assert video.time_base
        self.streams = (video, *sounds)  # those that every reader of the file must pass to `joined`
        self._video = video.index
        self._tick = Fraction(video.time_base)
        self._pieces = [0]  # ticks of the video, added to the times of each piece
        self._open: tuple[int, int | None] | None = None  # times of the first packet of a piece that is not placed yet
        self._opened = 0  # packets of the video that were read before it
        self._before: tuple[int, int] = (0, 0)  # due time and end of the piece before it, as stored
        self._stored: int | None = None  # decoding time of the last packet of the video that was read
        self._length = 0  # ticks; of that packet
        self._end = 0  # end of the packets of the video in the current piece, as stored
        self._count = 0  # packets of the video that were read
        self._last: int | None = None  # decoding time of the last one that was given on, ticks of the joined clock
        self._places: dict[int, _Place] = {}

    @property
    def jumps(self) -> int:
        """Number of jumps that were closed."""
        return len(self._pieces) - 1

    def joined(self, packets: Iterable[Packet]) -> Iterator[tuple[Packet, Found]]:
        """Yield packets, given in the order of the file, with times of the joined clock; empty ones are left out.

        "joint" marks the first packet of a stream after a jump; "stray" one whose time is damaged, which it keeps.
        """
        waiting: deque[_Waiting] = deque()
        for packet in packets:
            if not packet.size:  # at the end; of several streams, PyAV does not tell which
                continue
            if packet.stream_index == self._video:
                self._read(packet, waiting)
            waiting.append(_Waiting(packet, self._piece, self._count))
            if self._count - self._opened >= _LATER or len(waiting) > _WAITING:
                self._place_piece(waiting)
            while waiting and self._is_settled(waiting[0], len(waiting)):
                yield self._given_on(waiting.popleft())
        self._place_piece(waiting)
        yield from map(self._given_on, waiting)

    @property
    def _piece(self) -> int:
        return len(self._pieces) - 1 + (self._open is not None)

    def _read(self, packet: Packet, waiting: Iterable[_Waiting]) -> None:
        """Note the times of a packet of the video; a piece begins if they jump."""
        pts, dts = packet.pts, packet.dts
        if pts is not None and dts is not None and abs(pts - dts) > _AHEAD / self._tick:
            dts = packet.dts = pts  # FFmpeg made it up from the packets before a jump
        if dts is not None and self._stored is not None:
            due = self._stored + self._length
            if self._stored - dts > _BACK / self._tick or abs(dts - due) > _AHEAD / self._tick:
                self._place_piece(waiting)
                self._open, self._opened, self._before = (dts, pts), self._count, (due, self._end)
                self._end = dts
        self._count += 1
        self._length = packet.duration or self._length
        self._stored = self._stored if dts is None else dts
        if pts is not None:
            self._end = max(self._end, pts + self._length) if self._count > 1 else pts + self._length

    def _place_piece(self, waiting: Iterable[_Waiting]) -> None:
        """Decide where the piece that began last continues the one before it."""
        if self._open is None:
            return
        (dts, pts), (due, end) = self._open, self._before
        moved = self._pieces[-1] + due - dts
        if pts is not None:  # the piece before it may be cut among B-frames
            moved = max(moved, self._pieces[-1] + end - pts)
        late = max((self._overlap(sound.index, moved, waiting) for sound in self.streams[1:]), default=0.0)
        self._pieces.append(moved + (round(late / self._tick) if _BACK < late <= _AHEAD else 0))
        self._open = None

    def _overlap(self, sound: int, moved: int, waiting: Iterable[_Waiting]) -> float:
        """Return the seconds by which sound of the new piece, which moves by `moved`, would begin too early."""
        place = self._places.get(sound)
        if place is None or place.due is None:
            return 0.0
        due, old = place.due, self._offset(len(self._pieces) - 1)
        for one in waiting:
            time = _seconds(one.packet) if one.packet.stream_index == sound else None
            if time is None:
                continue
            if abs(time + old - due) > _BACK:
                return due - (time + float(moved * self._tick))
            due = time + old + _duration(one.packet)
        return 0.0

    def _is_settled(self, one: _Waiting, waiting: int) -> bool:
        """True if the packet's piece is certain: it follows the one before it, or the video is well beyond it."""
        packet = one.packet
        if packet.stream_index == self._video:
            return one.piece < len(self._pieces)
        if self._open is None and (self._count - one.count >= _LATER or waiting > _WAITING):
            return True
        place, time = self._places.get(packet.stream_index), _seconds(packet)
        if place is None or place.due is None or time is None:
            return False
        return abs(time + self._offset(place.piece) - place.due) <= _BACK

    def _given_on(self, one: _Waiting) -> tuple[Packet, Found]:
        packet = one.packet
        if packet.stream_index != self._video:
            return self._moved(packet)
        moved = self._pieces[one.piece]
        packet.pts = None if packet.pts is None else packet.pts + moved
        if packet.dts is not None:
            packet.dts += moved
            self._last = packet.dts
        return packet, ""

    def _moved(self, packet: Packet) -> tuple[Packet, Found]:
        """Move a packet by the offset of the piece in which it follows best."""
        place, time = self._places.setdefault(packet.stream_index, _Place()), _seconds(packet)
        if time is None or self._last is None:
            return packet, ""
        now = float(self._last * self._tick)
        due = place.due if place.due is not None and abs(place.due - now) <= _IN_STEP else now
        choices = range(place.piece, len(self._pieces))
        piece = min(choices, key=lambda index: abs(time + self._offset(index) - due))
        begin = time + self._offset(piece)
        if min(abs(begin - at) for at in (now, due, now if place.due is None else place.due)) > _STRAY:
            return packet, "stray"
        found: Found = "joint" if piece > place.piece else ""
        place.piece, place.due = piece, begin + _duration(packet)
        ticks = round(self._pieces[piece] * self._tick / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        return packet, found

    def _offset(self, piece: int) -> float:
        return float(self._pieces[piece] * self._tick)


def _seconds(packet: Packet) -> float | None:
    ticks = packet.pts if packet.dts is None else packet.dts
    return None if ticks is None or not packet.time_base else float(ticks * packet.time_base)


def _duration(packet: Packet) -> float:
    return float((packet.duration or 0) * packet.time_base)
