"""Audio of codecs that PyAV cannot mux into Matroska: decode it and store it as FLAC, without further loss."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from dagan_cli.media.streams.track import Track

_MORE_THAN_16_BIT = ("s32", "s32p", "s64", "s64p")  # floats come from lossy codecs, whose noise is far above 16 bits


def flac_stream(out: OutputContainer, source: Stream) -> Stream:
    """Declare the FLAC stream for decodable audio."""
    before = cast(AudioCodecContext, source.codec_context)
    stream = cast(AudioStream, out.add_stream("flac", rate=before.sample_rate))
    stream.codec_context.layout = before.layout
    stream.codec_context.format = "s32" if before.format.name in _MORE_THAN_16_BIT else "s16"
    return stream


def can_be_flac(source: Stream) -> bool:
    context = source.codec_context
    return isinstance(context, AudioCodecContext) and bool(context.sample_rate and 0 < context.channels <= 8)


class SoundTrack(Track):
    """An audio track, decoded and encoded as FLAC."""

    def __init__(self, name: str, source: Stream, copy: Stream, out: OutputContainer) -> None:
        super().__init__(name, source, copy, out)
        self._decoder = cast(AudioStream, source).codec_context
        self._encoder = cast(AudioStream, copy).codec_context
        self._resampler: AudioResampler | None = None
        self._read = Fraction(0)  # end of the decoded audio, seconds

    def finish(self) -> Iterator[Packet]:
        yield from super().finish()
        yield from self._decoded(None)
        yield from self._encoded(None)

    def _made_of(self, packet: Packet) -> Iterator[Packet]:
        assert self._copy.time_base
        packet.time_base = self._copy.time_base
        yield from self._decoded(packet)

    def _decoded(self, packet: Packet | None) -> Iterator[Packet]:
        try:
            frames = self._decoder.decode(packet)
        except FFmpegError:
            self._refused += packet is not None
            return
        for frame in frames:
            begin = self._read  # some decoders return several frames per packet
            if frame.pts is not None and frame.time_base:
                begin = frame.pts * frame.time_base
            self._read = begin + Fraction(frame.samples, frame.sample_rate)
            frame.time_base, frame.pts = Fraction(1, frame.sample_rate), round(begin * frame.sample_rate)
            yield from self._encoded(frame)

    def _encoded(self, frame: AudioFrame | None) -> Iterator[Packet]:
        """Encode to FLAC frames that have one length, except the last, whatever the decoder returns."""
        encoder = self._encoder
        if self._resampler is None:
            self._resampler = AudioResampler(encoder.format, encoder.layout, encoder.sample_rate, encoder.frame_size)
        try:
            parts = self._resampler.resample(frame)
            packets = [packet for part in [*parts, *([] if frame else [None])] for packet in encoder.encode(part)]
        except (FFmpegError, ValueError):  # the audio format changes within the stream
            self._refused += 1
            return
        for packet in packets:
            if packet.pts is not None:
                packet.pts = packet.dts = self.ticks(packet.pts * packet.time_base)
                packet.duration = self.ticks((packet.duration or 0) * packet.time_base)
                self._put_in_order(packet)
                yield self._for_mux(packet)
