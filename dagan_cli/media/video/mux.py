"""Mux the encoded video and the other streams into the finished file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from dagan_cli.errors import BadOption
from dagan_cli.media.container import CONTAINERS, SUFFIXES, open_input
from dagan_cli.media.display_size import write_pixel_shape
from dagan_cli.media.marks import STEREO_MODES
from dagan_cli.media.streams.copied import CopiedStreams, can_hold, chapters_within, sort_streams
from dagan_cli.media.streams.tags import RECORD, kept_metadata, later_timecode, lost_tags, tag_file
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.preflight import priority_kept, set_up
from dagan_cli.media.video.recipe import Encoding, Recipe, Size

_BUFFER = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlan:
    """Everything that determines the finished file, except the frames."""

    form: str  # FFmpeg's name of the container
    source: VideoInfo
    size: Size
    recipe: Recipe
    encoding: Encoding
    trim: bool  # cut the other streams to the time of the video, and start at time 0
    made_by: str  # becomes the comment, if the source has none
    alone: bool  # the source is not a file: there are no other streams
    record: str = ""  # the text of `media.made`
    threads: int = 0  # of the encoder, as its frames can depend on it; 0: it decides by the processors of its machine

    def rehearse(self) -> str:
        """Declare all streams in memory, so that incompatible choices are refused before the work.

        Returns a hash of the encoder's headers: segments with other headers cannot be joined into the same file.
        Raises BadOption.
        """
        with self._declared(io.BytesIO()) as mux:
            return sha256(mux.video.codec_context.extradata or b"").hexdigest()

    def join(self, file: BinaryIO, packets: Iterable[Packet], start: int, end: int) -> tuple[str, ...]:
        """Write the file: video packets in decoding order, with times in ticks of the source.

        `start` is when the first frame is shown, `end` when the last one ends. Returns warnings for losses against the
        source.
        """
        time_base = self.source.time_base
        shift = start if self.trim else 0
        span = (start * time_base, end * time_base) if self.trim else ()
        with self._declared(file, *span) as mux:
            copies = mux.copies
            if copies:
                copies.start(*span, video=self.source.stream, moved=self.source.moved)
            for packet in packets:
                assert packet.pts is not None
                assert packet.dts is not None
                packet.stream, packet.time_base = mux.video, time_base
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                if copies:
                    copies.until(packet.dts * time_base)
                mux.out.mux(packet)
            if copies:
                copies.rest()
            videos = [each for each in mux.out.streams.video if not each.disposition & Disposition.attached_pic]
            number = videos.index(mux.video)
        return (*mux.dropped, *(copies.warnings if copies else ()), *self._shape_pixels(file, number))

    def _shape_pixels(self, file: BinaryIO, number: int) -> list[str]:
        """Write the shape of pixels where the muxer did not; return a warning if that is not possible."""
        shape = self.source.sample_aspect_ratio
        if shape in (None, 1) or self.form not in ("matroska", "webm"):
            return []
        if write_pixel_shape(file, number, Fraction(shape)):
            return []
        return [f"the shape of pixels ({shape.numerator}:{shape.denominator}) may not be kept"]

    @contextmanager
    def encoder(self) -> Iterator[VideoStream]:
        """Provide a new encoder with the settings of the finished file."""
        with av.open(io.BytesIO(), "w", format=self.form) as nowhere:
            video = self._add_video(nowhere)
            if self.threads:
                video.codec_context.thread_count = self.threads
            yield video

    @contextmanager
    def _declared(self, file: BinaryIO, *span: Fraction) -> Iterator[_Mux]:
        donor = nullcontext() if self.alone else open_input(self.source.path)
        with donor as donor, _open_output(file, self.form, self.source) as out:
            yield self._declare(out, donor, *span)

    def _declare(self, out: OutputContainer, donor: InputContainer | None, *span: Fraction) -> _Mux:
        """Declare the video stream and the kept ones, in the order of the source; chapters of `span`, if given."""
        video, copies, dropped = None, None, []
        if donor is not None:
            copies = CopiedStreams(donor, out)
            kept, dropped = _sorted_streams(donor, self.source, self.form, self.encoding)
            for stream in donor.streams:
                if stream.index == self.source.stream:
                    video = self._add_video(out)
                    video.metadata.update(kept_metadata(stream.metadata, self.form))
                    video.disposition = stream.disposition
                elif stream in kept:
                    copies.add(stream)
            dropped += [*lost_tags(self.form, donor), *_lost_marks(self.source, self.form)]
            tag_file(out, donor)
            out.set_chapters(
                chapters_within(donor.chapters(), *(t - self.source.moved for t in span or (Fraction(0),)))
            )
        video = video or self._add_video(out)
        if self.source.stereo and _holds_stereo(self.source.stereo, self.form):
            video.metadata["stereo_mode"] = self.source.stereo  # the muxer makes an element of it
        for tags in (out.metadata, video.metadata):
            if span and "timecode" in tags:
                tags["timecode"] = later_timecode(tags["timecode"], span[0] - self.source.start, self.source.rate)
        if self.made_by and "comment" not in map(str.lower, out.metadata):
            out.metadata["comment"] = self.made_by
        if self.record and self.form in ("matroska", "webm"):  # the other containers get a box at their end
            out.metadata[RECORD] = self.record
        with priority_kept(self.recipe.codec):
            out.start_encoding()  # opens the encoder, whose headers the container needs; it encodes no frame
        if unknown := sorted(video.codec_context.options):
            raise BadOption(f"{self.recipe.codec} has no option {', '.join(unknown)}", hint="check -e and --preset")
        return _Mux(out, video, copies, dropped)

    def _add_video(self, out: OutputContainer) -> VideoStream:
        source, recipe = self.source, self.recipe
        try:
            video = cast(VideoStream, out.add_stream(recipe.codec, rate=source.rate, options=recipe.options))
        except ValueError as error:
            raise BadOption(
                f"{recipe.codec} cannot be stored in {self.form}", hint="write .mkv, or choose another --codec"
            ) from error
        context = video.codec_context
        video.time_base = source.time_base
        set_up(context, recipe, self.size, source.time_base)
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        if recipe.codec in ("libx265", "hevc_nvenc") and self.form in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # Apple's players require it
        if source.display_matrix:
            across, down = self.size[0] / source.width, self.size[1] / source.height
            video.set_display_matrix(_grown(source.display_matrix, across, down))
        return video


@dataclass(frozen=True, slots=True)
class _Mux:
    """An open container with all streams declared."""

    out: OutputContainer
    video: VideoStream
    copies: CopiedStreams | None
    dropped: list[str]


def default_suffix(source: VideoInfo, codec: str | None = None) -> str:
    """Return the suffix of the default container, such as ".mp4": that of the source, if it is a common one.

    Otherwise the first similar container that holds all of its audio and subtitles unchanged. ".mkv" if that container
    cannot hold `codec`.
    """
    suffix = _nearest_suffix(source)
    return suffix if codec is None or _takes(CONTAINERS[suffix], codec) else ".mkv"


def foreseen_losses(source: VideoInfo, target: Path, encoding: Encoding) -> list[str]:
    """Return warnings for streams and tags that a file of this name will not keep, according to the headers."""
    form = CONTAINERS.get(target.suffix.lower())
    if form is None:
        return []
    with open_input(source.path) as donor:
        return [*_sorted_streams(donor, source, form, encoding)[1], *lost_tags(form, donor), *_lost_marks(source, form)]


def _sorted_streams(
    donor: InputContainer, source: VideoInfo, form: str, encoding: Encoding
) -> tuple[list[Stream], list[str]]:
    return sort_streams(donor, source.stream, form, encoding.audio == "copy", encoding.streams)


def _takes(form: str, codec: str) -> bool:
    """True if a container can hold the encoder's output; True for an unknown encoder, which is reported later."""
    try:
        with av.open(io.BytesIO(), "w", format=form) as nowhere:
            nowhere.add_stream(codec)
    except UnknownCodecError:
        return True
    except ValueError:
        return False
    return True


def _nearest_suffix(source: VideoInfo) -> str:
    own = source.path.suffix.lower()
    if own in CONTAINERS:
        return own
    near = (".mp4", ".mov", ".mkv") if own in (".3gp", ".3g2", ".qt") else (".mkv", ".mp4", ".mov")
    with open_input(source.path) as donor:
        streams = [stream for stream in donor.streams if stream.type in ("audio", "subtitle")]
        return next((s for s in near if all(can_hold(CONTAINERS[s], stream) for stream in streams)), near[0])


@contextmanager
def _open_output(file: BinaryIO, form: str, source: VideoInfo) -> Iterator[OutputContainer]:
    """Provide a new container; the file is completed only if no error occurs."""
    if form in ("mp4", "mov"):
        ticks = source.time_base.denominator
        options = {"movie_timescale": str(ticks * -(-1000 // ticks))}  # exact for frames, and fine enough for audio
    else:
        options = {"avoid_negative_ts": "disabled"}  # else audio that starts before 0 would shift the video
    out = av.open(
        file,
        "w",
        format=form,
        container_options=options,
        metadata_errors="surrogateescape",
        buffer_size=_BUFFER,
    )
    try:
        yield out
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            out.close()
        raise
    out.close()  # the last bytes are written here: a full disk may be detected only now


def _lost_marks(source: VideoInfo, form: str) -> list[str]:
    """Return warnings for marks of the frames that the new file does not have."""
    lost = []
    if source.projection:
        lost.append(f"the projection ({source.projection}) is not kept: players will show the frames flat")
    if source.stereo and not _holds_stereo(source.stereo, form):
        others = "" if form == "matroska" or not _holds_stereo(source.stereo, "matroska") else ", .mkv does"
        lost.append(f"the stereo mode ({source.stereo}) is not kept: {SUFFIXES[form]} does not get it{others}")
    return lost


def _holds_stereo(mode: str, form: str) -> bool:
    """True if the muxer of a container writes this stereo mode."""
    simple = ("left_right", "bottom_top", "top_bottom", "right_left")
    return (form == "matroska" and mode in STEREO_MODES) or (form == "webm" and mode in simple)


def _grown(matrix: tuple[int, ...], across: float, down: float) -> tuple[int, ...]:
    """Scale a display matrix to a larger frame: only the offset (the seventh and eighth number) is in pixels."""
    if matrix[0] == 0 == matrix[4]:  # rotated by 90 degrees: horizontal on screen is vertical in the stored frame
        across, down = down, across
    return (*matrix[:6], round(matrix[6] * across), round(matrix[7] * down), matrix[8])
