"""Join the pieces of a clock that jumps, for all streams of a file in the same way.

A recording whose encoder was restarted, two recordings joined with `cat`, and a counter of 33 bits that wraps all have
timestamps that jump in the middle of the file. Formats for broadcast and discs (FFmpeg marks them AVFMT_TS_DISCONT)
allow that, and players close the jump. The rule is that of FFmpeg's `ts_discontinuity_detect`: a decoding time that
falls back, or that is more than 10 s ahead, continues where the packet before it ended. A smaller gap stays a gap.

The main video alone decides where a piece begins and by how much it moves. So its frames and the copied streams, which
are read through different handles, get the same times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
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
_WAITING = 10_000  # packets that wait for the video, at most
_STRAY = 60  # seconds; a time that is farther from those around it is damage

Found = Literal["", "joint", "stray"]


def clock_of(container: InputContainer, video: Stream) -> Clock | None:
    """Return a clock for the streams of an open file; None if the format does not allow jumps."""
    jumps = bool(container.format.flags & Flags.ts_discont.value)
    return Clock(video) if jumps and video.time_base else None


@dataclass(slots=True)
class _Place:
    """Position of a stream other than the video."""

    piece: int = 0  # index of the piece that its last packet belongs to
    due: float | None = None  # end of its last packet, seconds of the joined clock


class Clock:
    """Times of a file as if its clock never jumped; packets must be passed in the order of the file."""

    def __init__(self, video: Stream) -> None:
        assert video.time_base
        self._video = video.index
        self._tick = Fraction(video.time_base)
        self._pieces = [0]  # ticks of the video, added to the times of each piece
        self._last: int | None = None  # decoding time of the last packet of the video, ticks of the joined clock
        self._length = 0  # ticks; of that packet
        self._end = 0  # end of all packets of the video so far, ticks of the joined clock
        self._count = 0  # packets of the video
        self._places: dict[int, _Place] = {}

    @property
    def jumps(self) -> int:
        """Number of jumps that were closed."""
        return len(self._pieces) - 1

    def move(self, packet: Packet) -> None:
        """Set the times of the next packet of the video to those of the joined clock."""
        pts, dts = packet.pts, packet.dts
        if pts is not None and dts is not None and abs(pts - dts) > _AHEAD / self._tick:
            dts = packet.dts = pts  # FFmpeg made it up from the packets before a jump
        if dts is not None:
            if self._last is not None:
                self._close_jump(dts, pts)
            self._length = packet.duration or self._length
            self._last = packet.dts = dts + self._pieces[-1]
        if pts is not None:
            packet.pts = pts + self._pieces[-1]
            self._end = max(self._end, packet.pts + self._length) if self._count else packet.pts + self._length
        self._count += packet.size > 0

    def others(self, packets: Iterable[Packet]) -> Iterator[tuple[Packet, Found]]:
        """Yield the packets of all streams but the video, with times of the joined clock.

        "joint" marks the first packet of a stream after a jump; "stray" one whose time is damaged, which it keeps.
        """
        waiting: deque[tuple[Packet, int]] = deque()  # packets, and the count of the video when each was read
        for packet in packets:
            if packet.stream_index == self._video:
                self.move(packet)
            elif packet.size:
                waiting.append((packet, self._count))
            while waiting and self._is_settled(*waiting[0], len(waiting)):
                yield self._moved(waiting.popleft()[0])
        yield from (self._moved(packet) for packet, _ in waiting)

    def _close_jump(self, dts: int, pts: int | None) -> None:
        """Begin a piece if the decoding time jumps."""
        assert self._last is not None
        moved, due = dts + self._pieces[-1], self._last + self._length
        if self._last - moved <= _BACK / self._tick and abs(moved - due) <= _AHEAD / self._tick:
            return
        piece = due - dts
        if pts is not None and pts + piece < self._end:  # the piece before it was cut among B-frames
            piece = self._end - pts
        self._pieces.append(piece)

    def _is_settled(self, packet: Packet, count: int, waiting: int) -> bool:
        """True if the packet's piece is certain: it follows the one before it, or the video is well beyond it."""
        if self._count - count >= _LATER or waiting > _WAITING:
            return True
        place, time = self._places.get(packet.stream_index), _seconds(packet)
        if place is None or place.due is None or time is None:
            return False
        return abs(time + self._offset(place.piece) - place.due) <= _BACK

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
        place.piece, place.due = piece, begin + float((packet.duration or 0) * packet.time_base)
        ticks = round(self._pieces[piece] * self._tick / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        return packet, found

    def _offset(self, piece: int) -> float:
        return float(self._pieces[piece] * self._tick)


def _seconds(packet: Packet) -> float | None:
    ticks = packet.pts if packet.dts is None else packet.dts
    return None if ticks is None or not packet.time_base else float(ticks * packet.time_base)
