"""Analyse a source: what its file declares about its compression, and what its pixels show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dagan_cli.media.images.info import PictureInfo

Content = Literal["photo", "drawing", "screen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Measurements of a source. None: not measurable, as in an image of one pixel, or of one colour."""

    quality: int | None = None  # 1 to 100, JPEG's scale or its equivalent; None: lossless, or unknown
    quality_from: Literal["file", "pixels"] | None = None  # "file": its tables or rate; "pixels": an estimate
    bits_per_pixel: float | None = None  # of a lossy file: of the image, or of a frame of the video
    codec: str = ""  # of a video, as FFmpeg names it; or the format of an image
    noise: float | None = None  # standard deviation in 8-bit code values, of luma; an estimate
    grain: bool = False  # the noise of neighbouring pixels is correlated
    resolution: float | None = None  # 0 to 1; 1: as sharp as its pixels allow; an estimate
    content: Content | None = None  # an estimate
    blocking: float | None = None  # steps at the borders of blocks above those next to them, in 8-bit code values
    interlaced: bool = False  # declared, or lines of two times are seen

    def describe(self) -> str:
        """Return the measurements in words: "JPEG quality about 60, some noise (sigma 4), sharp, photograph"."""
        return ""


def analyse_image(path: Path | bytes, pixels: np.ndarray, info: PictureInfo) -> Analysis:
    """Analyse an image by its file and its first frame: (H, W, C), as `open_picture` yields it. Raises nothing."""
    return Analysis()


def analyse_video(path: Path) -> Analysis:
    """Analyse a video by its file and a few frames spread across it. Raises nothing."""
    return Analysis()
