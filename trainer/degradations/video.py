"""Encode an image as one inter frame of a short clip with a real encoder and decode it, in memory.

Typical video artifacts come from motion compensation: quantised residuals on top of a decoded prediction. An image that
is encoded alone has none of them. The encoders run on one thread and without macroblock trees, which makes the output
of x264 deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.codec.codec import Codec, UnknownCodecError
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from torch import Tensor

from trainer.degradations.chroma import Matrix, Siting, from_planes, to_planes
from trainer.degradations.strengths import Encoder

DECODERS: dict[Encoder, str] = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video", "mpeg4": "mpeg4"}
BLOCK = 16  # side of a macroblock; clips are padded to whole ones
RATE = Fraction(25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Settings by which one clip is made, encoded and displayed."""

    encoder: Encoder
    quality: int  # CRF of x264 and x265, quantiser of MPEG-2 and MPEG-4; higher is worse
    preset: str = ""  # preset of x264 and x265
    blocks: int = 16  # largest block of x265: 16 with sample adaptive offset (SAO), or 32 without
    b_frames: int = 0  # number between two P frames; x264 and x265 may refer to the middle one
    moves: tuple[tuple[int, int], ...]  # (y, x) offset of each frame in the image, in image pixels
    matrix: Matrix = "bt601"
    shown_as: Matrix = "bt601"  # the matrix that the player uses
    siting: Siting = "left"
    grid: tuple[int, int] = (0, 0)  # (y, x) offset of the image within the blocks, each below BLOCK

    @property
    def taken(self) -> int:
        """Index of the used frame: the middle one with B frames, otherwise the last, which no later one can affect."""
        return len(self.moves) // 2 if self.b_frames else len(self.moves) - 1


@lru_cache(maxsize=1)
def present_encoders() -> frozenset[Encoder]:
    """Return the encoders available in this build of FFmpeg."""
    return frozenset(name for name in DECODERS if _encodes(name))


def moved(image: Tensor, moves: tuple[tuple[int, int], ...]) -> Tensor:
    """Make frames (frames, C, H, W) of (1, C, H, W), each cut `moves` pixels further down and right; edges repeat."""
    h, w = image.shape[-2:]
    far = max(abs(step) for move in moves for step in move)
    padded = F.pad(image, [far] * 4, mode="replicate")
    return torch.cat([padded[..., far + y : far + y + h, far + x : far + x + w] for y, x in moves])


def through_video(frames: Tensor, clip: Clip) -> tuple[Tensor, str]:
    """Encode RGB (frames, 3, h, w) in [0, 1] on the CPU; returns the taken frame (3, h, w) and its type, "P" or "B"."""
    h, w = frames.shape[-2:]
    top, left = clip.grid
    bottom, right = -(top + h) % BLOCK, -(left + w) % BLOCK
    framed = F.pad(frames, (left, right, top, bottom), mode="replicate")
    planes, kind = _coded(to_planes(framed, clip.matrix, clip.siting).numpy(), clip)
    image = from_planes(torch.from_numpy(planes)[None], clip.shown_as, clip.siting)[0]
    return image[:, top : top + h, left : left + w], kind


def _coded(planes: np.ndarray, clip: Clip) -> tuple[np.ndarray, str]:
    """Encode (frames, h * 3 / 2, w) uint8 and decode the taken frame."""
    encoder = CodecContext.create(clip.encoder, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = planes.shape[2], planes.shape[1] * 2 // 3, "yuv420p"
    encoder.time_base, encoder.framerate = 1 / RATE, RATE
    encoder.thread_count = 1
    encoder.options = _options(clip)
    packets = []
    for number, frame_planes in enumerate(planes):
        frame = av.VideoFrame.from_ndarray(frame_planes, format="yuv420p")
        frame.pts, frame.time_base = number, 1 / RATE
        packets += encoder.encode(frame)
    packets += encoder.encode(None)

    decoder = CodecContext.create(DECODERS[clip.encoder], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    for packet in [*packets, None]:
        for frame in decoder.decode(packet):
            if frame.pts == clip.taken:
                return frame.to_ndarray(), PictureType(frame.pict_type).name
    raise AssertionError(f"{clip.encoder} did not return frame {clip.taken} of {len(planes)}")


def _options(clip: Clip) -> dict[str, str]:
    """Return options for one key frame, the first, fixed B frames, and independence of time and number of cores."""
    b = str(clip.b_frames)
    if clip.encoder == "libx264":
        fixed = "keyint=infinite:scenecut=0:b-adapt=0:mbtree=0:sync-lookahead=0:rc-lookahead=4:lookahead-threads=1"
        return {"preset": clip.preset, "crf": str(clip.quality), "bf": b, "x264-params": fixed}
    if clip.encoder == "libx265":
        # With blocks of 64, or of 32 and SAO, x265 4.2 reads uninitialised memory, and its output differs from run to
        # run. The output of these two settings was identical over thousands of clips.
        blocks = f"ctu={clip.blocks}:sao={int(clip.blocks == 16)}"
        fixed = "keyint=-1:scenecut=0:b-adapt=0:cutree=0:rc-lookahead=4:frame-threads=1:pools=none:log-level=none"
        return {"preset": clip.preset, "crf": str(clip.quality), "x265-params": f"{fixed}:{blocks}:bframes={b}"}
    q = str(clip.quality)  # qmin and qmax, because `qscale` has no effect on a PyAV context
    return {"g": "600", "sc_threshold": "1000000000", "bf": b, "qmin": q, "qmax": q}


def _encodes(name: str) -> bool:
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True
