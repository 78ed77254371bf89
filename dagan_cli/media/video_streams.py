"""Sound, subtitles and fonts: copied packet by packet from the input beside the new pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import count

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream

_OF_THE_OLD_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "number_of_")
_OF_THE_OLD_FILE += ("bps", "_statistics_", "alpha_mode")  # the last is the muxer's to say
_AMR_BLOCK = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)  # bytes, by frame type (3GPP TS 26.101)


class CopiedStreams:
    """The streams of `donor` that go into `out` unchanged, their packets muxed as the pictures advance.

    Add the streams in order, then call `until` before each picture's packet and `rest` at the end.
    """

    def __init__(self, donor: InputContainer, out: OutputContainer) -> None:
        self.warnings: list[str] = []
        self._donor = donor
        self._out = out
        self._copies: dict[int, Stream] = {}  # by the index in the donor
        self._last: dict[int, int] = {}  # decoding time of the last packet
        self._ends: dict[int, Fraction] = {}  # when what was read ends, seconds of the donor
        self._early: dict[int, Packet] = {}  # the last packet before time 0
        self._shift = Fraction(0)
        self._trimmed = False
        self._waiting: Packet | None = None
        self._packets: Iterator[Packet] = iter(())
        self._mended = 0

    def add(self, stream: Stream) -> None:
        """Take a stream along; the container must be known to hold it."""
        copy = self._out.add_stream_from_template(stream)
        copy.metadata.update(kept_metadata(stream.metadata))
        copy.disposition = stream.disposition
        if stream.type != "attachment":  # whose data is in the header
            self._copies[stream.index] = copy

    def start(self, cut_before: Fraction | None = None) -> None:
        """Begin; `cut_before` seconds of the donor become time 0, and what lies before is left out."""
        self._trimmed = cut_before is not None
        self._shift = cut_before or Fraction(0)
        if self._copies:
            self._packets = self._read()

    def until(self, time: Fraction) -> None:
        """Mux what is decoded up to `time` seconds of the new file."""
        for packet in self._up_to(time):
            self._mux(packet)

    def rest(self, end: Fraction | None = None) -> None:
        """Mux what is left, before `end` seconds of the new file if that is given."""
        for packet in self._up_to(None):
            if end is None or _seconds(packet) < end:
                self._mux(packet)
        for index in list(self._early):
            self._put(self._early.pop(index), index)
        for stream in self._wanted():
            self._check_length(stream)
        if self._mended:
            self.warnings.append(f"{self._mended} time stamps of copied streams did not increase, and were set anew")

    def _wanted(self) -> list[Stream]:
        return [stream for stream in self._donor.streams if stream.index in self._copies]

    def _check_length(self, stream: Stream) -> None:
        """A damaged file just ends, without an error: tell by the length that its header claims."""
        if stream.type == "audio" and stream.duration and stream.time_base:
            length = float(stream.duration * stream.time_base)
            end = float(self._ends.get(stream.index, 0) - (stream.start_time or 0) * stream.time_base)
            if end < length - max(0.5, 0.01 * length):
                self.warnings.append(f"stream {stream.index} is damaged: only {end:.1f} of {length:.1f} s can be read")

    def _read(self) -> Iterator[Packet]:
        try:
            for packet in self._donor.demux(*self._wanted()):
                if packet.size:
                    self._ends[packet.stream_index] = _seconds(packet) + (packet.duration or 0) * packet.time_base
                    yield from _split_amr(packet) if packet.stream.name == "amrnb" else [packet]
        except FFmpegError as error:
            self.warnings.append(f"the copied streams end early, at damage in the file ({error.strerror})")

    def _up_to(self, time: Fraction | None) -> Iterator[Packet]:
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = packet
            if packet is None or (time is not None and _seconds(packet) - self._shift > time):
                return
            self._waiting = None
            if self._timed(packet):
                yield packet

    def _timed(self, packet: Packet) -> bool:
        """Give the packet its time in the new file; False if it lies before the new beginning."""
        ticks = round(self._shift / packet.time_base)
        if packet.pts is None and packet.dts is None:
            packet.pts = self._last.get(packet.stream_index, ticks) + 1
            self._mended += 1
        pts = packet.dts if packet.pts is None else packet.pts
        assert pts is not None
        packet.dts = (pts if packet.dts is None else packet.dts) - ticks
        packet.pts = pts - ticks
        return not self._trimmed or packet.pts >= 0

    def _mux(self, packet: Packet) -> None:
        """Matroska players show what lies before 0, mp4 ones do not: leave it out there but for the last packet."""
        index = packet.stream_index
        assert packet.pts is not None
        if self._out.format.name in ("matroska", "webm") and packet.pts + (packet.duration or 0) <= 0:
            self._early[index] = packet
            return
        if index in self._early:
            self._put(self._early.pop(index), index)
        self._put(packet, index)

    def _put(self, packet: Packet, index: int) -> None:
        assert packet.pts is not None
        assert packet.dts is not None
        last = self._last.get(index)
        if last is not None and packet.dts <= last:
            packet.dts = last + 1
            packet.pts = max(packet.pts, packet.dts)
            self._mended += 1
        self._last[index] = packet.dts
        packet.stream = self._copies[index]
        self._out.mux(packet)


def sort_streams(
    donor: InputContainer, main: int, container_format: str, audio: bool
) -> tuple[list[Stream], list[str]]:
    """The streams beside the pictures (stream `main`) that the container holds as they are; warnings for others."""
    kept, warnings = [], []
    for stream in donor.streams:
        if stream.index == main or (stream.type == "audio" and not audio):
            continue
        if stream.type in ("audio", "subtitle", "attachment") and can_hold(container_format, stream):
            kept.append(stream)
        else:
            codec = stream.codec_context.name if stream.codec_context else stream.name or "unknown"
            cover = " (cover picture)" if stream.disposition & Disposition.attached_pic else ""
            warnings.append(f"stream {stream.index} is not kept: {stream.type} {codec}{cover}")
    return kept, warnings


def can_hold(container_format: str, stream: Stream) -> bool:
    """Whether a container takes this stream as it is: found out by writing a header to memory."""
    try:
        with av.open(io.BytesIO(), "w", format=container_format) as scratch:
            scratch.add_stream_from_template(stream)
            scratch.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Without what described the old file's own bytes."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(_OF_THE_OLD_FILE)}


def _split_amr(packet: Packet) -> Iterator[Packet]:
    """The 20 ms blocks of AMR speech in a packet: 3gp files pack many together, which the mov muxer refuses."""
    data, at = bytes(packet), 0
    for number in count():
        size = _AMR_BLOCK[data[at] >> 3 & 15]
        block = Packet(data[at : at + size])
        block.stream, block.time_base = packet.stream, packet.time_base
        block.duration = round(Fraction(1, 50) / packet.time_base)
        block.pts = None if packet.pts is None else packet.pts + number * block.duration
        block.dts = block.pts
        yield block
        at += size
        if at >= len(data):
            return


def _seconds(packet: Packet) -> Fraction:
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base
