"""Deinterlace with FFmpeg's bwdif, one output frame per input frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import av
from av.error import FFmpegError
from av.filter import Graph
from av.video.format import VideoFormat

from dagan_cli.media.video.frames import layout_of

_TICK = Fraction(1, 1000)


class Deinterlacer:
    """Deinterlaces frames of one size and format, in order, one frame late, into a format with the same planes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @classmethod
    def starting(cls, picture: av.VideoFrame, *, everything: bool) -> Deinterlacer | None:
        """Return a deinterlacer that takes `picture` next; None if bwdif cannot keep its code values or size.

        `everything`: also deinterlace frames that are not flagged interlaced.
        """
        try:
            return cls(_graph(picture, everything=everything)) if _keeps_values(picture.format.name) else None
        except FFmpegError:  # fewer than four lines
            return None

    def take(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Pass one frame in, and yield the finished frames. Changes its colour tags."""
        self._graph.push(_untagged(picture))
        yield from self._ready()

    def rest(self) -> Iterator[av.VideoFrame]:
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                yield self._graph.vpull()
            except (BlockingIOError, EOFError):  # needs more input, or is at the end
                return


def _graph(picture: av.VideoFrame, *, everything: bool) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base or _TICK
    )
    bwdif = graph.add("bwdif", f"mode=send_frame:deint={'all' if everything else 'interlaced'}")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _untagged(picture: av.VideoFrame) -> av.VideoFrame:
    """Remove the colour tags: with them swscale, which FFmpeg inserts for some formats, would change the colours."""
    picture.color_range, picture.colorspace = 0, 2
    return picture


@cache
def _keeps_values(pix_fmt: str) -> bool:
    """True if output frames have the same planes as input frames; 10-bit gray, for example, would become RGB."""
    picture = av.VideoFrame(16, 16, pix_fmt)
    picture.pts, picture.time_base = 0, _TICK
    graph = _graph(picture, everything=False)
    graph.push(_untagged(picture))
    graph.push(None)
    kinds = [(form.chroma, form.depth, form.alpha) for form in (layout_of(picture, ""), layout_of(graph.vpull(), ""))]
    return kinds[0] == kinds[1] and not VideoFormat(pix_fmt, 16, 16).has_palette
