"""Write a video: encode frames in segments, each synced to disk before it counts, then join them into one file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from av.error import FFmpegError
from av.packet import Packet

from dagan_cli.errors import BadInput, BadOption, CannotWrite
from dagan_cli.files import is_write_failure, whole_or_absent
from dagan_cli.media.captions import CARRIERS, not_carried
from dagan_cli.media.container import container_of
from dagan_cli.media.made.identity import identity_of
from dagan_cli.media.made.stored import box_with
from dagan_cli.media.video import packets
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import FilePlan
from dagan_cli.media.video.preflight import check_encoder
from dagan_cli.media.video.recipe import Encoding, Size, plan
from dagan_cli.media.video.segments import SEGMENT, KeptFrame, WorkFolder, folder_of, kept_frames, work_folder
from dagan_cli.media.video.source import Frame
from dagan_cli.media.video.split.segment import SegmentEncoder
from dagan_cli.planes import PixelLayout, plane_shapes


@contextmanager
def create_video(
    target: Path,
    source: VideoInfo,
    size: Size,
    encoding: Encoding | None = None,
    *,
    trim: bool = False,
    made_by: str = "",
    record: str = "",
    alone: bool = False,
    resume: Mapping[str, Any] | None = None,
    segment: int = SEGMENT,
    keep: bool = False,
    replace: bool = True,
) -> Iterator[VideoWriter]:
    """Provide a writer of frames of `size` (width, height); `target` is complete once the block ends without error.

    Timestamps, colour tags, pixel shape, rotation, metadata and the other streams are those of `source`. `trim` cuts
    the other streams to the time of the written frames, and starts at time 0. `made_by` becomes the file's comment, if
    the source has none; `record`, the text of `media.made`, goes into its metadata. `alone`: the source is not a file,
    there are no other streams.

    With `resume`, the settings that affect the frames, finished segments of `segment` frames survive an error or a
    kill, and the next writer with the same settings reuses them: pass all frames through `VideoWriter.missing`. The
    frames do not depend on whether, or how often, the work was resumed. `keep` also keeps the frames of unfinished
    segments, compressed a little: for work that is slower than the disk by far. Without `replace`, a file that takes
    the name of `target` meanwhile is left alone.

    Raises BadOption for incompatible choices, CannotWrite if disk or encoder fail.
    """
    file, settings = planned(
        target, source, size, encoding or Encoding(), trim, made_by, record, alone, resume or {}, segment
    )
    with work_folder(target, settings, resume=resume is not None) as work:
        with VideoWriter(target, file, work, segment, keep=keep and resume is not None) as writer:
            writer._encode_kept()
            yield writer
            writer._finish_segments()
        with whole_or_absent(target, replace=replace) as out, encoder_errors(target):
            writer._losses = joined(out, file, work, record)


def kept_of(
    target: Path,
    source: VideoInfo,
    size: Size,
    encoding: Encoding,
    *,
    trim: bool,
    made_by: str,
    record: str,
    resume: Mapping[str, Any],
    segment: int,
) -> int:
    """Return the number of frames that a writer with these settings, of `create_video`, would find of an earlier run.

    Raises what `create_video` does before it writes.
    """
    if not folder_of(target).exists():
        return 0
    _, settings = planned(target, source, size, encoding, trim, made_by, record, False, resume, segment)
    return kept_frames(target, settings)


def planned(
    target: Path,
    source: VideoInfo,
    size: Size,
    encoding: Encoding,
    trim: bool,
    made_by: str,
    record: str,
    alone: bool,
    resume: Mapping[str, Any],
    segment: int,
) -> tuple[FilePlan, dict[str, Any]]:
    """Return the plan of the file, and the settings that a run must share to resume its segments."""
    form = container_of(target)
    if target.exists() and not alone and target.samefile(source.path):
        raise BadOption(f"{target} would overwrite its own source", hint="name another file with -o")
    recipe = plan(source, size, encoding, target.suffix.lower())
    check_encoder(recipe, size, source.rate, source.time_base)
    file = FilePlan(
        form=form,
        source=source,
        size=size,
        recipe=recipe,
        encoding=encoding,
        trim=trim,
        made_by=made_by,
        alone=alone,
        record=record,
    )
    with encoder_errors(target):
        headers = file.rehearse()
    return file, {
        **resume,
        "source": "" if alone else identity_of(source.path),
        "size": size,
        "container": form,
        "codec": recipe.codec,
        "pixel format": recipe.pix_fmt,
        "encoder options": recipe.options,
        "encoder version": headers,
        "segment length": segment,
    }


class VideoWriter:
    """Encodes the frames of a video one by one. The end of a segment is encoded while the next one starts."""

    def __init__(self, target: Path, file: FilePlan, work: WorkFolder, segment: int, *, keep: bool) -> None:
        self._written = [pts for segment in work.segments for pts in segment.pts] + work.kept  # by an earlier run
        self.frames = self.resumed = len(self._written)  # frames written in all; frames written by an earlier run
        self._target = target
        self._file = file
        self._work = work
        self._length = segment
        self._keeps = keep
        self._shapes = plane_shapes(file.recipe.layout, *file.size)
        self._begun = len(work.segments)
        self._segment: _Segment | None = None
        self._closing: Future[None] | None = None
        self._background = ThreadPoolExecutor(1, thread_name_prefix="dagan-segment")
        self._losses: tuple[str, ...] = ()
        self._captions: dict[int, bytes] = {}  # of the frames that are on their way, by pts
        self._lost_captions = False

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._background.shutdown(wait=True)  # let a segment that is being finished complete
        if self._segment is not None:
            self._segment.abandon()

    @property
    def layout(self) -> PixelLayout:
        """Layout of the planes passed to `write`."""
        return self._file.recipe.layout

    @property
    def kept(self) -> int:
        """Number of frames that the next run finds if this one has failed."""
        return self.frames if self._keeps else self._work.frames

    @property
    def warnings(self) -> tuple[str, ...]:
        """Properties of the source that the new file does not keep; complete once the file is."""
        lost = (not_carried(self._file.recipe.codec),) if self._lost_captions else ()
        return tuple(dict.fromkeys((*self._file.recipe.warnings, *lost, *self._losses)))

    def missing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames that are not written yet, out of all frames of the source; `write` adds their captions.

        Raises BadInput if the skipped frames differ from those that an earlier run wrote.
        """
        written, count = iter(self._written), 0
        for frame in frames:
            before = next(written, None)
            if frame.captions:
                self._lost_captions |= self._file.recipe.codec not in CARRIERS
                self._captions[frame.pts] = frame.captions
            if before is None:
                yield frame
            elif before != frame.pts:
                break
            else:
                self._captions.pop(frame.pts, None)
            count += before is not None
        if count != self.resumed:
            raise BadInput(
                f"{self._file.source.path} no longer decodes to the same frames",
                hint="start again with --no-resume",
            )

    def write(self, planes: Sequence[np.ndarray], pts: int, duration: int) -> None:
        """Encode one frame: planes of `layout`, shown at `pts` for `duration` ticks of the source's time base."""
        if planes[0].shape != self._file.size[::-1]:
            raise ValueError(f"frame of size {planes[0].shape[::-1]}, expected {self._file.size}")
        captions = self._captions.pop(pts, b"")
        with encoder_errors(self._target):
            self._add(planes, pts, duration, captions, new=True)
        self.frames += 1

    def _encode_kept(self) -> None:
        """Encode again the frames that an earlier run kept of unfinished segments."""
        number = np.dtype(np.uint8 if self.layout.depth == 8 else np.uint16)
        for frame in self._work.kept_frames(sum(map(prod, self._shapes)) * number.itemsize):
            samples = np.frombuffer(frame.planes, number)
            if not len(samples):
                raise CannotWrite(f"the frames that were kept of {self._target} are damaged", hint="use --no-resume")
            ends = accumulate(map(prod, self._shapes))
            planes = [samples[e - prod(shape) : e].reshape(shape) for e, shape in zip(ends, self._shapes, strict=True)]
            with encoder_errors(self._target):
                self._add(planes, frame.pts, frame.duration, frame.captions, new=False)

    def _add(self, planes: Sequence[np.ndarray], pts: int, duration: int, captions: bytes, *, new: bool) -> None:
        if self._segment is None:
            self._segment = _Segment(self._file, self._work, self._begun)
            self._begun += 1
        if self._closing is not None and self._closing.done():
            self._wait()  # its error stops the work now, not a segment later
        self._segment.add(planes, pts, duration, captions)
        if new and self._keeps:
            self._keep(KeptFrame(pts, duration, captions, b"".join(plane.tobytes() for plane in planes)))
        if len(self._segment.pts) == self._length:
            self._close_segment()

    def _keep(self, frame: KeptFrame) -> None:
        """Keep a frame; on a full disk the space is needed, and the work goes on without."""
        try:
            self._work.keep(self._begun - 1, frame)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise  # the folder is gone, for example: then the work is for nothing
            self._keeps = False
            self._work.keep_none(self._begun - 1)

    def _close_segment(self) -> None:
        """Finish the segment in the background, once the previous one is finished."""
        self._wait()
        if self._segment is not None:
            self._closing = self._background.submit(self._segment.finish)
            self._segment = None

    def _wait(self) -> None:
        if self._closing is not None:
            self._closing.result()
            self._closing = None

    def _finish_segments(self) -> None:
        if not self.frames:
            raise CannotWrite(f"{self._target} would be empty", hint="is --start beyond the end of the video?")
        with encoder_errors(self._target):
            self._close_segment()
            self._wait()
            self._work.complete()


class _Segment:
    """A segment that is being encoded into its file of the work folder."""

    def __init__(self, plan: FilePlan, work: WorkFolder, index: int) -> None:
        self._work = work
        self._index = index
        self._encoder = SegmentEncoder(plan, work.create(index))
        self.pts = self._encoder.pts
        self.add = self._encoder.add

    def finish(self) -> None:
        """Write the segment to disk and into the journal."""
        try:
            self._encoder.finish()
            self._work.finish(self.pts, self._encoder.durations)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Delete the segment's file: on a full disk the space is needed."""
        try:
            self._encoder.close()
        finally:
            self._work.discard(self._index)


def joined(out: BinaryIO, file: FilePlan, work: WorkFolder, record: str) -> tuple[str, ...]:
    """Write the finished file from all segments of its work folder; return warnings for losses against the source."""
    segments = work.segments
    start, last = segments[0].pts[0], segments[-1]
    losses = file.join(out, _packets(work), start, last.pts[-1] + last.durations[-1])
    if record and file.form in ("mp4", "mov"):
        out.seek(0, os.SEEK_END)
        out.write(box_with(record))
    return losses


def _packets(work: WorkFolder) -> Iterator[Packet]:
    """Yield the packets of all segments with their final times, in ticks of the source."""
    shown: list[int] = []
    for index, segment in enumerate(work.segments):
        with work.read(index) as file:
            shown += [segment.pts[0] + pts for pts in packets.times(file)]
    decoded = iter(packets.decoding_times(shown))
    for index, segment in enumerate(work.segments):
        with work.read(index) as file:
            for packet in packets.load(file):
                assert packet.pts is not None
                packet.pts += segment.pts[0]
                packet.dts = next(decoded)
                yield packet


@contextmanager
def encoder_errors(target: Path) -> Iterator[None]:
    """Report errors of encoder and container; `whole_or_absent` and the work folder report disk errors."""
    try:
        yield
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and is_write_failure(error):
            raise
        reason = error.strerror if isinstance(error, FFmpegError) else str(error)
        raise CannotWrite(
            f"cannot encode {target}: {reason}", hint="try .mkv, or another --codec or --pix-fmt"
        ) from error
