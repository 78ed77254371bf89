"""Compress and decompress an image as JPEG or WebP, in memory."""

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
    """Compression settings of one image."""

    codec: Literal["jpeg", "webp"]
    quality: int  # 1 to 100
    chroma: Literal["420", "444"] = "420"  # chroma subsampling of JPEG; WebP has only 4:2:0
    grid: tuple[int, int] = (0, 0)  # (y, x) offset of the image within the blocks of the codec


def through_still(image: Tensor, still: Still) -> Tensor:
    """Compress (3, h, w) in [0, 1] on the CPU; input and result are quantised to 8 bits."""
    top, left = still.grid
    pixels = image.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    h, w = pixels.shape[:2]
    framed = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="edge")
    options: dict[str, Any] = {"subsampling": 0 if still.chroma == "444" else 2} if still.codec == "jpeg" else {}
    file = BytesIO()
    Image.fromarray(framed).save(file, still.codec.upper(), quality=still.quality, **options)
    with Image.open(file) as decoded:
        saved = np.array(decoded.convert("RGB"))[top : top + h, left : left + w]
    return torch.from_numpy(saved).permute(2, 0, 1).float().div(255)
