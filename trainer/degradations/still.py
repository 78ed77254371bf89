"""A picture through JPEG or WebP and back, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """How one picture is compressed."""

    codec: Literal["jpeg", "webp"]
    quality: int  # 1 to 100
    chroma: Literal["420", "444"] = "420"  # of JPEG; WebP has only 4:2:0
    grid: tuple[int, int] = (0, 0)  # (y, x) of the picture within the blocks of the codec


def through_still(picture: Tensor, still: Still) -> Tensor:
    """(3, h, w) in [0, 1] on the CPU -> the same shape, compressed; whole levels of 255, before and after."""
    top, left = still.grid
    pixels = picture.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    h, w = pixels.shape[:2]
    framed = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="edge")
    options: dict[str, Any] = {"subsampling": 0 if still.chroma == "444" else 2} if still.codec == "jpeg" else {}
    file = BytesIO()
    Image.fromarray(framed).save(file, still.codec.upper(), quality=still.quality, **options)
    with Image.open(file) as image:
        saved = np.array(image.convert("RGB"))[top : top + h, left : left + w]
    return torch.from_numpy(saved).permute(2, 0, 1).float().div(255)
