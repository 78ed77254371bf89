"""Properties of a video file, from its headers and its first frame."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from math import floor
from pathlib import Path
from time import monotonic

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from dagan_cli.media.clock import clock_of
from dagan_cli.media.container import open_input
from dagan_cli.media.marks import Crop, Marks, read_marks
from dagan_cli.media.side_data import side_data
from dagan_cli.media.video.frames import has_known_matrix, layout_of
from dagan_cli.planes import PixelLayout


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Description of one stream of a file."""

    index: int
    kind: str  # "video", "audio", "subtitle", "attachment", "data"
    codec: str
    language: str | None
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HdrLight:
    """Static HDR metadata (SMPTE ST 2086, CTA-861.3)."""

    mastering: tuple[Fraction, ...] | None  # x, y of red, green, blue, white; then minimum and maximum cd/m2
    content: tuple[int, int] | None  # brightest pixel (MaxCLL), brightest frame average (MaxFALL), cd/m2


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Properties of a video file, from its headers and its first frame."""

    path: Path
    stream: int  # index of the video stream that is read
    width: int  # of the frames after `crop`, before rotation
    height: int
    pix_fmt: str  # FFmpeg's name of the pixel format of decoded frames
    layout: PixelLayout
    codec: str
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None  # nine numbers as in the mp4 header, by which players rotate the frames
    rotation: int  # rotation of that matrix in degrees, counter-clockwise; 0 without a matrix
    rate: Fraction  # frames per second; the average if it varies
    time_base: Fraction  # seconds
    vfr: bool | None  # the time between frames varies; None: too few frames to decide
    stands_still: bool = False  # all timestamps are equal, and so useless
    frames: int | None  # estimate from the headers
    duration: float | None  # seconds, of the file
    start: Fraction  # start time of the file after `moved`, seconds
    moved: Fraction = Fraction(0)  # seconds added to all times of the file, because its frames begin before 0
    interlaced: bool
    hdr: HdrLight | None
    crop: Crop | None = None  # pixels that the file declares as not shown, and that are cut off
    stereo: str | None = None  # such as "left_right": frames hold views for two eyes
    projection: str | None = None  # such as "equirectangular"
    captions: bool = False  # the first frame holds closed captions
    streams: tuple[StreamInfo, ...]
    warnings: tuple[str, ...]


def marks_of(path: Path, container: InputContainer, stream: VideoStream) -> Marks:
    """Return the marks of a stream of an open file; none if they cannot be read."""
    videos = [one.index for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    try:
        return read_marks(path, videos.index(stream.index))
    except (OSError, ValueError):
        return Marks()


def describe(
    path: Path, container: InputContainer, stream: VideoStream, first: av.VideoFrame, marks: Marks
) -> VideoInfo:
    """Describe a stream whose frame `first` was decoded."""
    layout = layout_of(first, stream.codec_context.name)
    times = _times(path, container, stream, decoding=marks.decoding_times)
    vfr = _varies(times, stream.time_base)
    rates = (stream.average_rate, stream.guessed_rate) if vfr else (stream.guessed_rate, stream.average_rate)
    rate = next((Fraction(rate) for rate in rates if rate), Fraction(25))
    duration = container.duration / av.time_base if container.duration else None
    side = {data.type: bytes(data) for data in side_data(first)}
    matrix, hdr = side.get(SideDataType.DISPLAYMATRIX), _hdr_light(side)
    warnings = []
    if not has_known_matrix(layout.tags) and layout.chroma not in ("rgb", "gray"):
        warnings.append(f"unknown colour matrix {layout.tags.matrix}: treated as BT.709")
    if {SideDataType.DYNAMIC_HDR_PLUS, SideDataType.DOVI_METADATA, SideDataType.DOVI_RPU_BUFFER} & side.keys():
        warnings.append("dynamic HDR metadata (HDR10+ or Dolby Vision) is not kept")
    if SideDataType.MASTERING_DISPLAY_METADATA in side and not (hdr and hdr.mastering):
        warnings.append("the mastering display metadata is incomplete or out of range and is not kept")
    start = Fraction(container.start_time or 0, av.time_base)
    moved = _to_zero(first, start)
    crop = marks.crop if _fits(marks.crop, first) else None
    left, top, right, bottom = crop or (0, 0, 0, 0)
    width, height = first.width - left - right, first.height - top - bottom
    if crop:
        warnings.append(f"{first.width}x{first.height} is cropped to {width}x{height}, as the file declares")
    return VideoInfo(
        path=path,
        stream=stream.index,
        width=width,
        height=height,
        pix_fmt=first.format.name,
        layout=layout,
        codec=stream.codec_context.name,
        sample_aspect_ratio=stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or None,
        display_matrix=struct.unpack("<9i", matrix) if matrix else None,
        rotation=first.rotation,
        rate=rate,
        time_base=Fraction(stream.time_base or first.time_base or 1 / rate),
        vfr=vfr,
        stands_still=len(times) > 1 and times[0] == times[-1],
        frames=stream.frames or (round(duration * rate) if duration else None),
        duration=duration,
        start=start + moved,
        moved=moved,
        interlaced=first.interlaced_frame,
        hdr=hdr,
        crop=crop,
        stereo=marks.stereo,
        projection=marks.projection,
        captions=SideDataType.A53_CC in side,
        streams=tuple(_stream_info(other) for other in container.streams),
        warnings=tuple(warnings),
    )


def _fits(crop: Crop | None, first: av.VideoFrame) -> bool:
    """True if a crop, declared by the container, leaves some of the frames that were really decoded."""
    return crop is not None and crop[0] + crop[2] < first.width and crop[1] + crop[3] < first.height


def _to_zero(first: av.VideoFrame, start: Fraction) -> Fraction:
    """Return the time to add to all streams so that no frame is before 0, where files cannot hold or show it.

    Whole ticks, so that the times of frames stay exact. `start` is the file's, in seconds.
    """
    if first.pts is None or not first.time_base or first.pts >= 0:
        return Fraction(0)
    return -floor(min(start / first.time_base, first.pts)) * first.time_base


def _stream_info(stream: Stream) -> StreamInfo:
    codec = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None) or "unknown"
    return StreamInfo(stream.index, stream.type, codec, stream.language, stream.metadata.get("title"))


def _hdr_light(side: dict[SideDataType, bytes]) -> HdrLight | None:
    """Read FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
    mastering, content = None, None
    if raw := side.get(SideDataType.MASTERING_DISPLAY_METADATA):
        *numbers, has_primaries, has_luminance = struct.unpack("<22i", raw[:88])
        if has_primaries and has_luminance and all(numbers[1::2]):
            mastering = tuple(Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True))
            *places, low, high = mastering
            if not all(0 <= place <= 1 for place in places) or not 0 <= low < high <= 10_000:
                mastering = None
    if raw := side.get(SideDataType.CONTENT_LIGHT_LEVEL):
        brightest, average = struct.unpack("<2I", raw[:8])
        content = (brightest, average)
    return HdrLight(mastering=mastering, content=content) if mastering or content else None


def count_frames(info: VideoInfo, seconds: float) -> tuple[int, bool]:
    """Count the packets of a video without decoding them; False if that was stopped after so many seconds."""
    count, until = 0, monotonic() + seconds
    with open_input(info.path) as container, suppress(FFmpegError):  # a damaged end
        for packet in container.demux(container.streams[info.stream]):
            count += packet.size > 0
            if count % 64 == 0 and monotonic() > until:
                return count, False
    return count, True


def _times(path: Path, container: InputContainer, stream: VideoStream, *, decoding: bool) -> list[int]:
    """Return packet times in order: of all packets if there is an index, else of the first 600."""
    times = [entry.timestamp for entry in stream.index_entries] if "mp4" in container.format.name else []
    if len(times) < 2:
        times = sorted(_first_times(path, stream.index, 600, decoding=decoding))
        times = times[: -16 if len(times) == 600 else None]  # packets that belong between the last ones may be missing
    return times


def _varies(times: list[int], time_base: Fraction | None) -> bool | None:
    """True if the time between frames varies by more than rounding; None if there are too few to decide."""
    steps = {b - a for a, b in pairwise(times)}
    if not steps or not time_base:
        return None
    spread = max(steps) - min(steps)
    return spread > 1 and spread * time_base > Fraction(3, 2000)


def _first_times(path: Path, index: int, count: int, *, decoding: bool) -> list[int]:
    with open_input(path) as container:
        try:
            stream = container.streams[index]
            clock = clock_of(container, stream)
            if clock is None:
                packets = container.demux(stream)
            else:
                joined = clock.joined(container.demux(*clock.streams))
                packets = (packet for packet, _ in joined if packet.stream_index == index)
            times = (packet.dts if decoding else packet.pts for packet in islice(packets, count))
            return [time for time in times if time is not None]
        except FFmpegError:
            return []
