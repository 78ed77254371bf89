"""One stream's packets on their way into another file: cut, timed anew where damaged, tried before they are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from typing import cast

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from dagan_cli.media.streams.subtitles import LONGEST, Cue, OneAtATime, read_cue, write_cue
from dagan_cli.media.streams.trial import Trial

_HIDES_WHAT_IS_EARLY = ("mp4", "mov")  # behind an edit list; players of Matroska show what lies before 0
_AMR_BLOCK = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)  # bytes, by frame type (3GPP TS 26.101)
_LONGEST_DURATION = (1 << 31) - 1  # ticks, in mp4
_HELD_AT_MOST = 32  # pictures without a decoding time; H.264 reorders 16


class Track:
    """A stream copied as it is: packets of the source go in with `take`, what comes out is to be muxed at once."""

    def __init__(self, name: str, source: Stream, copy: Stream, out: OutputContainer) -> None:
        self.name = name
        self.end: int | None = None  # ticks of the new file: what begins here or later is left out
        self._source, self._copy, self._form = source, copy, out.format.name
        self._trial: Trial | None = None
        self._refused = 0  # packets that the container does not take, or of times far outside of the file
        self._mended = 0  # time stamps
        self._last_read: int | None = None  # decoding time, ticks of the source
        self._last_given: int | None = None  # the same, ticks of the new file
        self._read_until = 0  # ticks of the source
        self._held: list[Packet] = []  # pictures without a decoding time, before any that has one
        self._early: Packet | None = None  # the last packet before the beginning
        self._first_key: int | None = None  # when the first whole picture is shown
        self._without_key = 0  # pictures before it

    def start(self, cut: Fraction | None, bounds: tuple[Fraction, Fraction]) -> None:
        """Begin, once the header is written. Second `cut` of the source becomes 0, what ends before it is left out.

        Times outside of `bounds`, seconds of the source, are damage.
        """
        assert self._source.time_base
        assert self._copy.time_base
        self._cut = cut
        ratio, shift = self._source.time_base / self._copy.time_base, (cut or Fraction(0)) / self._copy.time_base
        self._clock = (  # in whole numbers, for there are many packets
            ratio.numerator * shift.denominator,
            shift.numerator * ratio.denominator,
            ratio.denominator * shift.denominator,
        )
        self._low, self._high = (round(bound / self._source.time_base) for bound in bounds)

    def ticks(self, seconds: Fraction) -> int:
        """Of the new file."""
        assert self._copy.time_base
        number = seconds / self._copy.time_base
        return (2 * number.numerator + number.denominator) // (2 * number.denominator)

    def take(self, packet: Packet) -> Iterator[Packet]:
        """A packet read from the source; it is changed."""
        for part in _amr_blocks(packet) if self._source.name == "amrnb" else [packet]:
            for dated in self._with_decoding_time(part):
                yield from self._given_on(dated)

    def settled(self, time: Fraction) -> Iterator[Packet]:
        """What else can be given once all is taken that begins before `time`, seconds of the new file."""
        return iter(())

    def finish(self) -> Iterator[Packet]:
        """What is left once all is taken."""
        for packet in self._held:
            packet.dts = packet.pts
            yield from self._given_on(packet)
        if self._early is not None:
            yield from self._made_of(self._early)
        if self._trial is not None:
            self._trial.close()

    def warnings(self) -> Iterator[str]:
        """What became of the stream; complete after `finish`."""
        if damage := list(self._damage()):
            yield f"{self.name} is damaged: {', '.join(damage)}"
        if self._without_key:
            yield f"{self.name} lacks its first {self._without_key} pictures, before a key frame"

    def _damage(self) -> Iterator[str]:
        if self._refused:
            yield f"{self._refused} packets were left out"
        if self._mended:
            yield f"{self._mended} time stamps did not increase, and were set anew"
        promised, base = _promised_end(self._source), self._source.time_base
        if promised and base and self.end is None and self._source.type in ("audio", "video"):
            read = self._read_until * base
            if read < promised - max(Fraction(1, 2), promised / 100):
                yield f"only {max(0.0, float(read)):.1f} of {float(promised):.1f} s can be read"

    def _given_on(self, packet: Packet) -> Iterator[Packet]:
        if self._retimed(packet):
            for kept in self._cut_out(packet):
                yield from self._made_of(kept)

    def _with_decoding_time(self, packet: Packet) -> list[Packet]:
        """Matroska does not tell decoding times; FFmpeg finds them but for the first few pictures."""
        if self._source.type != "video" or self._last_read is not None:
            return [packet]
        if packet.dts is None and len(self._held) < _HELD_AT_MOST:
            self._held.append(packet)
            return []
        held, self._held = self._held, []
        for distance, early in enumerate(reversed(held), 1):
            early.dts = None if packet.dts is None else packet.dts - distance * max(1, early.duration or 1)
        return [*held, packet]

    def _retimed(self, packet: Packet) -> bool:
        """Time the packet in ticks of the new file; False if its time makes no sense."""
        if packet.pts is None and packet.dts is None:
            packet.pts = 0 if self._last_read is None else self._last_read + 1
            self._mended += 1
        pts = cast(int, packet.dts if packet.pts is None else packet.pts)
        dts = pts if packet.dts is None else packet.dts
        if not self._low <= min(pts, dts) <= max(pts, dts) <= self._high:
            self._refused += 1
            return False
        duration = min(max(0, packet.duration or 0), _LONGEST_DURATION)
        self._last_read = dts
        self._read_until = max(self._read_until, pts + duration)
        packet.pts, packet.dts = self._in_new_file(pts), self._in_new_file(dts)
        packet.duration = min(self._in_new_file(pts + duration) - packet.pts, _LONGEST_DURATION)
        return True

    def _in_new_file(self, ticks: int) -> int:
        factor, shift, divisor = self._clock
        return (2 * (ticks * factor - shift) + divisor) // (2 * divisor)  # the nearest, halves up

    def _cut_out(self, packet: Packet) -> list[Packet]:
        """The packet as far as it lies between beginning and end; before the first one perhaps an earlier one."""
        pts, duration = cast(int, packet.pts), packet.duration or 0
        if self.end is not None and cast(int, packet.dts) >= self.end:
            return []
        if self._source.type == "video":
            return self._from_a_key_frame(packet)
        if self._source.type == "subtitle":
            return self._shortened(packet)
        if self._cut is not None:
            hidden = duration if self._form in _HIDES_WHAT_IS_EARLY else 0
            return [packet] if pts >= 0 or pts + hidden > 0 else []
        if self._form not in _HIDES_WHAT_IS_EARLY and pts + duration <= 0:
            self._early = packet  # all but the last one, with which a decoder starts, are not to be heard
            return []
        early, self._early = self._early, None
        return [packet] if early is None else [early, packet]

    def _from_a_key_frame(self, packet: Packet) -> list[Packet]:
        if self._cut is None and self._form in _HIDES_WHAT_IS_EARLY:
            return [packet]
        pts = cast(int, packet.pts)
        if self._first_key is None and packet.is_keyframe and pts >= 0:
            self._first_key = pts
        if self._first_key is not None and pts >= self._first_key:
            return [packet]
        self._without_key += pts >= 0
        return []

    def _shortened(self, packet: Packet) -> list[Packet]:
        """A subtitle, as long as it is shown. One without a duration, a picture, is shown until the next one."""
        begin, duration = cast(int, packet.pts), packet.duration or 0
        if duration:
            end = begin + duration if self.end is None else min(begin + duration, self.end)
            if end <= 0:
                return []
            packet.duration = end - max(0, begin)
        if begin >= 0:
            early, self._early = self._early, None
            return [packet] if early is None or begin == 0 else [early, packet]
        packet.pts = packet.dts = 0
        if duration:
            return [packet]
        self._early = packet
        return []

    def _made_of(self, packet: Packet) -> Iterator[Packet]:
        """The packet as the container takes it; nothing if it refuses it, now rather than among the pictures."""
        self._trial = self._trial or Trial(self._source, self._form)
        self._put_in_order(packet)
        if self._trial.takes(packet):
            yield self._for_mux(packet)
        else:
            self._refused += 1

    def _put_in_order(self, packet: Packet) -> None:
        last, dts = self._last_given, cast(int, packet.dts)
        if last is not None and (dts < last or (dts == last and self._form in _HIDES_WHAT_IS_EARLY)):
            packet.dts = dts = last + 1
            packet.pts = max(cast(int, packet.pts), dts)
            self._mended += 1
        self._last_given = dts

    def _for_mux(self, packet: Packet) -> Packet:
        assert self._copy.time_base
        packet.stream, packet.time_base = self._copy, self._copy.time_base
        return packet


class TextTrack(Track):
    """A track of text subtitles, written in the codec `after`."""

    def __init__(self, name: str, source: Stream, copy: Stream, out: OutputContainer, before: str, after: str) -> None:
        super().__init__(name, source, copy, out)
        self._before, self._after = before, after
        self._screen = OneAtATime()
        self._too_long = 0
        self._wrong = 0

    def settled(self, time: Fraction) -> Iterator[Packet]:
        yield from map(self._packet, self._screen.settled(self.ticks(time)))

    def finish(self) -> Iterator[Packet]:
        yield from super().finish()
        yield from map(self._packet, self._screen.settled(None))

    def _damage(self) -> Iterator[str]:
        yield from super()._damage()
        if self._wrong:
            yield f"{self._wrong} texts are not UTF-8"
        if self._too_long:
            yield f"{self._too_long} texts of more than {LONGEST} bytes were cut short"
        if self._screen.crowded_out:
            yield f"{self._screen.crowded_out} texts were left out, for hundreds are shown at the same time"

    def _made_of(self, packet: Packet) -> Iterator[Packet]:
        data, begin = bytes(packet), cast(int, packet.pts)
        runs = read_cue(self._before, data)
        self._too_long += len(data) > LONGEST
        self._wrong += any("\N{REPLACEMENT CHARACTER}" in text for text, _ in runs)
        if runs and self._after == "mov_text":
            self._screen.add(Cue(begin, begin + max(1, packet.duration or 0), runs))
            yield from map(self._packet, self._screen.settled(begin))
        elif runs:
            yield self._packet(Cue(begin, begin + (packet.duration or 0), runs))

    def _packet(self, cue: Cue) -> Packet:
        packet = Packet(write_cue(self._after, cue.runs))
        packet.pts = packet.dts = cue.start
        packet.duration = cue.end - cue.start
        self._put_in_order(packet)
        return self._for_mux(packet)


def _promised_end(stream: Stream) -> Fraction | None:
    """When the stream should end, in seconds, as its header says, or in Matroska the tag that muxers write."""
    if stream.duration and stream.time_base:
        return (stream.duration + (stream.start_time or 0)) * stream.time_base
    tag = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d{1,9})", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) if tag else None


def _amr_blocks(packet: Packet) -> Iterator[Packet]:
    """The 20 ms blocks of AMR speech in a packet: 3gp files pack many together, which the mov muxer refuses."""
    data, at = bytes(packet), 0
    for number in count():
        size = _AMR_BLOCK[data[at] >> 3 & 15]
        block = Packet(data[at : at + size])
        block.duration = round(Fraction(1, 50) / packet.time_base)
        block.pts = None if packet.pts is None else packet.pts + number * block.duration
        block.dts = block.pts
        yield block
        at += size
        if at >= len(data):
            return
