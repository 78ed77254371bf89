"""Video out: pictures encoded segment by segment, each safe on disk before it counts, then joined into one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet

from dagan_cli.atomic import is_write_failure, whole_or_absent
from dagan_cli.errors import BadInput, BadOption, CannotWrite
from dagan_cli.media.container import container_of
from dagan_cli.media.video import packets
from dagan_cli.media.video.frames import frame_of
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import FilePlan
from dagan_cli.media.video.preflight import check_encoder
from dagan_cli.media.video.recipe import Encoding, Size, plan
from dagan_cli.media.video.segments import WorkFolder, identity_of, work_folder
from dagan_cli.media.video.source import Frame
from dagan_cli.planes import PixelLayout

SEGMENT = 240  # frames: about as far apart as encoders set key frames by themselves


@contextmanager
def create_video(
    target: Path,
    source: VideoInfo,
    size: Size,
    encoding: Encoding | None = None,
    *,
    trim: bool = False,
    made_by: str = "",
    alone: bool = False,
    resume: Mapping[str, Any] | None = None,
    segment: int = SEGMENT,
) -> Iterator[VideoWriter]:
    """Lend a writer of `size` (width, height) pictures; `target` is there, whole, once the block ends without error.

    Time stamps, colour tags, pixel shape, rotation, metadata and the other streams are those of `source`. `trim` keeps
    of the other streams only what lies beside the pictures written, and begins at time 0. `made_by` becomes the file's
    comment, if the source has none. `alone`: the source is no file, there are no other streams.

    With `resume`, the settings that shape the pictures, finished segments of so many frames outlive an error or a kill,
    and the next writer of the same settings has them: give it all frames through `VideoWriter.missing`. The frames do
    not depend on whether, or how often, that happened.

    Raises BadOption for choices that do not go together, CannotWrite where disk or encoder fail.
    """
    encoding = encoding or Encoding()
    form = container_of(target)
    if target.exists() and not alone and target.samefile(source.path):
        raise BadOption(f"{target} would overwrite its own source", hint="name another file with -o")
    recipe = plan(source, size, encoding, target.suffix.lower())
    check_encoder(recipe, size, source.rate, source.time_base)
    file = FilePlan(
        form=form, source=source, size=size, recipe=recipe, encoding=encoding, trim=trim, made_by=made_by, alone=alone
    )
    with _encoder_errors(target):
        headers = file.rehearse()
    settings = {
        **(resume or {}),
        "source": {} if alone else identity_of(source.path),
        "size": size,
        "container": form,
        "codec": recipe.codec,
        "pixel format": recipe.pix_fmt,
        "encoder options": recipe.options,
        "encoder version": headers,
        "segment length": segment,
    }
    with work_folder(target, settings, resume=resume is not None) as work:
        with VideoWriter(target, file, work, segment) as writer:
            yield writer
            writer._finish_segments()
        with whole_or_absent(target) as part, _encoder_errors(target):
            writer._join(part)


class VideoWriter:
    """Takes the pictures of a video one by one. The end of a segment is encoded while the next one begins."""

    def __init__(self, target: Path, file: FilePlan, work: WorkFolder, segment: int) -> None:
        self.frames = self.resumed = work.frames  # written so far; of which an earlier run wrote the first ones
        self._target = target
        self._file = file
        self._work = work
        self._length = segment
        self._begun = len(work.segments)
        self._segment: _Segment | None = None
        self._closing: Future[None] | None = None
        self._background = ThreadPoolExecutor(1, thread_name_prefix="dagan-segment")
        self._losses: tuple[str, ...] = ()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._background.shutdown(wait=True)  # a segment that is being finished may still count
        if self._segment is not None:
            self._segment.abandon()

    @property
    def layout(self) -> PixelLayout:
        """What the planes given to `write` must be."""
        return self._file.recipe.layout

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the new file does not hold as the source did; complete once the file is."""
        return (*self._file.recipe.warnings, *self._losses)

    def missing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Of all frames of the source those that are still to be written.

        Raises BadInput where the others are not those that an earlier run has written.
        """
        written = (pts for segment in self._work.segments for pts in segment.pts)
        count = 0
        for frame in frames:
            before = next(written, None)
            if before is None:
                yield frame
            elif before != frame.pts:
                break
            count += before is not None
        if count != self.resumed:
            raise BadInput(
                f"{self._file.source.path} does not decode to the frames it had before",
                hint="begin again with --no-resume",
            )

    def write(self, planes: Sequence[np.ndarray], pts: int, duration: int) -> None:
        """Encode one picture: planes of `layout`, shown at `pts` for `duration` ticks of the source's time base."""
        if planes[0].shape != self._file.size[::-1]:
            raise ValueError(f"a picture of {planes[0].shape[::-1]} given to a video of {self._file.size}")
        with _encoder_errors(self._target):
            if self._segment is None:
                self._segment = _Segment(self._file, self._work.path_of(self._begun))
                self._begun += 1
            if self._closing is not None and self._closing.done():
                self._wait()  # what went wrong with it stops the work now, not a segment later
            self._segment.add(planes, pts, duration)
            self.frames += 1
            if len(self._segment.pts) == self._length:
                self._close_segment()

    def _close_segment(self) -> None:
        """Let the background finish the segment, once it has finished the one before."""
        self._wait()
        if self._segment is not None:
            self._closing = self._background.submit(self._segment.finish, self._work)
            self._segment = None

    def _wait(self) -> None:
        if self._closing is not None:
            self._closing.result()
            self._closing = None

    def _finish_segments(self) -> None:
        if not self.frames:
            raise CannotWrite(f"{self._target} would be empty", hint="is --start beyond the end of the video?")
        with _encoder_errors(self._target):
            self._close_segment()
            self._wait()
            self._work.complete()

    def _join(self, part: Path) -> None:
        segments = self._work.segments
        start, last = segments[0].pts[0], segments[-1]
        self._losses = self._file.join(part, self._packets(), start, last.pts[-1] + last.durations[-1])

    def _packets(self) -> Iterator[Packet]:
        """The packets of all segments with their final times, in ticks of the source."""
        shown: list[int] = []
        for index, segment in enumerate(self._work.segments):
            with self._work.path_of(index).open("rb") as file:
                shown += [segment.pts[0] + pts for pts in packets.times(file)]
        decoded = iter(packets.decoding_times(shown))
        for index, segment in enumerate(self._work.segments):
            with self._work.path_of(index).open("rb") as file:
                for packet in packets.load(file):
                    assert packet.pts is not None
                    packet.pts += segment.pts[0]
                    packet.dts = next(decoded)
                    yield packet


class _Segment:
    """Pictures on their way through an encoder of their own into a file, their times counted from the first one."""

    def __init__(self, plan: FilePlan, path: Path) -> None:
        self.pts: list[int] = []
        self.durations: list[int] = []
        self._plan = plan
        self._path = path
        self._packets = 0
        self._open = ExitStack()
        self._encoder = self._open.enter_context(plan.encoder())
        self._file = self._open.enter_context(path.open("wb"))

    def add(self, planes: Sequence[np.ndarray], pts: int, duration: int) -> None:
        recipe = self._plan.recipe
        self.pts.append(pts)
        self.durations.append(duration)
        frame = frame_of(planes, recipe.pix_fmt, recipe.layout.tags)
        frame.time_base = self._plan.source.time_base
        frame.pts, frame.duration = pts - self.pts[0], duration
        self._encode(frame)

    def finish(self, work: WorkFolder) -> None:
        """Put the segment on the disk and into the journal."""
        try:
            self._encode(None)
            if self._packets != len(self.pts):
                codec = self._plan.recipe.codec
                raise CannotWrite(
                    f"{codec} made {self._packets} pictures of {len(self.pts)}", hint="try another --codec"
                )
            self._open.close()
            work.finish(self.pts, self.durations)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Leave nothing: on a full disk the room is needed."""
        try:
            self._open.close()
        finally:
            self._path.unlink(missing_ok=True)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._encoder.encode(frame):
            packets.store(self._file, packet)
            self._packets += 1


@contextmanager
def _encoder_errors(target: Path) -> Iterator[None]:
    """Tell what encoder or container refuse; `whole_or_absent` and the work folder tell what the disk refuses."""
    try:
        yield
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and is_write_failure(error):
            raise
        reason = error.strerror if isinstance(error, FFmpegError) else str(error)
        raise CannotWrite(
            f"cannot encode {target}: {reason}", hint="try .mkv, or another --codec or --pix-fmt"
        ) from error
