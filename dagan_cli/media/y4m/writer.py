"""Write YUV4MPEG2 (y4m), raw video for pipes; see `y4m.reader` for the format."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dagan_cli.errors import CannotWrite
from dagan_cli.files import cannot_write
from dagan_cli.media.video.frames import LIMITED, completed, matrix_of
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.recipe import Size
from dagan_cli.media.video.source import Frame
from dagan_cli.media.y4m.reader import MAGIC, NOT_SAID, SPACES
from dagan_cli.planes import HALVINGS, Chroma, PixelLayout, plane_shapes

_UPRIGHT = (1 << 16, 0, 0, 1 << 16)  # display matrix of no rotation in an mp4 header


@contextmanager
def create_y4m(stream: BinaryIO, source: VideoInfo, size: Size, name: Path = Path("stdout")) -> Iterator[Y4mWriter]:
    """Provide a writer of frames of `size` (width, height) made from `source`.

    `name` is the stream's name in messages. Raises CannotWrite if the pipe is closed, the disk is full, or no frame was
    written.
    """
    writer = Y4mWriter(stream, source, size, name)
    yield writer
    if not writer.frames:
        raise CannotWrite(f"{name} would be empty", hint="is --start beyond the end of the video?")


class Y4mWriter:
    """Writes the frames of a video one by one. The header is written with the first; each frame is flushed.

    Use an unbuffered stream: a buffer would be flushed again by Python after a closed pipe has ended the work.
    """

    def __init__(self, stream: BinaryIO, source: VideoInfo, size: Size, name: Path = Path("stdout")) -> None:
        self.frames = 0  # frames written
        self.resumed = self.kept = 0  # frames from an earlier run, and for a later one: a stream cannot be resumed
        self.layout = _nearest(source.layout, size)  # of the planes passed to `write`
        self._stream = stream
        self._source = source
        self._size = size
        self._name = name
        self._shapes = plane_shapes(self.layout, *size)
        self._origin = 0  # time of the first frame, ticks
        self._uneven = bool(source.vfr)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Properties of the source that the stream does not keep; complete once all is written."""
        uneven = f"frame times are not kept: y4m has one rate, {float(self._source.rate):.6g} per second"
        return (*_losses(self._source, self.layout, self._size[1]), *([uneven] if self._uneven else ()))

    def missing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Return all frames: a stream cannot be resumed."""
        return iter(frames)

    def write(self, planes: Sequence[np.ndarray], pts: int, duration: int) -> None:
        """Write one frame: planes of `layout`, shown at `pts` for `duration`, both in ticks of the source's time base.

        The stream stores no times: uneven ones cause a warning.
        """
        if [plane.shape for plane in planes] != self._shapes:
            raise ValueError(f"planes of shapes {[plane.shape for plane in planes]}, expected {self._shapes}")
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
            written = self._stream.write(left)  # an unbuffered stream may write only a part
            if written is None:  # another program made the pipe non-blocking, and it is full
                select.select([], [self._stream], [])
            else:
                left = left[written:]


def _nearest(source: PixelLayout, size: Size) -> PixelLayout:
    """Return the y4m layout that preserves the source best: colour samples and depth first, then alpha."""
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
    tags = completed(replace(source.tags, range=LIMITED, matrix=NOT_SAID), size[1])  # the matrix that readers guess
    return replace(layout, matrix=matrix_of(tags), full_range=False, tags=tags)


def _name_of(layout: PixelLayout) -> str:
    """Return the C tag of a layout that y4m can hold; the one with the same siting, if there is one."""
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
    )  # no other tags: FFmpeg reads at most 96 bytes
    return " ".join(words).encode() + b"\n"


def _losses(source: VideoInfo, layout: PixelLayout, height: int) -> Iterator[str]:
    if source.layout.alpha and not layout.alpha:
        yield f"transparency is not kept: y4m supports it with 8 bits only, not with {source.layout.depth}"
    if others := sorted({stream.kind for stream in source.streams if stream.index != source.stream}):
        yield f"streams are not kept ({', '.join(others)}): y4m holds video only"
    matrix = source.display_matrix
    if matrix and (*matrix[:2], *matrix[3:5]) != _UPRIGHT:
        yield "the rotation is not kept: y4m cannot store it"
    if source.hdr:
        yield "the HDR10 metadata (mastering display, light level) is not kept"
    if unsaid := _unsaid(layout, height):
        yield f"y4m does not declare all colour properties: specify them when reading, with ffmpeg: {unsaid}"


def _unsaid(layout: PixelLayout, height: int) -> str:
    """Return the properties that a reader would guess wrong, as FFmpeg input options."""
    tags, options = layout.tags, []
    bare = replace(tags, matrix=NOT_SAID, primaries=NOT_SAID, transfer=NOT_SAID)
    if layout.chroma == "gray":
        bare = replace(bare, matrix=tags.matrix)  # gray does not use it
    if completed(bare, height) != tags:
        options.append(f"-colorspace {tags.matrix} -color_primaries {tags.primaries} -color_trc {tags.transfer}")
    if layout.siting != SPACES[_name_of(layout)].siting and (layout.chroma == "420" or layout.siting == "center"):
        options += [f"-chroma_sample_location {layout.siting}"] if HALVINGS[layout.chroma] != (0, 0) else []
    return " ".join(options)
