"""Sharpness of an image: how fast its steepest edges rise, compared with what its pixels allow."""

from __future__ import annotations

import numpy as np

from dagan_cli.analysis.patches import UNIT, Patches

_EVERY = 2  # lines that are searched for edges: one of so many
_REACH = 12  # pixels to each side of the steepest point that an edge may have
_SHARE = 400  # one of so many pixels is an edge
_EDGES = 48, 1500  # at least, and at most
_STEEPEST = 4 * UNIT  # per pixel, below that there are no edges
_SHARP = 1.75  # width of the edges of a sharp image: step / steepest slope, pixels


def resolution_of(patches: Patches) -> float | None:
    """Return the resolution as a share of the one that the pixels allow, 0 to 1; None without edges."""
    luma = patches.pixels(patches.luma)
    widths = [_widths(luma[:, ::_EVERY]), _widths(luma[..., ::_EVERY].swapaxes(1, 2))]
    found = np.sort(np.concatenate(widths))
    if len(found) < _EDGES[0]:
        return None
    return float(found[len(found)//2])/64


def _widths(lines: np.ndarray) -> np.ndarray:
    """Return the widths of the steepest edges along the last axis, in 1/64 pixel."""
    slope = lines[..., 1:] - lines[..., :-1]
    steep = np.abs(slope)
    inner = steep[..., 1:-1]
    peaks = np.flatnonzero((inner >= steep[..., :-2]) & (inner > steep[..., 2:]) & (inner >= _STEEPEST))
    n, h, w = slope.shape
    line, at = np.divmod(peaks, w - 2)
    at = at + 1
    flat = slope.reshape(-1, w)
    height = np.abs(flat[line, at]).astype(np.int64)
    wanted = min(_EDGES[1], max(_EDGES[0], lines.size // _SHARE))
    if len(height) > wanted:
        bar = np.sort(height)[-wanted]
        line, at, height = (one[height >= bar] for one in (line, at, height))
    step = height.copy()
    sign = np.sign(flat[line, at])
    for direction in (-1, 1):
        rising = np.ones(len(at), bool)
        for distance in range(1, _REACH + 1):
            place = at + direction * distance
            rising &= (place >= 0) & (place < w)
            along = flat[line, place.clip(0, w - 1)] * sign
            rising &= along > height//16
            step += np.where(rising, along, 0)
    return step * 64 // np.maximum(height, 1)
