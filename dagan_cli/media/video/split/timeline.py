"""Find where a video can be cut: the times of all its frames and key frames, from its packets, without decoding.

Only an entirely regular file can be cut, as its frames must come out as they do when it is decoded from its start:
each packet has a time of its own, none is hidden or damaged, the clock never jumps, nothing is interlaced, and the
file holds what it declares. Any other file is decoded by one process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from av.error import FFmpegError
from av.stream import Discard
from av.video.stream import VideoStream

from dagan_cli.media.clock import clock_of
from dagan_cli.media.container import open_input
from dagan_cli.media.gaps import Gaps
from dagan_cli.media.video.info import VideoInfo, marks_of
from dagan_cli.media.video.source import Deinterlace

_RUN_UP = 8  # frames, at least, between the key frame where decoding begins and the first frame of a piece
_KEYS = (0, 4, 32)  # more key frames to go back, where the frames were not those of an earlier start


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames to decode, and where to begin."""

    times: tuple[int, ...]  # of the frames, ticks
    before: int | None  # time of the frame before them, which is decoded as well, to be compared; None: there is none
    key: int | None  # time of the key frame where decoding begins; None: the start of the file


@dataclass(frozen=True, slots=True)
class Timeline:
    """Times of the frames to upscale, and where decoding can begin; ticks of the source."""

    times: array[int]
    before: int | None  # time of the last frame before them, which is not upscaled
    keys: array[int]

    def stretch(self, first: int, count: int, tries: int = 0) -> Stretch:
        """Return the frames from number `first` on; the more `tries` have failed, the earlier decoding begins."""
        times = tuple(self.times[first : first + count])
        before = self.times[first - 1] if first else self.before
        if before is None or tries >= len(_KEYS):
            return Stretch(times, before, None)
        near = self.times[max(0, first - _RUN_UP)] if first else before
        place = bisect_right(self.keys, near) - 1 - _KEYS[tries]
        return Stretch(times, before, self.keys[place] if place > 0 else None)


def timeline_of(
    info: VideoInfo,
    deinterlace: Deinterlace = "auto",
    *,
    start: float | None = None,
    end: float | None = None,
    limit: int | None = None,
) -> Timeline | None:
    """Return the timeline of a video, of the part that `VideoSource.frames` yields; None if it cannot be cut."""
    if info.interlaced or deinterlace == "on" or info.stands_still or info.moved:
        return None
    try:
        found = _packets_of(info)
    except FFmpegError:
        return None
    if found is None:
        return None
    times, keys = found
    first, last = (None if t is None else info.start + Fraction(str(t)) for t in (start, end))
    begin = 0 if first is None else bisect_right(times, (first / info.time_base).__ceil__() - 1)
    stop = len(times) if last is None else bisect_right(times, (last / info.time_base).__ceil__() - 1)
    if limit is not None:
        stop = min(stop, begin + limit)
    return Timeline(times[begin:stop], times[begin - 1] if begin else None, keys) if begin < stop else None


def _packets_of(info: VideoInfo) -> tuple[array[int], array[int]] | None:
    """Return the times of all frames and of the key frames, in order; None for a file that is not regular."""
    times, keys, end = array("q"), array("q"), 0
    with open_input(info.path) as container:
        stream = container.streams[info.stream]
        assert isinstance(stream, VideoStream)
        if clock_of(container, stream) is not None or stream.time_base != info.time_base:
            return None
        if marks_of(info.path, container, stream).decoding_times:
            return None
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pts is None or packet.is_discard or packet.is_corrupt:
                return None
            times.append(packet.pts)
            end = max(end, packet.pts + (packet.duration or 0))
            if packet.is_keyframe:
                keys.append(packet.pts)
        declared = stream.frames if "mp4" in container.format.name else 0
    if not keys or keys[0] != times[0] or (declared and declared != len(times)):
        return None
    times, keys = array("q", sorted(times)), array("q", sorted(keys))
    if times[0] != keys[0] or any(one == other for one, other in pairwise(times)):
        return None
    gaps = Gaps(info.time_base, info.start)
    for time in times:
        gaps.follow(time)
    if gaps.warnings:
        return None
    length = float(end * info.time_base - info.start)
    is_short = info.duration is not None and not declared and length < info.duration - max(0.5, 0.01 * info.duration)
    return None if is_short else (times, keys)
