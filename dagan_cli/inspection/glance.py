"""Coarse view of the frames of a video: the time of each, and its brightness over a grid of cells.

Verification uses it: it decodes with a loop of its own, independent of the reader that it checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dagan_cli.inspection.raw.transport import JoinedClock, Mover
from dagan_cli.media.container import open_input
from dagan_cli.media.marks import Marks
from dagan_cli.media.video.frames import cropped, layout_of, planes_of
from dagan_cli.media.video.pixel_shape import PixelShapes, fitted
from dagan_cli.planes import ColourTags, Matrix, PixelLayout

Grid = tuple[int, int]  # cells down and across

_FINEST: Grid = (9, 16)
_CELL = 8  # least side of a cell, in pixels of the smaller frame: smaller cells change too much
_BAD_PACKETS_IN_A_ROW = 500  # reading stops here: no further frame is expected
_BT709 = (0.2126, 0.7152, 0.0722)
_LUMA: dict[Matrix, tuple[float, ...]] = {  # weights of red, green and blue, for frames stored as RGB
    "bt601": (0.299, 0.587, 0.114),
    "bt2020": (0.2627, 0.678, 0.0593),
    "smpte240m": (0.212, 0.701, 0.087),
    "fcc": (0.3, 0.59, 0.11),
}


@dataclass(frozen=True, slots=True)
class Cells:
    """Means over the cells of a grid, each (down, across) float32 from 0 (black, clear) to 255 (white, solid)."""

    luma: np.ndarray
    visible: np.ndarray | None = None  # luma times alpha: colour under transparency may change
    alpha: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """One decoded frame of a video."""

    time: Fraction | None  # seconds, on the clock of the container; None if undeclared
    duration: Fraction  # seconds; 0 if undeclared
    size: tuple[int, int]  # (width, height) as stored
    said: ColourTags  # declared by the stream; undeclared: range 0, the others 2
    cells: Cells
    fields: tuple[Cells, ...] = ()  # upper and lower field of an interlaced frame


class Glances:
    """Frames of a video stream in display order, one in memory at a time; can be read once."""

    def __init__(
        self,
        path: Path,
        stream: int,
        grid: Grid,
        matrix: Matrix = "bt709",
        *,
        marks: Marks | None = None,
        clock: JoinedClock | None = None,
    ) -> None:
        """`matrix` defines the luma of frames stored as RGB. Frames are cropped and timed as `marks` and `clock` say.

        Reading raises BadInput.
        """
        self.damaged_packets = 0  # packets without a frame, up to now
        self.concealed = 0  # frames with concealed errors, up to now
        self._path = path
        self._stream = stream
        self._grid = grid
        self._luma = _LUMA.get(matrix, _BT709)
        self._marks = marks or Marks()
        self._clock = clock
        self._coded: tuple[int, int] | None = None  # size of the first frame, before cropping
        self._whole = Fraction(0)  # its ratio of width to height, as shown
        self._shape = Fraction(1)  # of its pixels
        self._last = (0, 0)  # decoding time of the last frame, and its distance to the one before it

    def __iter__(self) -> Iterator[Glance]:
        with open_input(self._path) as container:
            stream = cast(VideoStream, container.streams[self._stream])
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all  # a damaged audio track would end the video early
            decoder = _decoder(stream)
            shapes, mover = PixelShapes(container, stream), Mover(self._clock)
            in_a_row = 0
            for packet in self._packets(container.demux(stream)):
                if packet is not None:
                    mover.move(packet)
                try:
                    frames = decoder.decode(packet)
                    in_a_row = 0
                except FFmpegError:
                    self.damaged_packets += 1
                    in_a_row += 1
                    if in_a_row == _BAD_PACKETS_IN_A_ROW:
                        return
                    continue
                for frame in frames:
                    self.concealed += frame.is_corrupt
                    yield self._glance(frame, stream, shapes)

    def _as_shown(self, planes: Sequence[np.ndarray], layout: PixelLayout, shape: Fraction) -> Sequence[np.ndarray]:
        """Crop the planes, and fit a frame of another shape than the first one into that shape."""
        size = planes[0].shape[::-1]
        self._coded = self._coded or size
        if self._marks.crop and size == self._coded:
            planes = cropped(planes, layout, self._marks.crop)
        if not self._whole:
            self._whole = Fraction(planes[0].shape[1], planes[0].shape[0]) * shape
            self._shape = shape
        return planes if shape == self._shape else fitted(planes, layout, shape, self._whole)

    def _time(self, frame: VideoFrame) -> int | None:
        """Return the time of a frame in ticks: where the file has decoding times, frames are shown in their order."""
        if not self._marks.decoding_times:
            return frame.pts
        last, step = self._last
        time = frame.dts if frame.dts is not None else last + step if step else frame.pts
        if time is not None:
            self._last = time, time - last
        return time

    def _packets(self, packets: Iterator[Packet]) -> Iterator[Packet | None]:
        """Yield the packets; after a read error yield None, which flushes the decoder as at the end of the file."""
        try:
            yield from packets
        except FFmpegError:
            self.damaged_packets += 1
            yield None

    def _glance(self, frame: VideoFrame, stream: VideoStream, shapes: PixelShapes) -> Glance:
        layout = layout_of(frame, stream.codec_context.name)
        planes = self._as_shown(planes_of(frame, layout), layout, shapes.of(frame))
        colours = planes[: layout.planes - layout.alpha]
        alpha = planes[-1] / np.float32(2**layout.depth - 1) if layout.alpha else None
        step = 2.0 ** (layout.depth - 8)
        zero, white = (0.0, 2.0**layout.depth - 1) if layout.full_range else (16 * step, 235 * step)
        luma = self._luma if layout.chroma == "rgb" else (1.0,)

        def cells(lines: slice) -> Cells:
            seen = None if alpha is None else alpha[lines]
            return coarse([plane[lines] for plane in colours[: len(luma)]], self._grid, luma, zero, white, seen)

        tick = Fraction(frame.time_base or stream.time_base or 0)
        return Glance(
            time=None if (pts := self._time(frame)) is None else pts * tick,
            duration=(frame.duration or 0) * tick,
            size=planes[0].shape[::-1],
            said=ColourTags(
                range=int(frame.color_range),
                matrix=int(frame.colorspace),
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
            ),
            cells=cells(slice(None)),
            fields=(cells(slice(0, None, 2)), cells(slice(1, None, 2))) if frame.interlaced_frame else (),
        )


def grid_for(width: int, height: int) -> Grid:
    """Return the grid for comparing two frames; `width` and `height` are those of the smaller one."""
    return min(_FINEST[0], max(1, height // _CELL)), min(_FINEST[1], max(1, width // _CELL))


def coarse(
    planes: Sequence[np.ndarray],
    grid: Grid,
    luma: Sequence[float] = _BT709,
    zero: float = 0,
    white: float = 255,
    alpha: np.ndarray | None = None,
) -> Cells:
    """Return the cells of a frame whose luma is the sum of its planes, (H, W) each, weighted by `luma`.

    `zero` and `white` are the values of black and white. `alpha` is (H, W), from 0 clear to 1 solid.
    """
    gain = np.float32(255 / (white - zero))
    if alpha is None:
        means = [_means(plane, grid) for plane in planes]  # faster than weighting every pixel
        return Cells((_weighted(means, luma) - np.float32(zero)) * gain)
    whole = (_weighted(planes, luma) - np.float32(zero)) * gain
    return Cells(_means(whole, grid), _means(whole * alpha, grid), _means(alpha, grid) * 255)


def _weighted(parts: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    total = np.zeros(parts[0].shape, np.float32)
    for part, share in zip(parts, shares, strict=True):
        total += part * np.float32(share)
    return total


def _means(plane: np.ndarray, grid: Grid) -> np.ndarray:
    """(H, W) of any numbers  ->  `grid` float32: exact means; a pixel on the border of two cells counts in both."""
    down, across = (_shares(length, cells) for length, cells in zip(plane.shape, grid, strict=True))
    return down @ (plane.astype(np.float32, copy=False) @ across.T)


@lru_cache(maxsize=8)
def _shares(length: int, cells: int) -> np.ndarray:
    """(cells, length) float32: share of each cell that each pixel covers; rows sum to 1."""
    edges = np.arange(cells + 1)[:, None] * (length / cells)
    covered = np.clip(edges - np.arange(length), 0, 1)  # part of each pixel before each edge
    return (np.diff(covered, axis=0) * (cells / length)).astype(np.float32)


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """Return the stream's own decoder; for VP9 with transparency libvpx, the only decoder that returns alpha."""
    decoder = stream.codec_context
    if decoder.codec.canonical_name == "vp9" and stream.metadata.get("alpha_mode") == "1":
        decoder = cast(VideoCodecContext, CodecContext.create("libvpx-vp9", "r"))
    decoder.thread_type = "AUTO"
    return decoder
