"""Pixels that are not square, and whose shape changes within a stream.

The shape of each frame is found, and the frame fitted into the shape of the first one. Broadcasts switch between 4:3
and 16:9 by the shape of the pixels alone. PyAV's frames do not tell it, and the decoder only that of the frames it
reads ahead. So once the decoder's changes, FFmpeg's scale filter is asked for each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.video.stream import VideoStream

from dagan_cli.planes import HALVINGS, PixelLayout

_BY_STREAM = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "vvc", "m4v", "avs", "cavsvideo"}  # no shape in the file
_STEPS = 1000  # pixels that the filter makes for a square pixel
_LARGEST = 16  # a shape that is more uneven is damage
_SAME = Fraction(1, 50)  # shapes of broadcasts are rounded in various ways


def squared(width: int, height: int, shape: Fraction | None) -> tuple[Fraction, Fraction]:
    """Return the size at which square pixels show a frame as pixels of `shape` do: one side grows, none shrinks.

    A shape that is unknown, or damage, counts as square.
    """
    if not shape or not 1 <= _LARGEST * shape <= _LARGEST**2:
        shape = Fraction(1)
    return max(width * shape, Fraction(width)), max(height / shape, Fraction(height))


class PixelShapes:
    """Finds the shape of the pixels of each frame, width by height, in the order of decoding."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.first = Fraction(stream.sample_aspect_ratio or 1)
        self._context = stream.codec_context
        self._watches = container.format.name in _BY_STREAM
        self._known = [self.first]
        self._graph: Graph | None = None
        self._form: tuple[object, ...] = ()

    def of(self, picture: av.VideoFrame) -> Fraction:
        """Return the shape of the pixels of a frame; where the file declares one for the stream, that one."""
        if not self._watches:
            return self.first
        now = Fraction(self._context.sample_aspect_ratio or 1)
        if now not in self._known and 1 <= _LARGEST * now <= _LARGEST**2:
            self._known.append(now)
        if len(self._known) == 1:
            return self.first
        try:
            ratio = self._measured(picture)
        except FFmpegError:
            return self.first
        return min(self._known, key=lambda shape: abs(shape - ratio))

    def _measured(self, picture: av.VideoFrame) -> Fraction:
        form = picture.width, picture.height, picture.format.name
        if self._graph is None or form != self._form:
            self._graph, self._form = _graph(picture), form
        self._graph.push(picture)
        return Fraction(self._graph.vpull().width, _STEPS)


def is_other_shape(size: tuple[int, int], shape: Fraction, whole: Fraction) -> bool:
    """True if a frame of `size` (width, height), with pixels of `shape`, is not shown at the ratio `whole`.

    Two percent are no difference.
    """
    return abs(size[0] * shape / size[1] / whole - 1) > _SAME


def fitted(
    planes: Sequence[np.ndarray], layout: PixelLayout, shape: Fraction, whole: Fraction
) -> tuple[np.ndarray, ...]:
    """Add black bars to a frame, so that all of it has the ratio of width to height `whole` as shown.

    `shape` is that of its pixels.
    """
    height, width = planes[0].shape
    if not is_other_shape((width, height), shape, whole):
        return tuple(planes)
    rows = max(0, round(width * shape / whole) - height)
    columns = max(0, round(height * whole / shape) - width)
    return _with_bars(planes, layout, rows, columns)


def _with_bars(planes: Sequence[np.ndarray], layout: PixelLayout, rows: int, columns: int) -> tuple[np.ndarray, ...]:
    """Add `rows` and `columns` of black, in all, in equal parts that keep chroma samples in their places."""
    halvings = HALVINGS[layout.chroma]
    down, across = (round(extra / 2 / (1 << h)) << h for extra, h in zip((rows, columns), halvings, strict=True))
    deep = 1 << (layout.depth - 8)
    luma = 0 if layout.full_range else 16 * deep
    black = [luma, 128 * deep, 128 * deep] if layout.chroma not in ("rgb", "gray") else [luma] * 3
    black[layout.planes - layout.alpha :] = [2**layout.depth - 1] * layout.alpha  # solid
    padded = []
    for number, (plane, value) in enumerate(zip(planes, black, strict=True)):
        is_chroma = layout.chroma not in ("rgb", "gray") and number in (1, 2)
        y, x = (down >> halvings[0], across >> halvings[1]) if is_chroma else (down, across)
        padded.append(np.pad(plane, ((y, y), (x, x)), constant_values=value))
    return tuple(padded)


def _graph(picture: av.VideoFrame) -> Graph:
    """Return a filter whose output is as wide as the shape of a frame's pixels tells."""
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=picture.time_base or Fraction(1, 25),
    )
    crop = graph.add("crop", "min(iw\\,4):min(ih\\,4):0:0")  # the values do not matter, so few are scaled
    scale = graph.add("scale", f"w=max(1\\,round({_STEPS}*sar)):h=2:eval=frame:flags=neighbor")
    graph.link_nodes(source, crop, scale, graph.add("buffersink")).configure()
    return graph
