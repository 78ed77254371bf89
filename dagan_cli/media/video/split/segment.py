"""Encode the frames of one segment of a video, with an encoder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO

import av
import numpy as np

from dagan_cli.errors import CannotWrite
from dagan_cli.media.captions import with_captions
from dagan_cli.media.video import packets
from dagan_cli.media.video.frames import frame_of
from dagan_cli.media.video.mux import FilePlan
from dagan_cli.media.video.preflight import priority_kept


class SegmentEncoder:
    """Encodes frames into a file, which it closes; their times count from the first one.

    Raises FFmpegError, OSError.
    """

    def __init__(self, plan: FilePlan, file: BinaryIO) -> None:
        self.pts: list[int] = []  # ticks of the source
        self.durations: list[int] = []
        self._plan = plan
        self._packets = 0
        self._captions: dict[int, bytes] = {}  # by pts from the segment's start
        self._open = ExitStack()
        self._file = self._open.enter_context(file)
        self._encoder = self._open.enter_context(plan.encoder())

    def add(self, planes: Sequence[np.ndarray], pts: int, duration: int, captions: bytes) -> None:
        """Encode one frame: planes of the plan's layout, shown at `pts` for `duration` ticks of the source."""
        recipe = self._plan.recipe
        self.pts.append(pts)
        self.durations.append(duration)
        frame = frame_of(planes, recipe.pix_fmt, recipe.layout.tags)
        frame.time_base = self._plan.source.time_base
        frame.pts, frame.duration = pts - self.pts[0], duration
        if captions:
            self._captions[frame.pts] = captions
        self._encode(frame)

    def finish(self) -> None:
        """Encode what the encoder holds back, and close the file. Raises CannotWrite if frames are missing."""
        self._encode(None)
        if self._packets != len(self.pts):
            codec = self._plan.recipe.codec
            raise CannotWrite(
                f"{codec} encoded {len(self.pts)} frames to {self._packets} packets", hint="try another --codec"
            )
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._open.close()

    def _encode(self, frame: av.VideoFrame | None) -> None:
        codec = self._plan.recipe.codec
        with priority_kept(codec):  # the first frame opens the encoder
            encoded = self._encoder.encode(frame)
        for packet in encoded:
            captions = self._captions.pop(packet.pts or 0, b"")
            packets.store(self._file, packet, with_captions(bytes(packet), captions, codec) if captions else None)
            self._packets += 1
