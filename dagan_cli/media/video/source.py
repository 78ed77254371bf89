"""Read a video: its properties, and its frames with their times. See `writer` for writing; both use only PyAV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.stream import VideoStream

from dagan_cli.errors import BadInput
from dagan_cli.media.container import ADVICE, open_input
from dagan_cli.media.gaps import Gaps
from dagan_cli.media.side_data import side_data
from dagan_cli.media.video.decode import Decoding
from dagan_cli.media.video.deinterlace import Deinterlacer
from dagan_cli.media.video.frames import cropped, layout_of, planes_of
from dagan_cli.media.video.info import describe, marks_of
from dagan_cli.media.video.pixel_shape import PixelShapes, fitted, is_other_shape
from dagan_cli.planes import PixelLayout

_LEAST = Fraction(1, 1000)  # seconds between a frame and one that claims the same time; all containers can tell them

Deinterlace = Literal["auto", "off", "on"]


class Irregular(Exception):
    """A piece of a video does not decode to the frames that its packets promise."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame and its time."""

    planes: tuple[np.ndarray, ...]  # see `PixelLayout`; possibly views of the decoder's memory: do not modify
    pts: int  # presentation time, in ticks of `time_base`
    time_base: Fraction  # seconds
    duration: int  # ticks
    layout: PixelLayout  # of these planes; it and their size may differ from `VideoInfo` if the stream changes
    captions: bytes = b""  # closed captions of this frame; see `dagan_cli.media.captions`


@contextmanager
def open_video(path: Path, deinterlace: Deinterlace = "auto") -> Iterator[VideoSource]:
    """Open a video file and decode its first frame, which determines `info`.

    Raises BadInput if the file cannot be read, holds no video, or none that can be decoded.
    """
    with open_input(path) as container:
        yield VideoSource(path, container, main_video(container, path), deinterlace)


class VideoSource:
    """An open video; its frames can be read once. The counts below cover what `frames` has read so far."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, deinterlace: Deinterlace) -> None:
        self.repaired_times = 0  # timestamps that were missing or did not increase
        marks = marks_of(path, container, stream)
        self._decoding = Decoding(container, stream, decoding_times=marks.decoding_times)
        self._deinterlace = deinterlace
        self._left_interlaced = 0  # frames that bwdif does not support
        self._changes: Counter[str] = Counter()  # how frames differ from the first one
        self._end = Fraction(0)  # end of the last frame, seconds
        self._shapes = PixelShapes(container, stream)
        pictures = self._decoding.pictures()
        first = next(pictures, None)
        if first is None:
            raise BadInput(f"no frame of {path} can be decoded", hint=ADVICE)
        self._pictures = chain([first], pictures)
        self._coded = (first.width, first.height)  # before cropping
        self._promised = stream.frames if "mp4" in container.format.name else 0  # not reliable in other containers
        self.info = describe(path, container, stream, first, marks)
        self._gaps = Gaps(self.info.time_base, self.info.start)

    @property
    def decoded(self) -> int:
        """Number of decoded frames."""
        return self._decoding.decoded

    @property
    def damaged_packets(self) -> int:
        """Number of packets that could not be decoded."""
        return self._decoding.damaged_packets

    def frames(
        self, *, start: float | None = None, end: float | None = None, limit: int | None = None
    ) -> Iterator[Frame]:
        """Yield the frames in the order they are shown, one in memory at a time; times strictly increase.

        `start` (first shown at or after) and `end` (shown before) are seconds from the start of the file; `limit` is
        a number of frames. The file is always decoded from its start, so that no frame is missed.
        If the stream changes its size, format or colours, so do the frames, but either all or none have alpha.
        """
        first, last = (None if t is None else self.info.start + Fraction(str(t)) for t in (start, end))  # 0.2 is 1/5
        given = 0
        for frame in self._timed(self._whole(self._pictures)):
            time = frame.pts * frame.time_base
            if last is not None and time >= last:
                return
            if first is None or time >= first:
                yield frame
                given += 1
                if given == limit:
                    return

    def frames_at(self, times: Sequence[int], key: int | None) -> Iterator[Frame]:
        """Yield the frames of these times, decoded from a key frame, or from the start of the file; in ticks.

        Raises Irregular unless they are exactly the frames that `frames` would yield there, as far as one can tell.
        """
        if key is not None:
            self._pictures = self._decoding.pictures_from(key, times[0] * self.info.time_base)
        due = iter(times)
        expected = next(due, None)
        for frame in self._timed(self._whole(self._pictures)):
            if key is None and frame.pts < times[0]:
                continue
            if frame.pts != expected:
                raise Irregular(f"a frame is shown at {frame.pts}, not at {expected} ticks")
            seen = self._decoding
            if self._changes or self.repaired_times or seen.interlaced or seen.concealed or seen.damaged_packets:
                raise Irregular("frames are damaged, or change their kind")
            yield frame
            if (expected := next(due, None)) is None:
                return
        raise Irregular(f"the file ends before the frame at {expected} ticks")

    def frames_near(self, time: float) -> Iterator[Frame]:
        """Yield the frames from the key frame at or before `time` on, in seconds from the start of the file.

        It may be called again, for any time. There are none if the file cannot be sought.
        """
        info = self.info
        try:
            self._pictures = self._decoding.pictures_near(info.start - info.moved + Fraction(time))
        except FFmpegError:
            return
        yield from self._timed(self._whole(self._pictures))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings collected while reading."""
        counts = (
            *((count, f"frames are {what}") for what, count in self._changes.items()),
            (self._left_interlaced, f"frames stay interlaced: bwdif does not support {self.info.pix_fmt} of this size"),
            (self._decoding.concealed, "damaged frames were decoded with concealed errors"),
            (self.repaired_times, "timestamps were missing or did not increase and were repaired"),
        )
        said = tuple(f"{count} {what}" for count, what in counts if count)
        unread = ("transparency is not read",) if self._decoding.lacks_alpha else ()
        return self.info.warnings + unread + self._interlacing() + self._retimed() + self._gaps.warnings + said

    @property
    def shortfall(self) -> str | None:
        """Reason why the file held fewer frames than declared; None if complete, or not yet read to its end."""
        seen = self._decoding
        if not seen.is_complete:
            return None
        if seen.damaged_packets:
            return f"{seen.damaged_packets} damaged packets could not be decoded"
        if self._promised:
            promised = self._promised - seen.hidden_packets
            return (
                f"the file declares {promised} frames but only {seen.decoded} were decoded"
                if promised > seen.decoded
                else None
            )
        if not self.info.duration or seen.jumps:  # the duration is read from the clock
            return None
        enough = self.info.duration - max(0.5, 0.01 * self.info.duration)
        if self._end >= enough or _last_packet_end(self.info.path, self._end) >= enough:
            return None  # complete, or only shorter than the audio
        return f"the file declares {self.info.duration:.1f} s but ends after {float(self._end):.1f} s"

    def _retimed(self) -> tuple[str, ...]:
        """Return notices about changes to the times of all streams."""
        moved, jumps = self.info.moved, self._decoding.jumps
        said = [f"the frames begin before 0: all streams are shown {float(moved):.3f} s later"] if moved else []
        if jumps:
            times = "once" if jumps == 1 else f"{jumps} times"
            said.append(f"the clock of the file jumps {times}: all streams go on by one clock")
        return tuple(said)

    def _interlacing(self) -> tuple[str, ...]:
        """Return a warning about interlaced frames and how they are handled."""
        count = self._decoding.interlaced - self._left_interlaced
        if count <= 0 or self._deinterlace == "on":
            return ()
        what = "the video is interlaced" if self.info.interlaced else f"{count} later frames are interlaced"
        if self._deinterlace == "off":
            return (f"{what} and not deinterlaced; the new file does not declare it",)
        return (f"{what}: deinterlaced with bwdif (--deinterlace off keeps it)",)

    def _whole(self, pictures: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, PixelLayout, Fraction]]:
        """Yield frames, their layouts and the shapes of their pixels.

        From the first interlaced one on, all pass through a deinterlacer.
        """
        kind, layout, bwdif, shape = None, self.info.layout, None, self._shapes.first
        for picture in pictures:
            now = self._shapes.of(picture)
            if (*_kind(picture), now) != kind:
                if bwdif is not None:
                    yield from ((whole, layout, shape) for whole in bwdif.rest())
                kind, layout, bwdif, shape = (*_kind(picture), now), self._layout(picture), None, now
            self._changes.update(self._differences(picture, layout, shape))
            everything = self._deinterlace == "on"
            if bwdif is None and (everything or (self._deinterlace == "auto" and picture.interlaced_frame)):
                bwdif = Deinterlacer.starting(picture, everything=everything)
                self._left_interlaced += bwdif is None
            if bwdif is None:
                yield picture, layout, shape
            else:
                yield from ((whole, layout, shape) for whole in bwdif.take(picture))
        if bwdif is not None:
            yield from ((whole, layout, shape) for whole in bwdif.rest())

    def _layout(self, picture: av.VideoFrame) -> PixelLayout:
        layout = layout_of(picture, self.info.codec)
        return self.info.layout if layout == self.info.layout else layout

    def _differences(self, picture: av.VideoFrame, layout: PixelLayout, shape: Fraction) -> Iterator[str]:
        """Yield how a frame differs from the first one, as phrases for a warning."""
        info, first = self.info, self.info.layout
        if (picture.width, picture.height) != self._coded:
            size = f"{picture.width}x{picture.height} instead of {self._coded[0]}x{self._coded[1]}"
            yield f"{size}: scaled to the size of the first"
        size = (picture.width, picture.height)
        seen = (info.width, info.height) if size == self._coded else size
        if shape != self._shapes.first and is_other_shape(seen, shape, self._whole_ratio):
            what = f"of pixels with the aspect ratio {_ratio(shape)} instead of {_ratio(self._shapes.first)}"
            yield f"{what}: fitted into the shape of the first, with black bars"
        if layout is first:
            return
        if picture.format.name != info.pix_fmt:
            yield f"{picture.format.name} instead of {info.pix_fmt}: converted to that format"
        if (layout.matrix, layout.full_range) != (first.matrix, first.full_range) and layout.chroma == first.chroma:
            yield "in another colour matrix or range than the first: converted"
        if (layout.tags.primaries, layout.tags.transfer) != (first.tags.primaries, first.tags.transfer):
            yield "in other primaries or another transfer than the first: not converted"

    @property
    def _whole_ratio(self) -> Fraction:
        """Ratio of width to height of the first frame, as shown."""
        return self.info.width * self._shapes.first / self.info.height

    def _timed(self, pictures: Iterator[tuple[av.VideoFrame, PixelLayout, Fraction]]) -> Iterator[Frame]:
        """Yield frames with valid, increasing timestamps; count the repaired ones."""
        info, last = self.info, None
        step = max(1, round(1 / (info.rate * info.time_base)))  # ticks between frames, if no duration is stored
        duration, moved = step, round(info.moved / info.time_base)
        least = max(1, round(_LEAST / info.time_base))
        for picture, layout, shape in pictures:
            ratio = picture.time_base / info.time_base if picture.time_base else Fraction(1)
            pts = None if picture.pts is None or info.stands_still else round(picture.pts * ratio) + moved
            if pts is None or (last is not None and pts <= last):
                self.repaired_times += 1
                pts = last + (least if pts is not None else duration) if last is not None else 0
            duration = round(picture.duration * ratio) if picture.duration else step
            last = pts
            self._gaps.follow(pts)
            self._end = (pts + duration) * info.time_base - info.start
            planes = planes_of(picture, layout)
            if info.crop and (picture.width, picture.height) == self._coded:
                planes = cropped(planes, layout, info.crop)
            if layout.alpha != info.layout.alpha:
                planes, layout = _with_alpha(planes, layout, info.layout.alpha)
            if shape != self._shapes.first:
                planes = fitted(planes, layout, shape, self._whole_ratio)
            sides = side_data(picture)
            captions = b"".join(bytes(side) for side in sides if side.type == SideDataType.A53_CC)
            yield Frame(planes, pts, info.time_base, duration, layout, captions)


def _ratio(shape: Fraction) -> str:
    return f"{shape.numerator}:{shape.denominator}"


def _kind(picture: av.VideoFrame) -> tuple[object, ...]:
    """Return everything that determines the layout."""
    tags = picture.color_range, picture.colorspace, picture.color_primaries, picture.color_trc
    return picture.width, picture.height, picture.format.name, tags


def _with_alpha(
    planes: tuple[np.ndarray, ...], layout: PixelLayout, wanted: bool
) -> tuple[tuple[np.ndarray, ...], PixelLayout]:
    """Add an opaque alpha plane to a frame, or remove its alpha plane."""
    alpha = (np.full_like(planes[0], 2**layout.depth - 1),) if wanted else ()
    return planes[: layout.planes - layout.alpha] + alpha, replace(layout, alpha=wanted)


def main_video(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    raise BadInput(
        f"{path} holds no video that can be decoded", hint="is it an audio file, perhaps with a cover image?"
    )


def _last_packet_end(path: Path, near: Fraction) -> float:
    """Return the end of the last packet of any stream, in seconds from the file's start; searches from `near` on."""
    end = 0.0
    with open_input(path) as container:
        origin = container.start_time or 0
        try:
            container.seek(origin + int(near * av.time_base))
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except FFmpegError:
            pass  # packets before the damage count
    return end - origin / av.time_base
