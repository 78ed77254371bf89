"""Look at a film here and there within a time limit, and read seconds of it, each from the key frame before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np

from dagan_cli.errors import BadInput
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.source import Frame, VideoSource, open_video
from dagan_cli.planes import HALVINGS, PixelLayout
from dagan_cli.preview.places import Box, Cells, cells_of

_LIMIT = 4.0  # seconds to spend on looking at a film
_LOOKS = 32  # frames that are looked at, at most
_FEW = 8  # of them, at least, of a film whose frames are large
_DECODED = 120_000_000  # pixels that are decoded in all; a film of fewer is decoded from start to end
_SOUGHT = 60_000_000  # pixels of the frames that are sought in a longer one
_EARLIER = 0.0, 3.0, 12.0  # seconds to seek before a time: in a broadcast, a search does not end at a key frame
_LATE = 0.25  # seconds; a frame so late is not the one that was sought
RATE = 12  # frames per second that are shown, at most
FRAMES = 12  # of a second, at most


class Look(NamedTuple):
    """A frame that was looked at."""

    time: float  # seconds from the start of the film
    cells: Cells


def look_around(path: Path, stop_if_asked: Callable[[], None]) -> list[Look]:
    """Measure frames from all over a film, in the order of their times; at least one. Raises BadInput."""
    with open_video(path) as video:
        info = video.info
        pixels = info.width * info.height
        if info.frames is None or info.duration is None or info.frames * pixels <= _DECODED:
            found = list(_in_order(video, pixels, stop_if_asked))
        else:
            found = list(_here_and_there(video, pixels, info.duration, stop_if_asked))
            if not found:  # the file cannot be sought
                with open_video(path) as again:
                    found = list(_in_order(again, pixels, stop_if_asked))
    if not found:
        raise BadInput(f"no frame of {path} can be looked at", hint="check that it plays")
    return sorted({look.time: look for look in found}.values(), key=lambda look: look.time)


def second_of(path: Path, time: float, stop_if_asked: Callable[[], None]) -> tuple[list[Frame], float]:
    """Return the frames of the second that starts at `time`, at most FRAMES, and how many of them fill a second.

    The frames own their planes, and have one size and format. Raises BadInput if there is none.
    """
    with open_video(path) as video:
        step = max(1, round(video.info.rate / RATE))
        frames: list[Frame] = []
        for index, frame in enumerate(_from(video, time)):
            stop_if_asked()
            if index % step == 0:
                if not _is_alike(frame, video.info):
                    break
                frames.append(replace(frame, planes=tuple(np.array(plane) for plane in frame.planes)))
            if len(frames) == FRAMES or _time(frame, video.info) >= time + 1:
                break
    if not frames:
        raise BadInput(f"{path} has no frames at {time:.1f} s that can be shown", hint="check that it plays there")
    return frames, float(video.info.rate / step)


def part_of(frame: Frame, box: Box) -> Frame:
    """Return a part of a frame that starts where a sample of chroma does."""
    down, across = HALVINGS[frame.layout.chroma]
    planes = []
    for number, plane in enumerate(frame.planes):
        is_chroma = frame.layout.chroma != "rgb" and number in (1, 2)
        y, x = (down, across) if is_chroma else (0, 0)
        rows = slice(box.top >> y, -(-(box.top + box.height) >> y))
        planes.append(plane[rows, box.left >> x : -(-(box.left + box.width) >> x)])
    return replace(frame, planes=tuple(planes))


def luma_of(frame: Frame) -> np.ndarray:
    """Return the luma of a frame, (H, W) uint8 of full range."""
    layout = frame.layout
    if layout.chroma == "rgb":
        r, g, b = (_as_bytes(plane, layout.depth).astype(np.uint32) for plane in frame.planes[:3])
        return ((77 * r + 150 * g + 29 * b) >> 8).astype(np.uint8)
    luma = _as_bytes(frame.planes[0], layout.depth)
    return luma if layout.full_range else _FULL[luma]


_FULL = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)  # of limited range


def _as_bytes(plane: np.ndarray, depth: int) -> np.ndarray:
    return plane if depth == 8 else (plane >> (depth - 8)).astype(np.uint8)


def _in_order(video: VideoSource, pixels: int, stop_if_asked: Callable[[], None]) -> Iterator[Look]:
    """Decode a short film, or the start of one whose length is unknown, and look at some of its frames."""
    info, until = video.info, monotonic() + _LIMIT
    most = max(1, _DECODED // pixels)
    step = max(1, -(-min(most, info.frames or most) // _LOOKS))
    for index, frame in enumerate(video.frames(limit=most)):
        stop_if_asked()
        if index % step == 0 and _is_alike(frame, info):
            yield Look(_time(frame, info), cells_of(luma_of(frame)))
        if monotonic() > until:
            return


def _here_and_there(
    video: VideoSource, pixels: int, duration: float, stop_if_asked: Callable[[], None]
) -> Iterator[Look]:
    """Look at key frames: first far from each other, then between those, until the time is over."""
    info, until = video.info, monotonic() + _LIMIT
    count = min(_LOOKS, max(_FEW, _SOUGHT // pixels))
    seen: set[int] = set()
    for place in sorted(range(count), key=lambda place: _reversed_bits(place)):
        stop_if_asked()
        frame = next(video.frames_near(duration * (place + 0.5) / count), None)
        if frame is not None and frame.pts not in seen and _is_alike(frame, info):
            seen.add(frame.pts)
            yield Look(_time(frame, info), cells_of(luma_of(frame)))
        if monotonic() > until and len(seen) >= 3:
            return


def _reversed_bits(number: int) -> int:
    """Reverse ten bits: numbers in this order fill a range ever more densely."""
    return int(f"{number:010b}"[::-1], 2)


def _from(video: VideoSource, time: float) -> Iterator[Frame]:
    """Yield the frames that are shown from `time` on."""
    since = time - 0.5 / float(video.info.rate)  # times are rounded
    for earlier in _EARLIER:
        near = (one for one in video.frames_near(max(0.0, time - earlier)) if _time(one, video.info) >= since)
        first = next(near, None)
        if first is not None and (_time(first, video.info) < time + _LATE or earlier == _EARLIER[-1]):
            yield first
            yield from near
            return
    with open_video(video.info.path) as again:  # the file cannot be sought
        yield from again.frames(start=max(0.0, since))


def _time(frame: Frame, info: VideoInfo) -> float:
    return float(frame.pts * frame.time_base - info.start)


def _is_alike(frame: Frame, info: VideoInfo) -> bool:
    """True if a frame has the size and layout of the first one."""
    layout: PixelLayout = frame.layout
    return layout == info.layout and frame.planes[0].shape == (info.height, info.width)
