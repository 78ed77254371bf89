"""Patches of luma that stand for a whole image, so that measuring a large one takes no longer than a megapixel.

All measurements are sums of integers, which have the same result on every machine, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

UNIT = 16  # luma is in sixteenths of an 8-bit code value: 0 to 4080
WHITE = 255 * UNIT
CELL = 8  # pixels; patches start on JPEG's grid of blocks, and consist of whole cells
_SIDE = 128  # pixels of a patch of a large image
_OPAQUE_SIDE = 32  # pixels of a patch of an image with transparency
_WHOLE = 1 << 20  # pixels of an image that is measured whole
_SMALLEST = 16  # pixels of a side; below that nothing is measured
_FEWEST = 4  # opaque patches; below that nothing is measured
_WEIGHTS = 77, 150, 29  # of R, G, B in luma (BT.601), of 256


@dataclass(frozen=True, slots=True)
class Patches:
    """Luma of parts of an image, all of one size."""

    luma: np.ndarray  # (N, h, w) int16 in units of 1/16 code value; h and w are multiples of 8

    @property
    def activity(self) -> float:
        """Mean difference of neighbouring pixels, in 8-bit code values."""
        axes = ((self.luma[..., 1:], self.luma[..., :-1]), (self.luma[:, 1:], self.luma[:, :-1]))
        return sum(int(np.abs(a - b).sum(dtype=np.int64)) / a.size for a, b in axes) / 2 / UNIT


def patches_of(pixels: np.ndarray) -> Patches | None:
    """Return patches of an image (H, W, C) of uint8, uint16, or float32 in [0, 1]; None if it is too small.

    C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA; only opaque patches are returned.
    """
    parts = _spread(pixels)
    if parts is None:
        return None
    if parts.shape[3] in (2, 4):
        parts = _opaque(parts)
        if len(parts) < _FEWEST:
            return None
    return Patches(_luma(_codes(parts[..., : 1 if parts.shape[3] < 3 else 3])))


def patches_of_luma(plane: np.ndarray, depth: int, full_range: bool) -> Patches | None:
    """Return patches of the luma plane (H, W) of a frame of `depth` bits; None if it is too small."""
    parts = _spread(plane[..., None])
    if parts is None:
        return None
    black, white = (0, (1 << depth) - 1) if full_range else (16 << (depth - 8), 235 << (depth - 8))
    values = (parts[..., 0].astype(np.int32) - black) * WHITE
    return Patches((values // (white - black)).clip(0, WHITE).astype(np.int16))


def _spread(pixels: np.ndarray) -> np.ndarray | None:
    """Return (N, h, w, C): the whole image if it is small, otherwise patches of 128x128 evenly spread over it."""
    height, width = (side // CELL * CELL for side in pixels.shape[:2])
    if min(height, width) < _SMALLEST:
        return None
    if height * width <= _WHOLE:
        return pixels[None, :height, :width]
    h, w = min(height, _SIDE), min(width, _SIDE)
    down, across = height // h, width // w
    rows = max(1, min(down, ceil(down / sqrt(down * across * h * w / _WHOLE)), _WHOLE // (h * w)))
    columns = max(1, min(across, _WHOLE // (rows * h * w)))
    tops, lefts = _starts(height - h, rows), _starts(width - w, columns)
    return np.stack([pixels[top : top + h, left : left + w] for top in tops for left in lefts])


def _starts(last: int, count: int) -> list[int]:
    """Return so many multiples of 8 from 0 to `last`, evenly spread."""
    return [place * last // max(1, count - 1) // CELL * CELL for place in range(count)]


def _opaque(parts: np.ndarray) -> np.ndarray:
    """Return the patches of 32x32 pixels of `parts` (N, h, w, C) that are not transparent anywhere."""
    n, h, w, c = parts.shape
    side = _OPAQUE_SIDE
    down, across = h // side, w // side
    tiles = parts[:, : down * side, : across * side].reshape(n, down, side, across, side, c).swapaxes(2, 3)
    alpha = tiles[..., -1]
    return tiles[(alpha >= (np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1)).all((3, 4))]


def _codes(samples: np.ndarray) -> np.ndarray:
    """Return samples as uint8, or as uint16 over the whole range."""
    if samples.dtype.kind != "f":
        return samples
    return np.rint(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 65535).astype(np.uint16)


def _luma(colours: np.ndarray) -> np.ndarray:
    """Return the luma (N, h, w) of grey or RGB."""
    wide = np.uint16 if colours.dtype == np.uint8 else np.uint32
    if colours.shape[3] == 1:
        total = colours[..., 0].astype(wide) * wide(256)
    else:
        red, green, blue = (colours[..., c].astype(wide) * wide(weight) for c, weight in enumerate(_WEIGHTS))
        total = red + green + blue
    return (total >> 4 if wide is np.uint16 else total // (65535 * 256 // WHITE)).astype(np.int16)
