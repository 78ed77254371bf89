"""Contents of a media file by stream: headers, tags, chapters, and the content and time of every packet."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Literal, cast

import av
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition, Stream

from dagan_cli.inspection.cues import TEXT_CODECS, Cue, on_screen, words_of
from dagan_cli.inspection.raw.transport import JoinedClock, Mover
from dagan_cli.media.container import CONTAINERS, open_input
from dagan_cli.media.streams.copied import can_hold

_OF_THE_FILE = re.compile(  # tags that describe the file itself, not its content
    r"major_brand|minor_version|compatible_brands|encoder(-.*)?|duration|bps|number_of_.*|_statistics_.*|dagan_made",
    re.IGNORECASE,
)
_AMR_BLOCKS = {  # bytes of a 20 ms block, by its first byte (3GPP TS 26.101 and 26.201)
    "amr_nb": (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1),
    "amr_wb": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}

_COVERS = {  # codecs of covers by container: the types of iTunes' `covr`, and images that Matroska attaches
    "mp4": ("mjpeg", "png", "bmp"),
    "matroska": ("mjpeg", "png", "bmp", "gif", "tiff", "webp"),
}

Fate = Literal["copied", "rewritten", "left out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamContents:
    """One stream, according to its header."""

    index: int
    kind: str  # "video", "audio", "subtitle", "cover", "attachment", "data"
    codec: str  # name of the standard, not the decoder: "av1", "mp3"; MIME type of an attachment
    language: str | None  # None for undetermined
    title: str | None  # file name of an attachment
    disposition: tuple[str, ...]  # "default", "forced", ...
    tags: Mapping[str, str]
    tick: Fraction  # seconds

    @property
    def is_text(self) -> bool:
        """True if it holds subtitles as text, not as bitmaps."""
        return self.codec in TEXT_CODECS

    def __str__(self) -> str:
        words = [self.kind, self.codec, self.language, f'"{self.title}"' if self.title else None]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter of a video."""

    start: Fraction  # seconds
    end: Fraction
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Contents of a file according to its headers."""

    container: str  # as FFmpeg calls it: "mov,mp4,m4a,3gp,3g2,mj2"
    start: Fraction  # start time of the file, seconds
    duration: Fraction | None  # seconds
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...]
    streams: tuple[StreamContents, ...]


@dataclass(slots=True)
class Packets:
    """All packets of a stream in stored order, a few bytes each, so that those of a long video fit in memory."""

    tick: Fraction  # seconds
    digests: array[int] = field(default_factory=lambda: array("Q"))  # the first 64 bits of each payload's SHA-256
    starts: array[int] = field(default_factory=lambda: array("q"))  # presentation times in ticks
    ends: array[int] = field(default_factory=lambda: array("q"))
    size: int = 0  # bytes of all payloads
    sha256: str = ""  # hash of all payloads, joined
    cues: tuple[Cue, ...] | None = None  # cues of text subtitles

    def __len__(self) -> int:
        return len(self.digests)


def contents(path: Path) -> Contents:
    """Read the headers of a media file. Raises BadInput."""
    with open_input(path) as container:
        return Contents(
            container=container.format.name,
            start=Fraction(container.start_time or 0, av.time_base),
            duration=Fraction(container.duration, av.time_base) if container.duration else None,
            tags=_own(container.metadata),
            chapters=tuple(_chapters(container)),
            streams=tuple(map(_stream_contents, container.streams)),
        )


def fates(path: Path, suffix: str) -> dict[int, Fate]:
    """Return the expected fate of each stream, by its index, in a container of this suffix (".mp4").

    Verification uses it: it is independent of the code that writes files. Raises BadInput.
    """
    form = CONTAINERS.get(suffix.lower())
    with open_input(path) as container:
        return {stream.index: _fate(stream, form) for stream in container.streams}


def _fate(stream: Stream, form: str | None) -> Fate:
    if stream.type == "data":
        return "left out"
    if stream.disposition & Disposition.attached_pic:
        held = _codec(stream) in _COVERS.get(form or "", ()) and not _is_thumbnail(stream)
        return "copied" if held and (form != "mp4" or can_hold(form, stream)) else "left out"
    if form is None or (form == "matroska" and stream.type == "audio") or can_hold(form, stream):
        return "copied"  # Matroska holds any audio
    return "rewritten" if _codec(stream) in TEXT_CODECS else "left out"  # each container has its own format for text


def _is_thumbnail(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.timed_thumbnails)


def read_packets(path: Path, streams: Iterable[int], clock: JoinedClock | None = None) -> dict[int, Packets]:
    """Read the streams with these indices to their end, or to damage that ends the file. Raises BadInput.

    `clock` is that of the file, if it jumps.
    """
    mover = Mover(clock)
    wanted = set(streams)
    with open_input(path) as container:
        readers = {}
        for stream in container.streams:
            if stream.index not in wanted:
                stream.discard = Discard.all
            elif isinstance(stream, AttachmentStream):  # its data is in the header
                readers[stream.index] = reader = _Reader(stream)
                reader.add(_data(stream), 0, 0)
            else:
                readers[stream.index] = _Reader(stream)
        moving = [stream for stream in container.streams if stream.index in readers and stream.type != "attachment"]
        for packet in _demuxed(container, moving):
            mover.move(packet)
            readers[packet.stream_index].take(packet)
    return {index: reader.finish() for index, reader in readers.items()}


def sound_span(path: Path, stream: int, clock: JoinedClock | None = None) -> tuple[Fraction, Fraction] | None:
    """Return when decoded audio starts and ends, in seconds; None if there is none.

    Times of packets are less exact, because decoders lag. `clock` is that of the file, if it jumps. Raises BadInput.
    """
    begin = end = None
    with open_input(path) as container:
        sound = container.streams[stream]
        for other in container.streams:
            if other is not sound:
                other.discard = Discard.all
        for frame in _decoded(container, sound, Mover(clock)) if sound.codec_context else ():
            if frame.pts is not None and frame.time_base:
                begin = frame.pts * Fraction(frame.time_base) if begin is None else begin
                end = frame.pts * Fraction(frame.time_base) + Fraction(frame.samples, frame.sample_rate)
    return None if begin is None or end is None else (begin, end)


def _decoded(container: InputContainer, sound: Stream, mover: Mover) -> Iterator[AudioFrame]:
    with suppress(FFmpegError):  # packets before the damage count
        for packet in container.demux(sound):
            mover.move(packet)
            with suppress(FFmpegError):
                yield from cast(list[AudioFrame], packet.decode())


class _Reader:
    """Collects the packets of one stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._packets = Packets(Fraction(stream.time_base or 1))
        self._sha256 = hashlib.sha256()
        self._cues: list[tuple[Fraction, Fraction, str]] | None = [] if _codec(stream) in TEXT_CODECS else None
        self._amr = _AMR_BLOCKS.get(_codec(stream))
        self._adts = _codec(stream) == "aac" and not stream.codec_context.extradata

    def take(self, packet: Packet) -> None:
        data = bytes(packet)
        if self._cues is not None and not data.strip(b"\0"):
            return  # mp4 files store these between cues
        last = self._packets.ends[-1] if len(self._packets) else 0
        start = packet.pts if packet.pts is not None else packet.dts if packet.dts is not None else last
        end = start + (packet.duration or 0)
        if self._amr:
            self._add_blocks(data, start, self._amr)
        else:
            self.add(_without_adts(data) if self._adts else data, start, end)
        if self._cues is not None:
            tick = self._packets.tick
            self._cues += ((start * tick, end * tick, text) for text in words_of(packet))

    def _add_blocks(self, data: bytes, start: int, sizes: tuple[int, ...]) -> None:
        """Add each block separately: 3gp files store many in one packet, other files one."""
        length, at = Fraction(1, 50) / self._packets.tick, 0
        for number in count():
            size = sizes[data[at] >> 3 & 15]
            self.add(data[at : at + size], start + round(number * length), start + round((number + 1) * length))
            at += size
            if at >= len(data):
                return

    def add(self, data: bytes, start: int, end: int) -> None:
        packets = self._packets
        packets.digests.append(int.from_bytes(hashlib.sha256(data).digest()[:8]))
        packets.starts.append(start)
        packets.ends.append(end)
        packets.size += len(data)
        self._sha256.update(data)

    def finish(self) -> Packets:
        self._packets.sha256 = self._sha256.hexdigest()
        if self._cues is not None:
            self._packets.cues = tuple(on_screen(self._cues))
        return self._packets


def _demuxed(container: InputContainer, streams: list[Stream]) -> Iterator[Packet]:
    if not streams:
        return
    try:
        for packet in container.demux(*streams):
            if packet.size:
                yield packet
    except (FFmpegError, IndexError):  # PyAV raises IndexError for a stream that starts later than the file
        return  # packets before the damage count


def _stream_contents(stream: Stream) -> StreamContents:
    cover = stream.disposition & Disposition.attached_pic
    language = stream.language if stream.language not in ("und", "") else None
    tags = _own(stream.metadata)
    return StreamContents(
        index=stream.index,
        kind="cover" if cover else stream.type,
        codec=_codec(stream),
        language=language,
        title=tags.get("title") or tags.get("name") or tags.get("filename"),  # FFmpeg reads "name" from mp4
        disposition=tuple(sorted(flag.name or "" for flag in Disposition if flag & stream.disposition and not cover)),
        tags=tags,
        tick=Fraction(stream.time_base or 1),
    )


def _codec(stream: Stream) -> str:
    if isinstance(stream, AttachmentStream):
        return stream.mimetype or "unknown"
    if stream.codec_context:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or "unknown"  # a stream without a decoder lacks even the attribute


def _own(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not _OF_THE_FILE.fullmatch(key)}


def _chapters(container: InputContainer) -> Iterator[Chapter]:
    for chapter in container.chapters():
        tick = Fraction(chapter["time_base"] or 1)
        yield Chapter(chapter["start"] * tick, chapter["end"] * tick, chapter["metadata"].get("title", ""))


def _data(stream: AttachmentStream) -> bytes:
    try:
        return bytes(stream.data)
    except (TypeError, ValueError):  # an empty one
        return b""


def _without_adts(data: bytes) -> bytes:
    """Return an AAC packet as mp4 and Matroska store it: without the 7 or 9 byte header of transport streams."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return data
    return data[7 if data[1] & 1 else 9 :]
