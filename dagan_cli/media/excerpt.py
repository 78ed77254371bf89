"""A few frames from all over a video, with what the decoder says about their compression, in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.encparams import VideoEncParams, VideoEncParamsType
from av.sidedata.sidedata import Type as SideDataType
from av.video.stream import VideoStream

from dagan_cli.errors import BadInput
from dagan_cli.media.container import open_input
from dagan_cli.media.side_data import side_data
from dagan_cli.media.video.frames import layout_of, planes_of
from dagan_cli.media.video.source import main_video
from dagan_cli.planes import PixelLayout

_PLACES = 5
_MOST_PACKETS = 60  # that are read at one place
_PIXELS = 40_000_000  # that are decoded in all; at least a frame at two places
_BLOCKS = 500  # of a frame, whose quantisers are read


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One decoded frame; its planes are views of the decoder's memory."""

    codec: str  # as FFmpeg calls it
    planes: tuple[np.ndarray, ...]  # see `PixelLayout`; empty if their format is unknown
    layout: PixelLayout | None
    is_key: bool
    bits: int | None  # of the packet of a key frame
    quantiser: float | None  # mean of the frame, on the scale of the codec; None if the decoder does not tell
    interlaced: bool  # flagged


def excerpts(path: Path) -> Iterator[Excerpt]:
    """Yield a key frame and the frames after it from five places spread across a video, from fewer if frames are large.

    Places after the same key frame count once. Raises BadInput if the file is not a video; what cannot be sought or
    decoded is left out.
    """
    with open_input(path) as container:
        stream = main_video(container, path)
        stream.thread_type = "SLICE"  # frame threads would decode more than is asked for
        stream.codec_context.skip_frame = "BIDIR"  # their quantisers are high where they only repeat others
        stream.codec_context.options = {"export_side_data": "venc_params"}
        size = max(1, stream.width * stream.height)
        start, length = container.start_time or 0, container.duration or 0
        places = max(2, min(_PLACES, _PIXELS // size)) if length > 0 else 1
        each = min(3, max(1, _PIXELS // size // places)) if length > 0 else _PLACES
        seen: set[int | None] = set()
        for place in range(places):
            frames = _decoded(container, stream, start + length * place // places if place else None)
            for index, frame in enumerate(islice(frames, each)):
                if index == 0 and frame[0].pts in seen:
                    break
                if index == 0:
                    seen.add(frame[0].pts)
                yield _excerpt(stream, *frame)


def _decoded(
    container: InputContainer, stream: VideoStream, time: int | None
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Yield the frames from the key frame before `time` on, and its bits. None: from where the container is."""
    bits = None
    try:
        if time is not None:
            container.seek(time)
        for packet in islice(container.demux(stream), _MOST_PACKETS):
            bits = packet.size * 8 if packet.is_keyframe and bits is None else bits
            try:
                frames = packet.decode()
            except FFmpegError:  # damaged
                continue
            for frame in frames:
                yield cast(av.VideoFrame, frame), bits
    except (FFmpegError, IndexError, ValueError, OSError):
        return


def _excerpt(stream: VideoStream, frame: av.VideoFrame, bits: int | None) -> Excerpt:
    codec = stream.codec_context.codec.canonical_name
    try:
        layout: PixelLayout | None = layout_of(frame, codec)
        planes = planes_of(frame, layout)
    except BadInput:
        layout, planes = None, ()
    return Excerpt(
        codec=codec,
        planes=planes,
        layout=layout,
        is_key=bool(frame.key_frame),
        bits=bits if frame.key_frame else None,
        quantiser=_quantiser(frame),
        interlaced=bool(frame.interlaced_frame),
    )


def _quantiser(frame: av.VideoFrame) -> float | None:
    """Return the mean quantiser of the blocks of a frame."""
    found = next((one for one in side_data(frame) if one.type == SideDataType.VIDEO_ENC_PARAMS), None)
    if not isinstance(found, VideoEncParams):
        return None
    half = 1 + (found.codec_type == VideoEncParamsType.MPEG2)  # FFmpeg doubles the quantisers of all MPEG codecs
    count = found.nb_blocks
    if count == 0:
        return found.qp / half
    blocks = range(0, count, max(1, count // _BLOCKS))
    return (found.qp + sum(found.block_params(block).delta_qp for block in blocks) / len(blocks)) / half
