"""Video in: what a file holds, and its frames with their times. Writing is `video_writer`, both by PyAV alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from dagan_cli.errors import BadInput
from dagan_cli.media.video_frames import planes_of
from dagan_cli.media.video_info import ADVICE, VideoInfo, describe, open_input

Deinterlace = Literal["auto", "off", "on"]

_BAD_PACKETS_IN_A_ROW = 500  # by then nothing more will come


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture and its time."""

    planes: tuple[np.ndarray, ...]  # as `PixelLayout` says; perhaps views of the decoder's memory: not to be changed
    pts: int  # when it is shown, in ticks of `time_base`
    time_base: Fraction  # seconds
    duration: int  # ticks


@contextmanager
def open_video(path: Path, deinterlace: Deinterlace = "auto") -> Iterator[VideoSource]:
    """Open a video file and decode its first frame, which settles what `info` says.

    Raises BadInput for what cannot be read, holds no video, or holds none that can be decoded.
    """
    with open_input(path) as container:
        stream = _main_video(container, path)
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # a damaged sound track would end the pictures early
        stream.codec_context.thread_type = "AUTO"
        yield VideoSource(path, container, stream, deinterlace)


class VideoSource:
    """An open video; its frames can be read once. The counts below are of what `frames` has read so far."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, deinterlace: Deinterlace) -> None:
        self.decoded = 0  # frames that came out of the decoder
        self.damaged_packets = 0  # packets that no frame could be made of
        self.concealed = 0  # frames that the decoder had to make up in part
        self.repaired_times = 0  # time stamps that were missing or did not increase
        self._container = container
        self._stream = stream
        self._deinterlace = deinterlace
        self._hidden = 0  # packets that an edit list keeps from being shown
        self._seen_all = False
        self._end = Fraction(0)  # when the last frame ends, seconds
        self._decoder = self._decode()
        first = next(self._decoder, None)
        if first is None:
            raise BadInput(f"no frame of {path} can be decoded", hint=ADVICE)
        self._pictures = chain([first], self._decoder)
        self.info = describe(path, container, stream, first)

    def frames(
        self, *, start: float | None = None, end: float | None = None, limit: int | None = None
    ) -> Iterator[Frame]:
        """Yield the frames in the order they are shown, one in memory at a time; times strictly increase.

        `start` (first shown at or after) and `end` (shown before) are seconds from the start of the file; `limit` is
        a number of frames. The file is decoded from its beginning in any case, so that no frame is missed.
        Raises BadInput where the picture changes its size or format.
        """
        first, last = (None if t is None else self.info.start + Fraction(str(t)) for t in (start, end))  # 0.2 is 1/5
        given = 0
        for frame in self._timed(self._progressive(self._pictures)):
            time = frame.pts * frame.time_base
            if last is not None and time >= last:
                return
            if first is None or time >= first:
                yield frame
                given += 1
                if given == limit:
                    return

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the reading, so far."""
        counts = (
            (self.concealed, "damaged frames were decoded as well as could be"),
            (self.repaired_times, "time stamps were missing or did not increase, and were set anew"),
        )
        return self.info.warnings + tuple(f"{count} {what}" for count, what in counts if count)

    @property
    def shortfall(self) -> str | None:
        """Why the file, read to its end, gave less than it should hold; None if it gave all, or was not read so far."""
        if not self._seen_all:
            return None
        if self.damaged_packets:
            return f"{self.damaged_packets} damaged packets could not be decoded"
        if "mp4" in self._container.format.name and self._stream.frames:
            promised = self._stream.frames - self._hidden
            return f"the file promises {promised} frames but gave {self.decoded}" if promised > self.decoded else None
        if not self.info.duration:
            return None
        enough = self.info.duration - max(0.5, 0.01 * self.info.duration)
        if self._end >= enough or _last_packet_end(self.info.path, self._end) >= enough:
            return None  # all there, or only outlasted by the sound
        return f"the file promises {self.info.duration:.1f} s but ends after {float(self._end):.1f} s"

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decoded frames; what cannot be decoded is counted and left out."""
        in_a_row = 0
        for packet in self._packets():
            self._hidden += packet is not None and packet.is_discard
            try:
                pictures = self._stream.decode(packet)
                in_a_row = 0
            except FFmpegError:
                self.damaged_packets += 1
                in_a_row += 1
                if in_a_row == _BAD_PACKETS_IN_A_ROW:
                    break
                continue
            for picture in pictures:
                self.decoded += 1
                self.concealed += picture.is_corrupt
                yield picture
        self._seen_all = True

    def _packets(self) -> Iterator[Packet | None]:
        """Packets of the video stream; after an error of the file None, which empties the decoder as its end does."""
        try:
            yield from self._container.demux(self._stream)
        except FFmpegError:
            self.damaged_packets += 1
            yield None

    def _progressive(self, pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Whole pictures: from the first interlaced one on, all go through a deinterlacer that keeps their number."""
        graph, mode = None, self._deinterlace
        for picture in pictures:
            if graph is None and (mode == "on" or (mode == "auto" and picture.interlaced_frame)):
                graph = _deinterlacer(picture, everything=mode == "on")
            if graph is None:
                yield picture
            else:
                graph.push(picture)
                yield from _pull(graph)
        if graph is not None:
            graph.push(None)
            yield from _pull(graph)

    def _timed(self, pictures: Iterator[av.VideoFrame]) -> Iterator[Frame]:
        """Frames with times that are there and increase; the mended ones are counted."""
        info, last = self.info, None
        step = max(1, round(1 / (info.rate * info.time_base)))  # ticks between frames, where nothing is said
        duration = step
        for picture in pictures:
            _check_same(picture, info)
            ratio = picture.time_base / info.time_base if picture.time_base else Fraction(1)
            pts = None if picture.pts is None else round(picture.pts * ratio)
            if pts is None or (last is not None and pts <= last):
                self.repaired_times += 1
                pts = last + (1 if pts is not None else duration) if last is not None else 0
            duration = round(picture.duration * ratio) if picture.duration else step
            last = pts
            self._end = (pts + duration) * info.time_base - info.start
            yield Frame(planes_of(picture, info.layout), pts, info.time_base, duration)


def _main_video(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    raise BadInput(f"{path} holds no video that can be decoded", hint="is it a sound file, or only a cover picture?")


def _last_packet_end(path: Path, near: Fraction) -> float:
    """When the last packet of any stream ends, in seconds from the start of the file, looked for from `near` on."""
    end = 0.0
    with open_input(path) as container:
        origin = container.start_time or 0
        try:
            container.seek(origin + int(near * av.time_base))
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except FFmpegError:
            pass  # what was seen before the damage counts
    return end - origin / av.time_base


def _deinterlacer(picture: av.VideoFrame, everything: bool) -> Graph:
    """bwdif, one picture out for each one in."""
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
    )
    bwdif = graph.add("bwdif", f"mode=send_frame:deint={'all' if everything else 'interlaced'}")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _pull(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):  # wants more, or has given all
            return


def _check_same(picture: av.VideoFrame, info: VideoInfo) -> None:
    shape = f"{picture.width}x{picture.height} {picture.format.name}"
    expected = f"{info.width}x{info.height} {info.pix_fmt}"
    if shape != expected:
        raise BadInput(
            f"the picture of {info.path} changes from {expected} to {shape}",
            hint="bring it to one size first: ffmpeg -i IN -vf scale=W:H,format=yuv420p -crf 10 OUT.mkv",
        )
