"""Packets of a video stream -> decoded pictures: what cannot be decoded is counted and left out, the rest goes on."""

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

_BAD_PACKETS_IN_A_ROW = 500  # by then nothing more will come
_WITH_ALPHA = {"vp9": "libvpx-vp9", "vp8": "libvpx"}  # FFmpeg's own decoders of these leave the transparency out


class Decoding:
    """The pictures of a stream, and what has become of its packets so far."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.decoded = 0  # pictures that came out
        self.interlaced = 0  # of those
        self.concealed = 0  # of those, which the decoder had to make up in part
        self.damaged_packets = 0  # that no picture could be made of
        self.hidden_packets = 0  # that an edit list keeps from being shown
        self.is_complete = False  # whether the stream was read to its end
        self.lacks_alpha = False  # whether the stream says that it has transparency which the decoder leaves out
        self._container = container
        self._stream = stream
        stream.codec_context.thread_type = "AUTO"
        self._decoder = self._alpha_decoder() or stream.codec_context
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # a damaged sound track would end the pictures early

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
        self._decoder, self.lacks_alpha = self._stream.codec_context, True  # libvpx may have been built for 8 bits only
        return self._decoder.decode(packet)

    def _packets(self) -> Iterator[Packet | None]:
        """Packets of the stream; after an error of the file None, which empties the decoder as its end does."""
        try:
            yield from self._container.demux(self._stream)
        except FFmpegError:
            self.damaged_packets += 1
            yield None
        except IndexError:  # after the last packet, where PyAV met a stream that was not there at the beginning
            return

    def _alpha_decoder(self) -> VideoCodecContext | None:
        """A decoder of the stream's transparency, if that takes another one than its own."""
        own = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") != "1" or own.name not in _WITH_ALPHA:
            return None
        try:
            decoder = cast(VideoCodecContext, av.CodecContext.create(_WITH_ALPHA[own.name], "r"))
        except UnknownCodecError:
            self.lacks_alpha = True
            return None
        decoder.color_range, decoder.colorspace = own.color_range, own.colorspace  # what the container alone may say
        decoder.color_primaries, decoder.color_trc = own.color_primaries, own.color_trc
        return decoder
