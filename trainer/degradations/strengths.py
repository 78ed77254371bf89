"""Ranges and probabilities that the degradation of every sample is drawn from, by strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trainer.degradations.chroma import Siting
from trainer.degradations.resize import Kernel

Strength = Literal["none", "mild", "medium", "strong"]
STRENGTHS: tuple[Strength, ...] = get_args(Strength)

BlurName = Literal["gaussian", "stretched", "generalised", "plateau", "sinc", "motion"]
Encoder = Literal["libx264", "libx265", "mpeg2video", "mpeg4"]
CodecName = Literal["none", "jpeg", "webp", Encoder]

Range = tuple[float, float]  # minimum and maximum of a uniform distribution
Whole = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Ranges of one strength. Lengths are in LR pixels, whatever the scale and the current image size."""

    blur: float  # probability that a pass blurs
    sigma: Range  # standard deviation of a bell-shaped kernel, LR pixels
    cutoff: Range  # cutoff of a sinc kernel, as a share of the highest frequency of the LR image
    motion: Range  # length, LR pixels
    resize: float  # probability that a pass resizes to another size than that of the LR image
    ratio: Range  # that size, as a multiple of the LR size
    noise: float  # probability that a pass adds noise
    deviation: Range  # standard deviation in levels of 255
    jpeg: Whole  # quality
    webp: Whole  # quality
    x264: Whole  # CRF
    x265: Whole  # CRF
    mpeg: Whole  # quantiser of MPEG-2 and MPEG-4


SECOND = 0.5  # probability of a second pass ...
SECOND_SHARE = 0.5  # ... whose lengths and noise are scaled by this factor

BLURS: dict[BlurName, float] = {
    "gaussian": 0.35,
    "stretched": 0.25,
    "generalised": 0.15,
    "plateau": 0.08,
    "sinc": 0.10,
    "motion": 0.07,
}
SHRINKING: dict[Kernel, float] = {"bicubic": 0.5, "bilinear": 0.25, "area": 0.25}
ENLARGING: dict[Kernel, float] = {"bicubic": 0.7, "bilinear": 0.3}  # without area, which would only repeat pixels
POISSON = 0.4
GREY_NOISE = 0.4

CODECS: dict[CodecName, float] = {
    "none": 0.15,
    "jpeg": 0.25,
    "webp": 0.05,
    "libx264": 0.35,
    "libx265": 0.10,
    "mpeg2video": 0.05,
    "mpeg4": 0.05,
}
JPEG_444 = 0.3
PRESETS = {"veryfast": 0.25, "faster": 0.25, "fast": 0.25, "medium": 0.25}
SITINGS: dict[Siting, float] = {"left": 0.8, "center": 0.1, "topleft": 0.1}
WRONG_MATRIX = 0.05
STANDING = 0.2  # probability that a clip does not move; otherwise it pans and jitters:
PAN = 1.2  # standard deviation in LR pixels per frame
TREMBLE = 0.3  # standard deviation in LR pixels

RANGES: dict[Strength, Ranges] = {
    "mild": Ranges(
        blur=0.5,
        sigma=(0.1, 0.4),
        cutoff=(0.9, 1.2),
        motion=(0.0, 1.0),
        resize=0.4,
        ratio=(0.85, 1.3),
        noise=0.5,
        deviation=(0.0, 3.0),
        jpeg=(75, 95),
        webp=(75, 95),
        x264=(20, 26),
        x265=(24, 29),
        mpeg=(2, 4),
    ),
    "medium": Ranges(
        blur=0.7,
        sigma=(0.1, 0.7),
        cutoff=(0.75, 1.1),
        motion=(0.0, 2.0),
        resize=0.6,
        ratio=(0.65, 1.6),
        noise=0.7,
        deviation=(0.0, 8.0),
        jpeg=(50, 95),
        webp=(50, 95),
        x264=(20, 32),
        x265=(24, 35),
        mpeg=(2, 8),
    ),
    "strong": Ranges(
        blur=0.9,
        sigma=(0.2, 1.1),
        cutoff=(0.55, 1.0),
        motion=(0.0, 4.0),
        resize=0.8,
        ratio=(0.45, 2.0),
        noise=0.9,
        deviation=(0.0, 16.0),
        jpeg=(30, 90),
        webp=(30, 90),
        x264=(23, 38),
        x265=(27, 40),
        mpeg=(3, 14),
    ),
}
