"""Decode the packets of a video stream to frames; packets that cannot be decoded are counted and skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_BAD_PACKETS_IN_A_ROW = 500  # after these, decoding stops
_WITH_ALPHA = {"vp9": "libvpx-vp9", "vp8": "libvpx"}  # FFmpeg's own decoders of these codecs ignore transparency


class Decoding:
    """Decodes the frames of a stream, and counts the results so far."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.decoded = 0  # frames decoded
        self.interlaced = 0  # frames flagged interlaced
        self.concealed = 0  # frames with concealed errors
        self.damaged_packets = 0  # packets that could not be decoded
        self.hidden_packets = 0  # packets hidden by an edit list
        self.is_complete = False  # the stream was read to its end
        self.lacks_alpha = False  # the stream declares transparency that the decoder ignores
        self._container = container
        self._stream = stream
        stream.codec_context.thread_type = "AUTO"
        self._decoder = self._alpha_decoder() or stream.codec_context
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # a damaged audio track would end the video early

    def pictures(self) -> Iterator[av.VideoFrame]:
        in_a_row = 0
        for packet in self._packets():
            self.hidden_packets += packet is not None and packet.is_discard
            try:
                pictures = self._decode(packet)
                in_a_row = 0
            except FFmpegError:
                self.damaged_packets += 1
                in_a_row += 1
                if in_a_row == _BAD_PACKETS_IN_A_ROW:
                    break
                continue
            for picture in pictures:
                self.decoded += 1
                self.interlaced += picture.interlaced_frame
                self.concealed += picture.is_corrupt
                yield picture
        self.is_complete = True

    def _decode(self, packet: Packet | None) -> list[av.VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except FFmpegError:
            if self.decoded or self._decoder is self._stream.codec_context:
                raise
        self._decoder, self.lacks_alpha = self._stream.codec_context, True  # libvpx may be built for 8 bits only
        return self._decoder.decode(packet)

    def _packets(self) -> Iterator[Packet | None]:
        """Yield the packets of the stream; after a file error None, which flushes the decoder as at the end."""
        try:
            yield from self._container.demux(self._stream)
        except FFmpegError:
            self.damaged_packets += 1
            yield None
        except IndexError:  # after the last packet, if PyAV found a stream that did not exist at the start
            return

    def _alpha_decoder(self) -> VideoCodecContext | None:
        """Return a decoder that supports the stream's transparency, if its own does not."""
        own = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") != "1" or own.name not in _WITH_ALPHA:
            return None
        try:
            decoder = cast(VideoCodecContext, av.CodecContext.create(_WITH_ALPHA[own.name], "r"))
        except UnknownCodecError:
            self.lacks_alpha = True
            return None
        decoder.color_range, decoder.colorspace = (
            own.color_range,
            own.colorspace,
        )  # these may be declared by the container only
        decoder.color_primaries, decoder.color_trc = own.color_primaries, own.color_trc
        return decoder
