"""Copy the packets of one stream into another file: cut them, repair damaged times, and test-mux each packet."""

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

_HIDES_WHAT_IS_EARLY = ("mp4", "mov")  # with an edit list; Matroska players show what is before 0
_AMR_BLOCK = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)  # bytes, by frame type (3GPP TS 26.101)
_LONGEST_DURATION = (1 << 31) - 1  # ticks, in mp4
_OVERLAP = Fraction(1, 10)  # seconds; audio and video of a recording end by as much apart
_HELD_AT_MOST = 32  # frames without a decoding time; H.264 reorders up to 16


class Track:
    """A stream copied unchanged: `take` accepts packets of the source and yields packets to mux at once."""

    def __init__(self, name: str, source: Stream, copy: Stream, out: OutputContainer) -> None:
        self.name = name
        self.clock_jumps = False  # the clock of the source jumps, so its declared duration is wrong
        self.at_joint = False  # the clock has just jumped: sound may overlap that before it
        self.end: int | None = None  # ticks of the new file; packets from here on are left out
        self._source, self._copy, self._form = source, copy, out.format.name
        self._trial: Trial | None = None
        self._refused = 0  # packets that the container refuses, or with times far outside the file
        self._mended = 0  # repaired timestamps
        self._last_read: int | None = None  # last decoding time read, ticks of the source
        self._last_given: int | None = None  # last decoding time written, ticks of the new file
        self._read_until = 0  # end of the packets read, ticks of the source
        self._held: list[Packet] = []  # frames without a decoding time, before the first that has one
        self._early: Packet | None = None  # the last packet before the start
        self._first_key: int | None = None  # presentation time of the first key frame
        self._without_key = 0  # frames before it

    def start(self, cut: Fraction | None, bounds: tuple[Fraction, Fraction]) -> None:
        """Start, once the header is written. Second `cut` of the source becomes 0; packets that end before are dropped.

        Times outside `bounds`, in seconds of the source, are treated as damage.
        """
        assert self._source.time_base
        assert self._copy.time_base
        self._cut = cut
        ratio, shift = self._source.time_base / self._copy.time_base, (cut or Fraction(0)) / self._copy.time_base
        self._clock = (  # integers, because there are many packets
            ratio.numerator * shift.denominator,
            shift.numerator * ratio.denominator,
            ratio.denominator * shift.denominator,
        )
        self._low, self._high = (round(bound / self._source.time_base) for bound in bounds)

    def ticks(self, seconds: Fraction) -> int:
        """Convert seconds to ticks of the output stream."""
        assert self._copy.time_base
        number = seconds / self._copy.time_base
        return (2 * number.numerator + number.denominator) // (2 * number.denominator)

    def take(self, packet: Packet) -> Iterator[Packet]:
        """Process a packet of the source, which is modified, and yield the packets to mux."""
        for part in _amr_blocks(packet) if self._source.name == "amrnb" else [packet]:
            for dated in self._with_decoding_time(part):
                yield from self._given_on(dated)

    def refuse(self) -> None:
        """Leave out a packet whose time is damaged."""
        self._refused += 1

    def settled(self, time: Fraction) -> Iterator[Packet]:
        """Yield packets that are final once all input before `time`, in seconds of the new file, was taken."""
        return iter(())

    def finish(self) -> Iterator[Packet]:
        """Yield the remaining packets after all input was taken."""
        for packet in self._held:
            packet.dts = packet.pts
            yield from self._given_on(packet)
        if self._early is not None:
            yield from self._made_of(self._early)
        if self._trial is not None:
            self._trial.close()

    def warnings(self) -> Iterator[str]:
        """Yield warnings on damage and losses of the stream; complete after `finish`."""
        if damage := list(self._damage()):
            yield f"{self.name} is damaged: {', '.join(damage)}"
        if self._without_key:
            yield f"{self.name} lacks its first {self._without_key} frames, before a key frame"

    def _damage(self) -> Iterator[str]:
        if self._refused:
            yield f"{self._refused} packets were left out"
        if self._mended:
            yield f"{self._mended} timestamps did not increase and were repaired"
        promised, base = _promised_end(self._source), self._source.time_base
        if promised and base and self.end is None and not self.clock_jumps and self._source.type in ("audio", "video"):
            read = self._read_until * base
            if read < promised - max(Fraction(1, 2), promised / 100):
                yield f"only {max(0.0, float(read)):.1f} of {float(promised):.1f} s can be read"

    def _given_on(self, packet: Packet) -> Iterator[Packet]:
        if self._retimed(packet):
            for kept in self._cut_out(packet):
                yield from self._made_of(kept)

    def _with_decoding_time(self, packet: Packet) -> list[Packet]:
        """Add missing decoding times: Matroska has none, and FFmpeg computes them except for the first few frames."""
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
        """Convert the packet's times to ticks of the new file; False if they are implausible."""
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
        """Return the packet if it is between start and end; a packet before the start may precede the first one."""
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
            self._early = packet  # only the last one is kept, for the decoder to start with
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
        """Return a subtitle cut to the shown part. An image subtitle without a duration lasts until the next one."""
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
        """Yield the packet as the container accepts it; nothing if the test mux refuses it."""
        self._trial = self._trial or Trial(self._source, self._form)
        self._put_in_order(packet)
        if self._trial.takes(packet):
            yield self._for_mux(packet)
        else:
            self._refused += 1

    def _put_in_order(self, packet: Packet) -> None:
        last, dts = self._last_given, cast(int, packet.dts)
        if last is not None and (dts < last or (dts == last and self._form in _HIDES_WHAT_IS_EARLY)):
            is_overlap = self.at_joint and (last - dts) * (self._copy.time_base or 1) <= _OVERLAP
            packet.dts = dts = last + 1
            packet.pts = max(cast(int, packet.pts), dts)
            self._mended += not is_overlap
        else:
            self.at_joint = False
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
            yield f"{self._wrong} subtitles are not UTF-8"
        if self._too_long:
            yield f"{self._too_long} subtitles of more than {LONGEST} bytes were truncated"
        if self._screen.crowded_out:
            yield f"{self._screen.crowded_out} subtitles were left out: hundreds are shown at the same time"

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
    """Return the declared end of the stream in seconds, from its header, or from the DURATION tag of Matroska."""
    if stream.duration and stream.time_base:
        return (stream.duration + (stream.start_time or 0)) * stream.time_base
    tag = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d{1,9})", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) if tag else None


def _amr_blocks(packet: Packet) -> Iterator[Packet]:
    """Split a packet into 20 ms blocks of AMR speech: 3gp packs many together, which the mov muxer refuses."""
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
