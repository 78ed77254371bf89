"""A picture as one inter frame of a short clip: through a real encoder and decoder, in memory.

What films look like comes from motion compensation: residuals quantised over a prediction that was itself decoded. A
picture encoded alone has none of it. The encoders run on one thread and without macroblock trees, which is what makes
x264 give the same bits each time.
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
BLOCK = 16  # a macroblock: clips are padded to whole ones
RATE = Fraction(25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """How one clip is made, encoded and shown."""

    encoder: Encoder
    quality: int  # CRF of x264 and x265, quantiser of MPEG-2 and MPEG-4: a higher one is worse
    preset: str = ""  # of x264 and x265
    blocks: int = 16  # of x265: its largest, 16 with its smoothing of offsets (SAO) or 32 without
    b_frames: int = 0  # between two P frames; x264 and x265 may refer to the middle one
    moves: tuple[tuple[int, int], ...]  # (y, x) that each frame sees of the picture, in pixels of the picture
    matrix: Matrix = "bt601"
    shown_as: Matrix = "bt601"  # the matrix that the player takes
    siting: Siting = "left"
    grid: tuple[int, int] = (0, 0)  # (y, x) of the picture within the blocks, each below BLOCK

    @property
    def taken(self) -> int:
        """The frame that is used: with B frames the middle one, else the last, which no later one could change."""
        return len(self.moves) // 2 if self.b_frames else len(self.moves) - 1


@lru_cache(maxsize=1)
def present_encoders() -> frozenset[Encoder]:
    """Those of this build of FFmpeg."""
    return frozenset(name for name in DECODERS if _encodes(name))


def moved(picture: Tensor, moves: tuple[tuple[int, int], ...]) -> Tensor:
    """(1, C, H, W) -> (frames, C, H, W), each seen `moves` pixels further down and right; edges are repeated."""
    h, w = picture.shape[-2:]
    far = max(abs(step) for move in moves for step in move)
    padded = F.pad(picture, [far] * 4, mode="replicate")
    return torch.cat([padded[..., far + y : far + y + h, far + x : far + x + w] for y, x in moves])


def through_video(frames: Tensor, clip: Clip) -> tuple[Tensor, str]:
    """(frames, 3, h, w) RGB in [0, 1] on the CPU -> the taken frame (3, h, w) in [0, 1], and its type: "P" or "B"."""
    h, w = frames.shape[-2:]
    top, left = clip.grid
    bottom, right = -(top + h) % BLOCK, -(left + w) % BLOCK
    framed = F.pad(frames, (left, right, top, bottom), mode="replicate")
    planes, kind = _coded(to_planes(framed, clip.matrix, clip.siting).numpy(), clip)
    picture = from_planes(torch.from_numpy(planes)[None], clip.shown_as, clip.siting)[0]
    return picture[:, top : top + h, left : left + w], kind


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
    raise AssertionError(f"{clip.encoder} gave no frame {clip.taken} of {len(planes)}")


def _options(clip: Clip) -> dict[str, str]:
    """One key frame, the first; B frames at fixed places; nothing that depends on time or on the number of cores."""
    b = str(clip.b_frames)
    if clip.encoder == "libx264":
        fixed = "keyint=infinite:scenecut=0:b-adapt=0:mbtree=0:sync-lookahead=0:rc-lookahead=4:lookahead-threads=1"
        return {"preset": clip.preset, "crf": str(clip.quality), "bf": b, "x264-params": fixed}
    if clip.encoder == "libx265":
        # With blocks of 64, or of 32 and SAO, x265 4.2 reads memory that it never wrote, and its pictures differ from
        # run to run; these two ways were the same over thousands of clips.
        blocks = f"ctu={clip.blocks}:sao={int(clip.blocks == 16)}"
        fixed = "keyint=-1:scenecut=0:b-adapt=0:cutree=0:rc-lookahead=4:frame-threads=1:pools=none:log-level=none"
        return {"preset": clip.preset, "crf": str(clip.quality), "x265-params": f"{fixed}:{blocks}:bframes={b}"}
    q = str(clip.quality)  # qmin and qmax, as `qscale` has no effect on a context of PyAV
    return {"g": "600", "sc_threshold": "1000000000", "bf": b, "qmin": q, "qmax": q}


def _encodes(name: str) -> bool:
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True
