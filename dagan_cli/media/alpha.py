"""Colour under transparency, so that what is invisible does not leak into what is visible."""

from __future__ import annotations

import numpy as np


def bleed(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Fill the colour of fully transparent pixels from their nearest visible neighbours.

    colour (H, W, C), alpha (H, W) or (H, W, 1) of any scale  ->  (H, W, C) as `colour`. Visible pixels are untouched;
    a picture with nothing visible is returned as it is. Without this an upscaler drags the arbitrary colour that files
    keep under alpha 0, often black, into the edge: a dark fringe. Pull-push over a pyramid of halves, linear time.
    """
    weight = alpha.reshape(*alpha.shape[:2], 1).astype(np.float32)
    if weight.all() or not weight.any():
        return colour
    filled = _fill(colour.astype(np.float32), weight)
    if np.issubdtype(colour.dtype, np.integer):
        filled = np.rint(filled)
    return np.where(weight > 0, colour, filled.astype(colour.dtype))


def _fill(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(H, W, C) with the pixels of weight 0 taken from the same picture at half the size, which fills itself first."""
    if weight.all():
        return colour
    total = _sums_of_four(weight)
    mean = _sums_of_four(colour * weight) / np.maximum(total, np.finfo(np.float32).tiny)
    height, width = weight.shape[:2]
    coarse = _fill(mean, total).repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(weight > 0, colour, coarse)


def _sums_of_four(x: np.ndarray) -> np.ndarray:
    """(H, W, C)  ->  (ceil(H / 2), ceil(W / 2), C): sums over squares of 2 x 2, with nothing beyond the edge."""
    height, width, _ = x.shape
    x = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)))
    return x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]
