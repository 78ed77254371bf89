"""YUV4MPEG2 (y4m), raw video for pipes: the format, and a sequential reader. See `y4m.writer` for the writer.

The format follows yuv4mpeg(5) of the mjpegtools, with FFmpeg's names for more than 8 bits (strict -1) and its
XCOLORRANGE. It has one constant rate, and no tags for matrix, primaries and transfer; above 8 bits it is little-endian.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dagan_cli.errors import BadInput
from dagan_cli.media.video.frames import FULL, LIMITED, completed, matrix_of
from dagan_cli.media.video.info import StreamInfo, VideoInfo
from dagan_cli.media.video.source import Frame
from dagan_cli.planes import Chroma, ColourTags, PixelLayout, Siting, plane_shapes

LIMIT_PIXELS = 1 << 28  # per frame; a stream that declares more is rejected

MAGIC = b"YUV4MPEG2"
NOT_SAID = 2  # "unspecified" in ITU-T H.273

_LONGEST_LINE = 4096  # bytes; FFmpeg reads no more than 96
_LARGEST = 2**31 - 1  # limit of the numbers in a ratio
ADVICE = "produce the stream with: ffmpeg -i IN -f yuv4mpegpipe -strict -1 - | dagan upscale - -o OUT"


class Space(NamedTuple):
    """A pixel format named by the C tag."""

    chroma: Chroma
    depth: int = 8
    alpha: bool = False
    siting: Siting = "left"

    @property
    def pix_fmt(self) -> str:
        name = "gray" if self.chroma == "gray" else f"yuv{'a' if self.alpha else ''}{self.chroma}p"
        return name if self.depth == 8 else f"{name}{self.depth}le"


SPACES: dict[str, Space] = {
    "420jpeg": Space("420", siting="center"),
    "420mpeg2": Space("420"),
    "420paldv": Space("420", siting="topleft"),
    "420": Space("420", siting="center"),
    "411": Space("411"),
    "422": Space("422"),
    "444": Space("444"),
    "444alpha": Space("444", alpha=True),
    "mono": Space("gray"),
    **{f"{chroma}p{depth}": Space(chroma, depth) for chroma in ("420", "422", "444") for depth in (9, 10, 12, 14, 16)},
    **{f"mono{depth}": Space("gray", depth) for depth in (9, 10, 12, 16)},
}


def is_y4m(first_bytes: bytes) -> bool:
    """True if a stream with these first bytes, ten or more, is YUV4MPEG2."""
    return first_bytes.startswith((MAGIC + b" ", MAGIC + b"\n"))


class Y4mSource:
    """A y4m stream with the interface of `VideoSource`; its frames can be read once, and it never seeks.

    Reads the header and the first frame at once; `begun` is the part of the header that was already read from the
    stream. Raises BadInput if they are truncated or invalid.
    """

    def __init__(self, stream: BinaryIO, name: Path, begun: bytes = b"") -> None:
        self.decoded = 0  # frames read so far
        self.shortfall: str | None = None  # why the stream ended too early, once it has
        self._stream = stream
        try:
            header = begun if b"\n" in begun else begun + stream.readline(_LONGEST_LINE)
        except OSError as error:
            raise BadInput(f"{name} cannot be read: {(error.strerror or str(error)).lower()}", hint=ADVICE) from error
        self.info = _parse(header, name)
        self._shapes = plane_shapes(self.info.layout, self.info.width, self.info.height)
        self._first = self._read()
        if self._first is None:
            raise BadInput(f"no frame of {name} can be read: {self.shortfall or 'it holds none'}", hint=ADVICE)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings collected while reading."""
        return self.info.warnings

    def frames(
        self, *, start: float | None = None, end: float | None = None, limit: int | None = None
    ) -> Iterator[Frame]:
        """Yield the frames in order, from `start` (shown at or after), to `end` (shown before), at most `limit`.

        Times are seconds from the first frame. The rest of the stream stays unread.
        """
        info = self.info
        first, last = (None if t is None else Fraction(str(t)) for t in (start, end))
        skipped = 0
        for index in count():
            time = index * info.time_base
            if (last is not None and time >= last) or (limit is not None and index - skipped >= limit):
                return
            planes, self._first = self._first or self._read(), None
            if planes is None:
                return
            if first is not None and time < first:
                skipped += 1
            else:
                yield Frame(planes, index, info.time_base, 1, info.layout)

    def _read(self) -> tuple[np.ndarray, ...] | None:
        """Return the next frame; None at the end, with the reason in `shortfall` if the end comes too early."""
        try:
            planes, self.shortfall = self._planes()
        except OSError as error:
            planes, self.shortfall = None, f"the stream cannot be read on: {(error.strerror or str(error)).lower()}"
        self.decoded += planes is not None
        return planes

    def _planes(self) -> tuple[tuple[np.ndarray, ...] | None, str | None]:
        """Return the next frame, or why there is none; both are None at the end."""
        line = self._stream.readline(_LONGEST_LINE)
        if not line:
            return None, None
        if not re.fullmatch(rb"FRAME( .*)?\n", line):  # frame parameters are ignored
            is_cut = b"FRAME".startswith(line[:5]) and not line.endswith(b"\n")
            before = f"frame {self.decoded}" if self.decoded else "the header"
            return None, f"the stream is truncated after {before}" if is_cut else f"no valid frame follows {before}"
        number = np.dtype(np.uint8 if self.info.layout.depth == 8 else "<u2")
        planes = []
        for height, width in self._shapes:
            data = _exactly(self._stream, height * width * number.itemsize)
            if len(data) < height * width * number.itemsize:
                return None, f"the stream ends in the middle of frame {self.decoded + 1}"
            plane = np.frombuffer(data, number).reshape(height, width)
            planes.append(plane.astype(number.newbyteorder("="), copy=False))
        return tuple(planes), None


def _exactly(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, or all that are left."""
    parts = []
    while size and (part := stream.read(size)):  # an unbuffered stream may return fewer bytes
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _parse(header: bytes, name: Path) -> VideoInfo:
    """Parse the first line of a stream. Raises BadInput."""
    if not is_y4m(header):
        raise BadInput(f"{name} is not YUV4MPEG2 video", hint=ADVICE)
    if not header.endswith(b"\n"):
        raise BadInput(f"the header of {name} is incomplete", hint=ADVICE)
    words = header.decode("ascii", "replace").split()[1:]
    tags = {word[0]: word[1:] for word in words if word[0] != "X"}
    more = {key: value for key, _, value in (word[1:].partition("=") for word in words if word[0] == "X")}

    width, height = (_side(tags.get(letter, ""), name) for letter in "WH")
    if width * height > LIMIT_PIXELS:
        limit = f"the limit is {LIMIT_PIXELS / 1e6:.0f} million"
        raise BadInput(f"{name} declares {width}x{height} pixels; {limit}", hint="leave it out, or send smaller frames")
    space = tags.get("C", more.get("YSCSS", "420jpeg").lower())
    if space not in SPACES:
        raise BadInput(f"{name} declares an unknown pixel format, {space!r}", hint=ADVICE)
    scan = tags.get("I", "?")
    if scan not in ("?", "p", "t", "b", "m"):
        raise BadInput(f"{name} declares an unknown interlacing mode, {scan!r}", hint=ADVICE)
    rate, aspect = (_ratio(tags.get(letter, "0:0"), name) for letter in "FA")
    warnings = [] if rate else ["the stream does not declare its frame rate: 25 frames per second are assumed"]
    rate = rate or Fraction(25)
    if interlaced := scan in "tbm":
        warnings.append("the video is interlaced and stays so: deinterlace it first with ffmpeg -vf bwdif=send_frame")
    return VideoInfo(
        path=name,
        stream=0,
        width=width,
        height=height,
        pix_fmt=SPACES[space].pix_fmt,
        layout=_layout(SPACES[space], more.get("COLORRANGE", ""), height),
        codec="rawvideo",
        sample_aspect_ratio=aspect,
        display_matrix=None,
        rotation=0,
        rate=rate,
        time_base=1 / rate,
        vfr=False,
        frames=None,
        duration=None,
        start=Fraction(0),
        interlaced=interlaced,
        hdr=None,
        streams=(StreamInfo(0, "video", "rawvideo", None, None),),
        warnings=tuple(warnings),
    )


def _side(text: str, name: Path) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}", text):
        raise BadInput(f"the header of {name} does not declare a valid frame size", hint=ADVICE)
    return int(text)


def _ratio(text: str, name: Path) -> Fraction | None:
    """Parse a rate or an aspect ratio; None if it is unknown."""
    found = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if not found or max(map(int, found.groups())) > _LARGEST:
        raise BadInput(f"the header of {name} holds {text!r} in place of a ratio", hint=ADVICE)
    over, under = map(int, found.groups())
    return Fraction(over, under) if over and under else None


def _layout(space: Space, said_range: str, height: int) -> PixelLayout:
    full = said_range == "FULL" or (space.chroma == "gray" and said_range != "LIMITED")
    unsaid = ColourTags(range=FULL if full else LIMITED, matrix=NOT_SAID, primaries=NOT_SAID, transfer=NOT_SAID)
    tags = completed(unsaid, height)
    return PixelLayout(
        matrix=matrix_of(tags),
        full_range=full,
        depth=space.depth,
        chroma=space.chroma,
        alpha=space.alpha,
        siting=space.siting,
        tags=tags,
    )
