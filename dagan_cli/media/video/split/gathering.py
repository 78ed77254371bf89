"""Gather the segments of a video that several processes make, in any order, and join them into one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagan_cli.errors import CannotWrite
from dagan_cli.files import whole_or_absent
from dagan_cli.media.captions import CARRIERS, not_carried
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import FilePlan
from dagan_cli.media.video.recipe import Encoding, Size
from dagan_cli.media.video.segments import WorkFolder, folder_of, work_folder
from dagan_cli.media.video.split.timeline import Stretch, Timeline
from dagan_cli.media.video.writer import encoder_errors, joined, planned
from dagan_cli.prefetch import processors


class Gathering:
    """The segments of a video; `length` frames each, as one process would make them."""

    def __init__(self, plan: FilePlan, work: WorkFolder, timeline: Timeline, length: int, folder: Path) -> None:
        self.plan = plan
        self.folder = folder  # where the files of the segments are written
        self.count = -(-len(timeline.times) // length)
        self.has_captions = False
        self.losses: tuple[str, ...] = ()
        self._work = work
        self._timeline = timeline
        self._length = length
        del work.segments[self.count :]  # a journal from elsewhere may list more than there are
        work.scattered = {index: segment for index, segment in work.scattered.items() if index < self.count}
        # Frames of the finished segments, and those of an earlier run.
        self.frames = self.resumed = sum(map(self._length_of, filter(self._is_kept, range(self.count))))

    @property
    def missing(self) -> list[int]:
        """Numbers of the segments that are not finished."""
        return [index for index in range(self.count) if not self._work.has(index)]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Properties of the source that the new file does not keep; complete once the file is."""
        codec = self.plan.recipe.codec
        lost = (not_carried(codec),) if self.has_captions and codec not in CARRIERS else ()
        return tuple(dict.fromkeys((*self.plan.recipe.warnings, *lost, *self.losses)))

    def stretch(self, index: int, tries: int = 0) -> Stretch:
        """Return the frames of a segment and where to decode from, after `tries` that did not fit the neighbour."""
        return self._timeline.stretch(index * self._length, self._length, tries)

    def is_alone(self, index: int) -> bool:
        """True if there is a segment before this one that it cannot be compared with: one process has made it."""
        return 0 < index <= len(self._work.segments) and not self._work.segments[index - 1].last

    def adopt(self, index: int, name: str, durations: list[int], before: str, last: str) -> None:
        """Take a finished file in the folder as this segment. Raises CannotWrite, OSError if it is not there."""
        self.frames += 0 if self._work.has(index) else self._length_of(index)
        self._work.adopt(index, name, list(self.stretch(index).times), durations, before, last)

    def unlike(self) -> int | None:
        """Return the first segment that does not continue the one before it: their digests of the frame differ."""
        ends = [(segment.before, segment.last) for segment in self._work.segments]
        for index in range(1, len(ends)):
            last, before = ends[index - 1][1], ends[index][0]
            if last and before and last != before:
                return index
        return None

    def _length_of(self, index: int) -> int:
        return min(self._length, len(self._timeline.times) - index * self._length)

    def _is_kept(self, index: int) -> bool:
        """True if an earlier run has finished a segment; one with other frames is forgotten."""
        work, times = self._work, list(self.stretch(index).times)
        if index < len(work.segments):
            if work.segments[index].pts == times:
                return True
            del work.segments[index:]
        elif index in work.scattered:
            if work.scattered[index].pts == times:
                return True
            del work.scattered[index]
        return False


def _threads(codec: str) -> int:
    """Return the threads that x264 gets from FFmpeg here, so that it encodes the same frames elsewhere; else 0."""
    return processors() if codec == "libx264" else 0


@contextmanager
def gather_video(
    target: Path,
    source: VideoInfo,
    size: Size,
    encoding: Encoding,
    timeline: Timeline,
    *,
    trim: bool,
    made_by: str,
    record: str,
    resume: Mapping[str, Any] | None,
    segment: int,
    replace: bool = True,
) -> Iterator[Gathering]:
    """Provide the segments of a video; `target` is complete once the block ends with all of them finished.

    It is the file that `create_video` makes, with the same settings. Raises what that does.
    """
    plan, settings = planned(target, source, size, encoding, trim, made_by, record, False, resume or {}, segment)
    plan = dataclasses.replace(plan, threads=_threads(plan.recipe.codec))
    with work_folder(target, settings, resume=resume is not None, scattered=True) as work:
        gathering = Gathering(plan, work, timeline, segment, folder_of(target))
        yield gathering
        if gathering.missing:
            raise CannotWrite(f"segments of {target} are missing", hint="run the same command again")
        work.complete()
        with whole_or_absent(target, replace=replace) as out, encoder_errors(target):
            gathering.losses = joined(out, plan, work, record)
