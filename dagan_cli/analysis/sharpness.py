"""Sharpness of an image: how fast its steepest edges rise, compared with what its pixels allow."""

from __future__ import annotations

import numpy as np

from dagan_cli.analysis.curves import between
from dagan_cli.analysis.patches import UNIT, Patches

_REACH = 12  # pixels to each side of the steepest point that an edge may have
_FOOT = 16  # an edge ends where its slope is below one part of so many of the steepest
_SHARE = 400  # one of so many pixels is an edge
_EDGES = 48, 1500  # at least, and at most, in each direction; at most half as steep as the first 48
_STEEPEST = 4 * UNIT  # per pixel; below that there are no edges
_FINE = 64  # widths are in these parts of a pixel
# Width of edges in pixels, and the resolution: measured on photographs that were enlarged by Pillow's bicubic filter.
_WIDTHS = ((1.5, 1.0), (1.8, 0.67), (2.1, 0.5), (3.1, 0.33), (4.2, 0.25), (6.3, 0.17), (12.0, 0.08))


def resolution_of(patches: Patches) -> float | None:
    """Return the resolution as a share of the one that the pixels allow, 0 to 1; None without edges.

    An image that was enlarged two times has 0.5; one that was blurred by a Gaussian of 1 pixel about 0.4.
    """
    luma = patches.luma
    every = 1 + (luma.size >> 17)
    found = np.concatenate([_widths(luma[:, ::every]), _widths(luma[..., ::every].swapaxes(1, 2))])
    if len(found) < _EDGES[0]:
        return None
    return between(_WIDTHS, int(np.sort(found)[len(found) // 2]) / _FINE)


def _widths(lines: np.ndarray) -> np.ndarray:
    """Return the widths of the steepest edges along the last axis, in 1/64 pixel: their height over their slope."""
    slope = lines[..., 1:] - lines[..., :-1]
    steep = np.abs(slope)
    inner = steep[..., 1:-1]
    peaks = np.flatnonzero((inner >= _STEEPEST) & (inner >= steep[..., :-2]) & (inner > steep[..., 2:]))
    width = slope.shape[2]
    line, at = np.divmod(peaks, width - 2)
    at += 1
    slope = slope.reshape(-1, width)
    peak = slope[line, at].astype(np.int64)
    wanted = min(_EDGES[1], max(_EDGES[0], lines.size // _SHARE))
    if len(peak) > _EDGES[0]:
        order = np.sort(np.abs(peak))
        steepest = np.abs(peak) >= max(order[-wanted:][0], order[-_EDGES[0]] // 2)
        line, at, peak = line[steepest], at[steepest], peak[steepest]
    height = np.abs(peak)
    total = height.copy()
    for direction in (-1, 1):
        rising = np.ones(len(at), bool)
        for distance in range(1, _REACH + 1):
            place = at + direction * distance
            along = slope[line, place.clip(0, width - 1)] * np.sign(peak)
            rising &= (place >= 0) & (place < width) & (along > height // _FOOT)
            total += along * rising
    return total * _FINE // np.maximum(height, 1)
