"""Copy the streams other than the main video from the source file into the new file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from dagan_cli.media.clock import Clock, clock_of
from dagan_cli.media.container import SUFFIXES, open_input
from dagan_cli.media.streams.sound import SoundTrack, can_be_flac, flac_stream
from dagan_cli.media.streams.subtitles import ASS_HEADER, READABLE, WRITTEN
from dagan_cli.media.streams.tags import kept_metadata, lost_marks
from dagan_cli.media.streams.track import TextTrack, Track

if TYPE_CHECKING:
    from av.container.core import Chapter  # exists only in PyAV's stub

Way = Literal["copied", "converted", "decoded", "cover", "attached", "elsewhere"]

_COVERS = {  # codec: suffix, MIME type
    "mjpeg": ("jpg", "image/jpeg"),
    "png": ("png", "image/png"),
    "gif": ("gif", "image/gif"),
    "bmp": ("bmp", "image/bmp"),
    "tiff": ("tiff", "image/tiff"),
    "webp": ("webp", "image/webp"),
}
_ANY_TIME = (Fraction(-1 << 31), Fraction(1 << 31))  # seconds
_LOOK_AHEAD = Fraction(10)  # seconds by which packets of a file may be out of order


class CopiedStreams:
    """Copies streams of `donor` into `out`, muxing their packets as the video advances.

    Add the streams in order, then call `start` once the header is written, `until` before each video packet, and
    `rest` at the end.
    """

    def __init__(self, donor: InputContainer, out: OutputContainer) -> None:
        self.warnings: list[str] = []  # problems of these streams; complete after `rest`
        self._donor = donor
        self._out = out
        self._tracks: dict[int, Track] = {}  # by the index in the donor
        self._covers: list[tuple[Stream, bytes]] = []
        self._shift = Fraction(0)
        self._moved = Fraction(0)
        self._clock: Clock | None = None
        self._end: Fraction | None = None
        self._waiting: Packet | None = None
        self._packets: Iterator[Packet] = iter(())

    def add(self, stream: Stream) -> None:
        """Add a stream that `sort_streams` keeps, in the way the container supports."""
        form, name = self._out.format.name, name_of(stream)
        way = way_of(form, self._donor, stream)
        if way in ("cover", "attached") and stream.type == "video":
            picture = _only_packet(self._donor, stream)
            if picture is None:
                self.warnings.append(f"{name} is damaged: it holds no image")
            elif way == "attached":
                self._attach(stream, picture)
            else:
                self._covers.append((self._declared(stream), picture))
        elif way == "attached":
            self._declared(stream)  # its data is in the header
        elif way == "converted":
            codec = WRITTEN[form]
            copy = self._described(_text_stream(self._out, codec, stream), stream)
            self._tracks[stream.index] = TextTrack(name, stream, copy, self._out, codec_of(stream), codec)
        elif way == "decoded":
            copy = self._described(flac_stream(self._out, stream), stream)
            self._tracks[stream.index] = SoundTrack(name, stream, copy, self._out)
        elif way == "copied":
            self._tracks[stream.index] = Track(name, stream, self._declared(stream), self._out)

    def start(
        self,
        cut_before: Fraction | None = None,
        end: Fraction | None = None,
        *,
        video: int | None = None,
        moved: Fraction = Fraction(0),
    ) -> None:
        """Start copying. Second `cut_before` of the donor becomes 0; packets before it or from `end` on are dropped.

        `moved` is added to all times of the donor first, in seconds. `video` is the index of the main video, whose
        timestamps show where the clock of the file jumps.
        """
        self._shift, self._moved = cut_before or Fraction(0), moved
        self._clock = None if video is None else clock_of(self._donor, self._donor.streams[video])
        self._end = None if end is None else end - self._shift
        for copy, picture in self._covers:
            packet = Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = copy, 0, 0, True
            self._out.mux(packet)
        bounds = _bounds(self._donor, moved) if self._clock is None else _ANY_TIME
        for track in self._tracks.values():
            track.start(cut_before, bounds)
        self._end_tracks()
        for stream in self._donor.streams:
            if stream.index not in self._tracks and not (self._clock and stream in self._clock.streams):
                stream.discard = Discard.all
        if self._tracks:
            self._packets = self._read()

    def until(self, time: Fraction) -> None:
        """Mux packets with decoding times up to `time`, in seconds of the new file."""
        self._mux_up_to(time)
        for track in self._tracks.values():
            self._out.mux(list(track.settled(time)))

    def rest(self, end: Fraction | None = None) -> None:
        """Mux the remaining packets, up to `end` seconds of the new file if given."""
        if end is not None:
            self._end = end
            self._end_tracks()
        self._mux_up_to(None if self._end is None else self._end + _LOOK_AHEAD)
        for track in self._tracks.values():
            track.clock_jumps = bool(self._clock and self._clock.jumps)
            self._out.mux(list(track.finish()))
            self.warnings += track.warnings()

    def _end_tracks(self) -> None:
        for track in self._tracks.values():
            track.end = None if self._end is None else track.ticks(self._end)

    def _mux_up_to(self, time: Fraction | None) -> None:
        while packet := self._waiting or next(self._packets, None):
            self._waiting = packet
            if time is not None and _seconds(packet) - self._shift > time:
                return
            self._waiting = None
            for ready in self._tracks[packet.stream_index].take(packet):
                self._out.mux(ready)

    def _read(self) -> Iterator[Packet]:
        wanted = [stream for stream in self._donor.streams if stream.index in self._tracks]
        try:
            if self._clock is not None:
                both = [*self._clock.streams, *(stream for stream in wanted if stream not in self._clock.streams)]
                for packet, found in self._clock.joined(self._donor.demux(*both)):
                    if packet.stream_index not in self._tracks:
                        continue
                    if found == "stray":
                        self._tracks[packet.stream_index].refuse()
                    else:
                        self._tracks[packet.stream_index].at_joint |= found == "joint"
                        yield self._later(packet)
            else:
                yield from (self._later(packet) for packet in self._donor.demux(*wanted) if packet.size)
        except FFmpegError as error:
            self.warnings.append(f"the copied streams end early: the file is damaged ({error.strerror})")
        except IndexError:  # PyAV found a stream that did not exist when the file was opened
            self.warnings.append("streams that start in the middle of the file are not kept")

    def _later(self, packet: Packet) -> Packet:
        if self._moved and packet.time_base:
            ticks = round(self._moved / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        return packet

    def _declared(self, stream: Stream) -> Stream:
        return self._described(_add_like(self._out, stream), stream)

    def _described(self, copy: Stream, stream: Stream) -> Stream:
        copy.metadata.update(kept_metadata(stream.metadata, self._out.format.name))
        copy.disposition = stream.disposition
        if self._out.format.name in ("mp4", "mov"):
            copy.metadata.pop("timecode", None)  # the track is made from the main video's timecode only
        return copy

    def _attach(self, stream: Stream, picture: bytes) -> None:
        suffix, mimetype = _COVERS[codec_of(stream)]
        attachment = self._out.add_attachment(f"cover.{suffix}", mimetype, picture)
        attachment.metadata.update(kept_metadata(stream.metadata))


def sort_streams(
    donor: InputContainer,
    main: int,
    container_format: str,
    audio: bool,
    which: Literal["all", "video"] = "all",
) -> tuple[list[Stream], list[str]]:
    """Return the streams to keep besides the video (stream `main`), and warnings for what is lost or changed."""
    kept: list[Stream] = []
    warnings: list[str] = []
    for stream in donor.streams if which == "all" else ():
        if stream.index == main or (stream.type == "audio" and not audio):
            continue
        way = way_of(container_format, donor, stream)
        if way not in (None, "elsewhere"):
            kept.append(stream)
        if said := list(_said(way, donor, stream, container_format)):
            warnings.append(f"{name_of(stream)} {'; '.join(said)}")
    return kept, warnings


def way_of(container_format: str, donor: InputContainer, stream: Stream) -> Way | None:
    """Return how a container stores a stream other than the main video; None if it cannot."""
    codec = codec_of(stream)
    if stream.disposition & Disposition.attached_pic:
        if stream.disposition & Disposition.timed_thumbnails:
            return None
        if container_format == "matroska":
            return "attached" if codec in _COVERS else None
        is_cover = container_format == "mp4" and codec in ("mjpeg", "png", "bmp")
        return "cover" if is_cover and can_hold(container_format, stream) else None
    if stream.type == "attachment":
        return "attached" if can_hold(container_format, stream) else None
    if stream.type == "data" and (_is_timecode(stream) or _holds_chapters(stream, donor)):
        return "elsewhere"
    if can_hold(container_format, stream):
        return "copied"
    if container_format == "matroska" and can_be_flac(stream):  # Matroska can hold any audio, but PyAV refuses some
        return "decoded"
    return "converted" if stream.type == "subtitle" and codec in READABLE else None


def can_hold(container_format: str, stream: Stream) -> bool:
    """True if a container can hold this stream unchanged; tested by writing a header to memory."""
    if not stream.time_base or (container_format, stream.type) == ("webm", "attachment"):  # WebM has no attachments
        return False
    holds = False
    with (
        suppress(FFmpegError, ValueError),
        av.open(io.BytesIO(), "w", format=container_format, metadata_errors="surrogateescape") as scratch,
    ):
        _add_like(scratch, stream).disposition = stream.disposition
        scratch.start_encoding()
        holds = True
    return holds


def chapters_within(
    chapters: Sequence[Chapter], start: Fraction = Fraction(0), end: Fraction | None = None
) -> list[Chapter]:
    """Return the chapters between `start` and `end`, in seconds of the video, shifted so that `start` becomes 0."""
    within: list[Chapter] = []
    for chapter in chapters:
        if base := chapter["time_base"]:
            first = max(0, round(chapter["start"] - start / base))
            last = round((chapter["end"] if end is None else min(chapter["end"], end / base)) - start / base)
            if first < last:
                within.append({**chapter, "start": first, "end": last})
    return within


def codec_of(stream: Stream) -> str:
    """Return FFmpeg's name of the codec, not of one of its decoders."""
    if stream.codec_context:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or "unknown"  # a video of unknown codec has no name


def name_of(stream: Stream) -> str:
    """Return the stream's name in messages, such as "stream 3 (subtitle subrip, eng)"."""
    is_cover = stream.disposition & Disposition.attached_pic
    words = f"{'cover image' if is_cover else stream.type} {codec_of(stream)}"
    language = stream.language if stream.language not in (None, "und") else None
    return f"stream {stream.index} ({words}, {language})" if language else f"stream {stream.index} ({words})"


def _said(way: Way | None, donor: InputContainer, stream: Stream, form: str) -> Iterator[str]:
    """Yield what is lost or changed of a stream, as phrases that follow its name."""
    suffix = SUFFIXES[form]
    if way is None:
        takers = (SUFFIXES[other] for other in SUFFIXES if other != form and way_of(other, donor, stream))
        taker = next(takers, None)
        yield f"is not kept: {suffix} does not support it, {f'{taker} does' if taker else 'nor do others'}"
    elif way == "converted":
        yield f"becomes {WRITTEN[form]}: only bold, italic and underline styling is kept"
    elif way == "decoded":
        yield f"becomes flac without further loss: its codec cannot be written to {suffix}"
    elif way == "attached" and stream.type == "video" and "filename" not in stream.metadata:
        yield f"becomes an attachment, as {suffix} stores cover images"
    elif way == "elsewhere" and _is_timecode(stream) and form not in ("mp4", "mov"):
        yield f"becomes the tag timecode={stream.metadata['timecode']}"
    elif way == "copied" and stream.type == "video":
        yield "is a second video: it is copied unchanged, not upscaled"
    if way in ("copied", "converted", "decoded"):
        yield from lost_marks(form, stream)


def _add_like(out: OutputContainer, stream: Stream) -> Stream:
    return out.add_stream_from_template(stream, opaque=True)


def _text_stream(out: OutputContainer, codec: str, like: Stream) -> Stream:
    if codec != "mov_text":
        return out.add_mux_stream(codec, time_base=like.time_base)
    stream = out.add_stream("mov_text")
    assert isinstance(stream, SubtitleStream)
    stream.codec_context.subtitle_header = ASS_HEADER
    stream.time_base = like.time_base
    return stream


def _only_packet(donor: InputContainer, stream: Stream) -> bytes | None:
    """Return the data of a cover image, read from a second handle so that the donor's file position is kept."""
    with open_input(Path(donor.name)) as other:
        for unread in other.streams:
            unread.discard = Discard.default if unread.index == stream.index else Discard.all
        try:
            return next((bytes(p) for p in islice(other.demux(other.streams[stream.index]), 1) if p.size), None)
        except FFmpegError:
            return None


def _is_timecode(stream: Stream) -> bool:
    """True for a QuickTime timecode track; the muxer recreates it from the video's timecode tag."""
    return stream.type == "data" and stream.name is None and "timecode" in stream.metadata


def _holds_chapters(stream: Stream, donor: InputContainer) -> bool:
    """True for a QuickTime track of chapter titles; FFmpeg reads it as chapters, and recreates it from them."""
    return stream.name == "bin_data" and stream.discard == Discard.all and bool(donor.chapters())


def _bounds(donor: InputContainer, moved: Fraction) -> tuple[Fraction, Fraction]:
    """Return the range of plausible times after `moved`, in seconds: well before and after the file's own."""
    start, length = (Fraction(value or 0, av.time_base) for value in (donor.start_time, donor.duration))
    margin = 2 * length + 60 if length > 0 else _ANY_TIME[1]
    return start + moved - margin, start + moved + margin


def _seconds(packet: Packet) -> Fraction:
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base
