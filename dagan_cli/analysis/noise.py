"""Noise of an image, measured where it is flattest.

The mask of Immerkaer (1996) removes what is linear along rows or columns. What it leaves of white noise is the same in
an image of half the size; what it leaves of texture grows. So two sizes tell noise from texture, and a third tells
grain, whose neighbouring pixels are correlated: it grows from the first to the second size, not to the third.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from dagan_cli.analysis.patches import CELL, UNIT, WHITE, Patches

_CELL = 2 * CELL  # pixels; at a quarter of the size still 4
_LEAST = 16  # cells that are needed
_LARGEST = 127.5  # code values: black and white pixels
_ENERGY = 36 * UNIT**2  # of white noise of one code value: the sum of squares of the mask
_BLACK, _WHITE = UNIT, WHITE - UNIT  # noise is clipped there
_CLIPPED = _CELL**2 // 32  # clipped pixels of a cell that may be; with more its noise looks smaller than it is
_TEXTURE = 5  # ratio of the energy of texture from the full to half the size, at the least
_GRAIN = 1.5**2, 12**2  # least and largest variance of grain at half the size: anything else may be texture
_GRAIN_CELLS = 256  # that are needed to find grain; fewer may all lie on one texture


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of luma."""

    sigma: float  # standard deviation in 8-bit code values
    grain: bool  # neighbouring pixels are correlated


def noise_of(patches: Patches) -> Noise | None:
    """Return the noise; None if there are too few cells."""
    n, h, w = (side // _CELL * _CELL if axis else side for axis, side in enumerate(patches.luma.shape))
    luma = patches.luma[:, :h, :w]
    if n * (h // _CELL) * (w // _CELL) < _LEAST:
        return None
    smaller = _halved(luma)
    energy = [_energy(size, step).reshape(-1) for step, size in enumerate((luma, smaller, _halved(smaller)))]
    unclipped = _sums((luma <= _BLACK) | (luma >= _WHITE), _CELL).reshape(-1) <= _CLIPPED
    if 2 * unclipped.sum() >= len(unclipped):
        energy = [one[unclipped] for one in energy]
    full, half, quarter = (_variance(one) for one in _flattest(energy, 10))
    even = half > 0.64 * _variance(_flattest(energy, 30)[1])  # grain is everywhere, texture is not
    correlated = half > 3 * full and quarter < 4 * half
    if len(energy[0]) >= _GRAIN_CELLS and even and correlated and _GRAIN[0] < half < _GRAIN[1]:
        return Noise(sqrt(max(half, 0.7 * quarter)), True)
    return Noise(min(sqrt(max(0.0, (_TEXTURE * full - half) / (_TEXTURE - 1))), _LARGEST), False)


def _flattest(energy: list[np.ndarray], percent: int) -> list[np.ndarray]:
    """Return the energy at all sizes of so many cells, at least 4, that are the flattest at the smaller sizes."""
    order = np.argsort(energy[1] + energy[2], kind="stable")[: max(4, len(energy[0]) * percent // 100)]
    return [one[order] for one in energy]


def _variance(energy: np.ndarray) -> float:
    """Return the mean variance of cells of this energy, in squared 8-bit code values."""
    return int(energy.sum()) / max(1, len(energy)) / _ENERGY


def _energy(luma: np.ndarray, step: int) -> np.ndarray:
    """Return the energy of each cell (N, rows, columns) of an image (N, h, w) that was halved `step` times."""
    cell = _CELL >> step
    across = luma[..., :-2] + luma[..., 2:] - 2 * luma[..., 1:-1]
    left = across[:, :-2] + across[:, 2:] - 2 * across[:, 1:-1]  # at most 8 * 4080, which int16 just holds
    shift = 2 + step  # so that the squares of a column of a cell add up to less than 2^31
    left = (left + (1 << (shift - 1)) >> shift).astype(np.int32)
    n, h, w = luma.shape
    squares = np.zeros((n, h, w), np.int32)  # the outermost pixels have none
    np.multiply(left, left, out=squares[:, 1:-1, 1:-1])
    counts = (np.full(side // cell, cell) - _ends(side // cell) for side in (h, w))
    down, over = counts
    return _sums(squares, cell) * 16 // (down[:, None] * over)


def _ends(cells: int) -> np.ndarray:
    """Return how many pixels of each cell of a row lie at the ends of the row."""
    return np.bincount([0, cells - 1], minlength=cells)


def _sums(values: np.ndarray, cell: int) -> np.ndarray:
    """Return the sums of the cells of int32 or int16 `values` (N, h, w), of which a column must fit int32."""
    n, h, w = values.shape
    columns = values.reshape(n, h // cell, cell, w).sum(2, dtype=np.int32)
    return columns.reshape(n, h // cell, w // cell, cell).sum(3, dtype=np.int64)


def _halved(luma: np.ndarray) -> np.ndarray:
    """Return the sums of 2x2 pixels."""
    rows = luma[:, ::2].astype(np.int32) + luma[:, 1::2]
    return rows[..., ::2] + rows[..., 1::2]
