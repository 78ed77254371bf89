"""Writing YUV4MPEG2 (y4m), raw video for pipes; what it is tells `y4m`, which reads it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dagan_cli.atomic import cannot_write
from dagan_cli.errors import CannotWrite
from dagan_cli.media.video.frames import LIMITED, completed, matrix_of
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.recipe import Size
from dagan_cli.media.video.source import Frame
from dagan_cli.media.y4m.reader import MAGIC, NOT_SAID, SPACES, plane_shapes
from dagan_cli.planes import HALVINGS, Chroma, PixelLayout

_UPRIGHT = (1 << 16, 0, 0, 1 << 16)  # how an mp4 header stores the turn by nothing


@contextmanager
def create_y4m(stream: BinaryIO, source: VideoInfo, size: Size, name: Path = Path("stdout")) -> Iterator[Y4mWriter]:
    """Lend a writer of `size` (width, height) pictures made from `source`; without error it has written some.

    `name` is what messages call the stream. Raises CannotWrite if nobody reads it, the disk is full, or no frame came.
    """
    writer = Y4mWriter(stream, source, size, name)
    yield writer
    if not writer.frames:
        raise CannotWrite(f"{name} would be empty", hint="is --start beyond the end of the video?")


class Y4mWriter:
    """Takes the pictures of a video one by one. The header goes out with the first; each is flushed.

    An unbuffered stream keeps no rest that Python would try to write once more when a closed pipe has ended the work.
    """

    def __init__(self, stream: BinaryIO, source: VideoInfo, size: Size, name: Path = Path("stdout")) -> None:
        self.frames = 0  # written so far
        self.resumed = 0  # of which an earlier run wrote some: none
        self.layout = _nearest(source.layout, size)  # what the planes given to `write` must be
        self._stream = stream
        self._source = source
        self._size = size
        self._name = name
        self._shapes = plane_shapes(self.layout, *size)
        self._origin = 0  # ticks of the first picture's time
        self._uneven = bool(source.vfr)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the stream does not hold as the source did; complete once all is written."""
        uneven = f"times of frames are not kept: y4m has one rate, {float(self._source.rate):.6g} a second"
        return (*_losses(self._source, self.layout, self._size[1]), *([uneven] if self._uneven else ()))

    def missing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """All frames: a stream does not go on where another one ended."""
        return iter(frames)

    def write(self, planes: Sequence[np.ndarray], pts: int, duration: int) -> None:
        """Write one picture: planes of `layout`, shown at `pts`, in ticks of the source's time base, for `duration`.

        The stream has no times: those that are not even are warned of.
        """
        if [plane.shape for plane in planes] != self._shapes:
            raise ValueError(f"planes of {[plane.shape for plane in planes]} given to a video of {self._shapes}")
        parts: list[bytes | memoryview] = [b"FRAME\n"]
        if not self.frames:
            self._origin = pts
            parts.insert(0, _header(self._source, self._size, self.layout))
        off = (pts - self._origin) * self._source.time_base - self.frames / self._source.rate
        self._uneven = self._uneven or abs(off) > 1 / self._source.rate / 2
        number = np.uint8 if self.layout.depth == 8 else "<u2"
        parts += [np.ascontiguousarray(plane, number).data.cast("B") for plane in planes]
        try:
            for part in parts:
                self._send(memoryview(part))
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self._name, error) from error
        self.frames += 1

    def _send(self, left: memoryview) -> None:
        while left:
            written = self._stream.write(left)  # an unbuffered stream may take a part
            if written is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            left = left[written:]


def _nearest(source: PixelLayout, size: Size) -> PixelLayout:
    """The layout y4m can hold that keeps most of the source: its colour samples and depth first, then its alpha."""
    alpha = source.alpha and source.depth == 8
    held: dict[Chroma, Chroma] = {"rgb": "444", "440": "444", "410": "420"}
    chroma = "444" if alpha else held.get(source.chroma, source.chroma)
    if chroma == "411" and source.depth > 8:
        chroma = "422"
    depths = sorted({space.depth for space in SPACES.values() if space.chroma == chroma})
    depth = next(depth for depth in depths if depth >= source.depth)
    layout = replace(source, chroma=chroma, depth=depth, alpha=alpha)
    if source.chroma != "rgb":
        return layout
    tags = completed(replace(source.tags, range=LIMITED, matrix=NOT_SAID), size[1])  # the one that readers guess
    return replace(layout, matrix=matrix_of(tags), full_range=False, tags=tags)


def _name_of(layout: PixelLayout) -> str:
    """The C tag of a layout that y4m can hold; the one with its siting, where there is one."""
    like = {name: space for name, space in SPACES.items() if space[:3] == (layout.chroma, layout.depth, layout.alpha)}
    return next((name for name, space in like.items() if space.siting == layout.siting), next(iter(like)))


def _header(source: VideoInfo, size: Size, layout: PixelLayout) -> bytes:
    aspect, rate, name = source.sample_aspect_ratio, source.rate, _name_of(layout)
    words = (
        MAGIC.decode(),
        f"W{size[0]}",
        f"H{size[1]}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{aspect.numerator}:{aspect.denominator}" if aspect else "A0:0",
        f"C{name}",
        f"XCOLORRANGE={'FULL' if layout.full_range else 'LIMITED'}",
    )  # and no more: FFmpeg reads 96 bytes
    return " ".join(words).encode() + b"\n"


def _losses(source: VideoInfo, layout: PixelLayout, height: int) -> Iterator[str]:
    if source.layout.alpha and not layout.alpha:
        yield f"transparency is not kept: y4m holds it with 8 bits, not with {source.layout.depth}"
    if others := sorted({stream.kind for stream in source.streams if stream.index != source.stream}):
        yield f"streams are not kept ({', '.join(others)}): y4m holds pictures alone"
    matrix = source.display_matrix
    if matrix and (*matrix[:2], *matrix[3:5]) != _UPRIGHT:
        yield "the turn of the picture is not kept: y4m has none"
    if source.hdr:
        yield "the HDR10 metadata (mastering display, light level) is not kept"
    if unsaid := _unsaid(layout, height):
        yield f"y4m does not say all about its colours: tell its reader, as ffmpeg by {unsaid}"


def _unsaid(layout: PixelLayout, height: int) -> str:
    """What a reader would guess wrong, as options of FFmpeg for an input."""
    tags, options = layout.tags, []
    bare = replace(tags, matrix=NOT_SAID, primaries=NOT_SAID, transfer=NOT_SAID)
    if layout.chroma == "gray":
        bare = replace(bare, matrix=tags.matrix)  # it counts for nothing
    if completed(bare, height) != tags:
        options.append(f"-colorspace {tags.matrix} -color_primaries {tags.primaries} -color_trc {tags.transfer}")
    if layout.siting != SPACES[_name_of(layout)].siting and (layout.chroma == "420" or layout.siting == "center"):
        options += [f"-chroma_sample_location {layout.siting}"] if HALVINGS[layout.chroma] != (0, 0) else []
    return " ".join(options)
