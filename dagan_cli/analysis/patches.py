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
_WHOLE = 1 << 20  # pixels of an image that is measured whole
_SMALLEST = 16  # pixels of a side; below that nothing is measured
_OPAQUE_CELLS = 16  # below that nothing is measured
_WEIGHTS = 77, 150, 29  # of R, G, B in luma (BT.601), of 256


@dataclass(frozen=True, slots=True)
class Patches:
    """Luma of parts of an image, all of one size."""

    luma: np.ndarray  # (N, h, w) int16 in units of 1/16 code value; h and w are multiples of 8
    opaque: np.ndarray | None  # (N, h/8, w/8) bool, cells without transparency; None if there is none at all

    def cells(self, values: np.ndarray) -> np.ndarray:
        """Return those of `values` (N, h/8, w/8) that belong to opaque cells, as one row."""
        return values.reshape(-1) if self.opaque is None else values[self.opaque]

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """Return `values` (N, h, w) with 0 in all cells that are not opaque."""
        if self.opaque is None:
            return values
        return values * self.opaque.repeat(CELL, 1).repeat(CELL, 2)

    @property
    def activity(self) -> float:
        """Mean difference of neighbouring pixels, in 8-bit code values."""
        axes = ((self.luma[..., 1:], self.luma[..., :-1]), (self.luma[:, 1:], self.luma[:, :-1]))
        return sum(int(np.abs(a - b).sum(dtype=np.int64)) / a.size for a, b in axes) / 2 / UNIT


def patches_of(pixels: np.ndarray) -> Patches | None:
    """Return patches of an image (H, W, C) of uint8, uint16, or float32 in [0, 1]; None if it is too small.

    C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
    """
    parts = _spread(pixels)
    if parts is None:
        return None
    colours = _codes(parts[..., : 1 if parts.shape[3] < 3 else 3])
    luma = _luma(colours, 256 if colours.dtype == np.uint16 else 1)
    opaque = None
    if parts.shape[3] in (2, 4):
        solid = _codes(parts[..., -1:])[..., 0]
        n, h, w = solid.shape
        solid = solid == np.iinfo(solid.dtype).max
        opaque = solid.reshape(n, h // CELL, CELL, w // CELL, CELL).all((2, 4))
        if opaque.all():
            opaque = None
        elif opaque.sum() < _OPAQUE_CELLS:
            return None
    return Patches(luma, opaque)


def patches_of_luma(plane: np.ndarray, depth: int, full_range: bool) -> Patches | None:
    """Return patches of the luma plane (H, W) of a frame of `depth` bits; None if it is too small."""
    parts = _spread(plane[..., None])
    if parts is None:
        return None
    black, white = (0, (1 << depth) - 1) if full_range else (16 << (depth - 8), 235 << (depth - 8))
    values = (parts[..., 0].astype(np.int32) - black) * WHITE
    return Patches((values // (white - black)).clip(0, WHITE).astype(np.int16), None)


def _spread(pixels: np.ndarray) -> np.ndarray | None:
    """Return (N, h, w, C): the whole image if it is small, otherwise patches of 128x128 evenly spread over it."""
    height, width = (side // CELL * CELL for side in pixels.shape[:2])
    if min(height, width) < _SMALLEST:
        return None
    if height * width <= _WHOLE or min(height, width) < 2 * _SIDE:
        return pixels[None, : min(height, _WHOLE // width // CELL * CELL or CELL), :width]
    down, across = height // _SIDE, width // _SIDE
    step = sqrt(down * across * _SIDE**2 / _WHOLE)
    rows, columns = (max(1, min(count, ceil(count / step))) for count in (down, across))
    tops = [row * (height - _SIDE) // max(1, rows - 1) // CELL * CELL for row in range(rows)]
    lefts = [column * (width - _SIDE) // max(1, columns - 1) // CELL * CELL for column in range(columns)]
    return np.stack([pixels[top : top + _SIDE, left : left + _SIDE] for top in tops for left in lefts])


def _codes(samples: np.ndarray) -> np.ndarray:
    """Return samples as uint8 or uint16 over the whole range."""
    if samples.dtype.kind != "f":
        return samples
    return np.rint(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 65535).astype(np.uint16)


def _luma(colours: np.ndarray, one: int) -> np.ndarray:
    """Return luma (N, h, w) in sixteenths; `one` is an 8-bit code value: 1 for uint8, 256 or so for uint16."""
    wide = np.uint16 if one == 1 else np.uint32
    if colours.shape[3] == 1:
        total = colours[..., 0].astype(wide) * wide(256)
    else:
        red, green, blue = (colours[..., c].astype(wide) * wide(weight) for c, weight in enumerate(_WEIGHTS))
        total = red + green + blue
    return (total >> 4 if one == 1 else total // 4112).astype(np.int16)
