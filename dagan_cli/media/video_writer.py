"""Video out: encoded pictures with their times, and the streams copied from the input, in one file that is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.media.atomic import is_write_failure, whole_or_absent
from dagan_cli.media.video_codecs import Encoding, Recipe, Size, plan
from dagan_cli.media.video_frames import frame_of
from dagan_cli.media.video_info import VideoInfo, open_input
from dagan_cli.media.video_streams import CopiedStreams, can_hold, kept_metadata, sort_streams
from dagan_cli.planes import PixelLayout

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@contextmanager
def create_video(
    target: Path,
    source: VideoInfo,
    size: Size,
    encoding: Encoding | None = None,
    *,
    trim: bool = False,
    made_by: str = "",
) -> Iterator[VideoWriter]:
    """Lend a writer of `size` (width, height) pictures; `target` is there, whole, once the block ends without error.

    Time stamps, colour tags, pixel shape, rotation, metadata and the other streams are those of `source`. `trim` keeps
    of the other streams only what lies beside the pictures written, and begins at time 0. `made_by` becomes the file's
    comment, if the source has none.
    Raises BadOption for choices that do not go together, CannotWrite where disk or encoder fail.
    """
    encoding = encoding or Encoding()
    suffix = target.suffix.lower()
    if suffix not in _CONTAINERS:
        raise BadOption(
            f"{target}: no video is written as {suffix or 'a file without a suffix'}", hint="use .mkv or .mp4"
        )
    if target.exists() and target.samefile(source.path):
        raise BadOption(f"{target} would overwrite its own source", hint="name another file with -o")
    recipe = plan(source, size, encoding, suffix)
    with (
        whole_or_absent(target) as part,
        open_input(source.path) as donor,
        _container(part, suffix, source) as out,
    ):
        with _encoder_errors(target):
            writer = VideoWriter(target, out, donor, source, size, recipe, encoding, trim, made_by)
        yield writer
        with _encoder_errors(target):
            writer._finish()


class VideoWriter:
    """Takes the pictures of a video one by one."""

    def __init__(
        self,
        target: Path,
        out: OutputContainer,
        donor: InputContainer,
        source: VideoInfo,
        size: Size,
        recipe: Recipe,
        encoding: Encoding,
        trim: bool,
        made_by: str,
    ) -> None:
        self.frames = 0  # written so far
        self._target = target
        self._out = out
        self._size = size
        self._recipe = recipe
        self._trim = trim
        self._time_base = source.time_base
        self._origin = 0  # ticks of the first picture's time that become 0
        self._end = Fraction(0)  # of the last picture, seconds
        self._encoded = 0
        self._copies = CopiedStreams(donor, out)

        kept, dropped = sort_streams(donor, source.stream, out.format.name, encoding.audio == "copy")
        for stream in donor.streams:  # in the order of the source
            if stream.index == source.stream:
                self._video = _add_video(out, source, size, recipe)
                self._video.metadata.update(kept_metadata(stream.metadata))
                self._video.disposition = stream.disposition
            elif stream in kept:
                self._copies.add(stream)
        out.metadata.update(kept_metadata(donor.metadata))
        if made_by and "comment" not in map(str.lower, out.metadata):
            out.metadata["comment"] = made_by
        if not trim:
            out.set_chapters(donor.chapters())
        elif donor.chapters():
            dropped.append("chapters are not kept of a part of a video")
        out.start_encoding()
        if unknown := sorted(self._video.codec_context.options):
            raise BadOption(f"{recipe.codec} has no option {', '.join(unknown)}", hint="check -e and --preset")
        self._warnings = (*recipe.warnings, *dropped)

    @property
    def layout(self) -> PixelLayout:
        """What the planes given to `write` must be."""
        return self._recipe.layout

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the new file does not hold as the source did; complete once the file is."""
        return (*self._warnings, *self._copies.warnings)

    def write(self, planes: Sequence[np.ndarray], pts: int, duration: int) -> None:
        """Encode one picture: planes of `layout`, shown at `pts` for `duration` ticks of the source's time base."""
        if planes[0].shape != self._size[::-1]:
            raise ValueError(f"a picture of {planes[0].shape[::-1]} given to a video of {self._size}")
        if self.frames == 0:
            self._origin = pts if self._trim else 0
            self._copies.start(pts * self._time_base if self._trim else None)
        frame = frame_of(planes, self._recipe.pix_fmt, self.layout.tags)
        frame.time_base = self._time_base
        frame.pts = pts - self._origin
        frame.duration = duration
        self._end = (frame.pts + duration) * self._time_base
        with _encoder_errors(self._target):
            self._mux(self._video.encode(frame))
        self.frames += 1

    def _mux(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.dts is not None:
                self._copies.until(packet.dts * packet.time_base)
            self._out.mux(packet)
            self._encoded += 1

    def _finish(self) -> None:
        if not self.frames:
            raise CannotWrite(f"{self._target} would be empty", hint="is --start beyond the end of the video?")
        self._mux(self._video.encode(None))
        self._copies.rest(self._end if self._trim else None)
        if self._encoded != self.frames:
            raise CannotWrite(
                f"{self._recipe.codec} made {self._encoded} pictures of {self.frames}", hint="try another --codec"
            )


def default_suffix(source: VideoInfo) -> str:
    """The suffix, as ".mp4", of the container to write by default: the source's own where it holds H.264 well.

    Otherwise the first of those nearest to it that also takes all of its sound and subtitles as they are.
    """
    own = source.path.suffix.lower()
    if own in (".mp4", ".m4v", ".mov", ".mkv"):
        return own
    near = (".mp4", ".mov", ".mkv") if own in (".3gp", ".3g2", ".qt") else (".mkv", ".mp4", ".mov")
    with open_input(source.path) as donor:
        streams = [stream for stream in donor.streams if stream.type in ("audio", "subtitle")]
        return next((s for s in near if all(can_hold(_CONTAINERS[s], stream) for stream in streams)), near[0])


@contextmanager
def _container(part: Path, suffix: str, source: VideoInfo) -> Iterator[OutputContainer]:
    if _CONTAINERS[suffix] in ("mp4", "mov"):
        # Times in the source's own ticks, not rounded to milliseconds; readable after a crash, ordinary once closed;
        # the header waits for the first times (delay_moov), else what starts before or after 0 is moved to 0.
        options = {"movie_timescale": str(source.time_base.denominator), "movflags": "hybrid_fragmented+delay_moov"}
    else:
        options = {"avoid_negative_ts": "disabled"}  # else sound that starts before 0 would shift the pictures
    out = av.open(
        os.path.abspath(part),
        "w",
        format=_CONTAINERS[suffix],
        container_options=options,
        metadata_errors="surrogateescape",
    )
    try:
        yield out
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            out.close()
        raise
    with _encoder_errors(part):
        out.close()  # the last bytes are written here: a full disk may show only now


@contextmanager
def _encoder_errors(target: Path) -> Iterator[None]:
    """Tell what encoder or container refuse; `whole_or_absent` tells what the disk refuses."""
    try:
        yield
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and is_write_failure(error):
            raise
        reason = error.strerror if isinstance(error, FFmpegError) else str(error)
        raise CannotWrite(
            f"cannot encode {target}: {reason}", hint="try .mkv, or another --codec or --pix-fmt"
        ) from error


def _add_video(out: OutputContainer, source: VideoInfo, size: Size, recipe: Recipe) -> VideoStream:
    try:
        video = cast(VideoStream, out.add_stream(recipe.codec, rate=source.rate, options=recipe.options))
    except ValueError as error:
        raise BadOption(
            f"{recipe.codec} cannot be kept in {out.format.name}", hint="write .mkv, or choose --codec"
        ) from error
    context = video.codec_context
    video.width, video.height = size
    video.pix_fmt = recipe.pix_fmt
    video.time_base = context.time_base = source.time_base
    context.flags |= Flags.frame_duration
    if source.sample_aspect_ratio:
        context.sample_aspect_ratio = source.sample_aspect_ratio
    tags = recipe.layout.tags
    context.color_range, context.colorspace = tags.range, tags.matrix
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer
    if recipe.codec in ("libx265", "hevc_nvenc") and out.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players want it
    if source.display_matrix:
        video.set_display_matrix(_grown(source.display_matrix, size[0] / source.width, size[1] / source.height))
    return video


def _grown(matrix: tuple[int, ...], across: float, down: float) -> tuple[int, ...]:
    """A display matrix for a larger picture: only the offset (the seventh and eighth number) counts in pixels."""
    if matrix[0] == 0 == matrix[4]:  # turned by 90 degrees: across the screen is down the stored picture
        across, down = down, across
    return (*matrix[:6], round(matrix[6] * across), round(matrix[7] * down), matrix[8])
