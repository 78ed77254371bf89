"""Decode the packets of a video stream to frames; packets that cannot be decoded are counted and skipped."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dagan_cli.media.clock import clock_of

_BAD_PACKETS_IN_A_ROW = 500  # after these, decoding stops
_WITH_ALPHA = {"vp9": "libvpx-vp9", "vp8": "libvpx"}  # FFmpeg's own decoders of these codecs ignore transparency


class Decoding:
    """Decodes the frames of a stream, and counts the results so far.

    With `decoding_times`, the timestamps of the container are in the order of decoding.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, decoding_times: bool = False) -> None:
        self.decoded = 0  # frames decoded
        self.interlaced = 0  # frames flagged interlaced
        self.concealed = 0  # frames with concealed errors
        self.damaged_packets = 0  # packets that could not be decoded
        self.hidden_packets = 0  # packets hidden by an edit list
        self.is_complete = False  # the stream was read to its end
        self.lacks_alpha = False  # the stream declares transparency that the decoder ignores
        self._container = container
        self._stream = stream
        self._times = _BestTimes(in_decoding_order=decoding_times)
        self._clock = clock_of(container, stream)
        stream.codec_context.thread_type = "AUTO"
        self._decoder = self._alpha_decoder() or stream.codec_context
        for other in container.streams:
            if other is not stream and not (self._clock and other in self._clock.streams):
                other.discard = Discard.all  # a damaged audio track would end the video early

    @property
    def jumps(self) -> int:
        """Number of jumps of the file's clock that were closed."""
        return self._clock.jumps if self._clock else 0

    def pictures_from(self, key: int, since: Fraction) -> Iterator[av.VideoFrame]:
        """Yield the frames that are shown from `since` on, in seconds, decoded from a key frame before it, in ticks."""
        self._container.seek(key, stream=self._stream, backward=True)
        self._decoder.flush_buffers()
        return self.pictures(since)

    def pictures_near(self, since: Fraction) -> Iterator[av.VideoFrame]:
        """Yield the frames from the key frame at or before `since` on, in seconds, as the file's clock tells it.

        Clock and times start anew, so that it may be called again, for any time. Raises FFmpegError if the file cannot
        be sought.
        """
        self._clock = None if self._clock is None else clock_of(self._container, self._stream)
        self._times = _BestTimes(in_decoding_order=self._times.in_decoding_order)
        assert self._stream.time_base
        self._container.seek(round(since / self._stream.time_base), stream=self._stream, backward=True)
        self._decoder.flush_buffers()
        return self.pictures()

    def pictures(self, since: Fraction | None = None) -> Iterator[av.VideoFrame]:
        """Yield all frames, or those that are shown from `since` on, in seconds: the others are not counted."""
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
                picture.pts = self._times.of(picture.pts, picture.dts)
                if since is not None and _is_before(picture, since):
                    continue
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
        """Yield the packets of the stream, and an empty one or None at the end, which flushes the decoder."""
        try:
            if self._clock is None:
                yield from self._container.demux(self._stream)
            else:
                packets = self._clock.joined(self._container.demux(*self._clock.streams))
                yield from (packet for packet, _ in packets if packet.stream_index == self._stream.index)
                yield None
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


class _BestTimes:
    """Chooses between the two times of each frame, by the rule of libavcodec's `guess_correct_pts`.

    A frame has the time that was stored with it, and the decoding time of the packet that made the decoder return it.
    The one that went backwards less often is right. Where timestamps are known to be decoding times, the first ones
    need not be wrong for that.
    """

    def __init__(self, *, in_decoding_order: bool) -> None:
        self.in_decoding_order = in_decoding_order
        self._wrong_pts = self._wrong_dts = 0
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._step = 0  # between the last two decoding times

    def of(self, pts: int | None, dts: int | None) -> int | None:
        """Return the time of the next frame, by its two times; None if it has neither."""
        if self.in_decoding_order and dts is None and self._step:
            dts = (self._last_dts or 0) + self._step  # one of the last frames, which no packet pushes out
        if dts is not None:
            if self._last_dts is not None:
                self._wrong_dts += dts <= self._last_dts
                self._step = max(0, dts - self._last_dts)
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._wrong_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is None or dts is None:
            return dts if pts is None else pts
        if self.in_decoding_order and not self._wrong_dts:
            return dts
        return pts if self._wrong_pts <= self._wrong_dts else dts


def _is_before(picture: av.VideoFrame, since: Fraction) -> bool:
    """True if a frame has a time, and it is before `since`, in seconds."""
    return picture.pts is not None and bool(picture.time_base) and picture.pts * picture.time_base < since
