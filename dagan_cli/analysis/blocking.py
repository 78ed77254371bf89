"""Traces of JPEG in pixels: the grid of its blocks, the steps at their borders, and the quality it was saved with.

JPEG turns each block of 8x8 pixels into multiples of a quantisation step for each frequency. Pixels that were decoded
and then stored without loss still show them (Fan and de Queiroz, 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import cos, exp, pi, sqrt

import numpy as np

from dagan_cli.analysis.compression import STANDARD_LUMA, luma_table, quality_of_steps
from dagan_cli.analysis.curves import between
from dagan_cli.analysis.patches import CELL, UNIT, WHITE, Patches

Grid = tuple[int, int]  # row and column of the first border of blocks, 0 to 7

_LARGEST_STEP = 6 * UNIT  # of a border that counts: larger ones are edges of the picture
_SURE_GRID = 6.0  # standard deviations by which the borders must stand out from other lines
_MOST_BLOCKS, _FEWER_BLOCKS = 384, 96  # that are transformed, once the grid is known, and to search for it
_LEAST_BLOCKS = 16
_FREQUENCIES = tuple((v, u) for v, u in product(range(CELL), repeat=2) if 1 <= u + v <= 6)
_STEPS = 64  # the largest quantisation step that is searched for
_TURN = _FINE = 64  # parts of a quantisation step, and of a code value
_ROUNDING = 0.4  # code values: deviation of a coefficient whose pixels were rounded to RGB
_SURE = 12.0  # standard deviations of chance by which multiples must be seen, of one table and of one frequency
_SURE_ALONE = 6.0
_LEAST_ALONE = 5  # frequencies whose steps are seen alone
_NEARLY = 0.93  # of the best score: the multiples of half a step score nearly as well as those of the step
_QUALITIES = ((0.4, 80), (0.6, 70), (1.0, 60), (1.7, 45), (2.8, 30), (4.0, 20))  # at this blocking, on average


@dataclass(frozen=True, slots=True)
class Blocking:
    """Traces of blocks of 8x8 pixels."""

    step: float  # mean step at the borders of blocks above those next to them, 8-bit code values; 0: no grid is seen
    quality: int | None  # of the JPEG that these pixels were; None: none is seen


def blocking_of(patches: Patches, *, search: bool = True, known: tuple[Grid, ...] = ()) -> Blocking:
    """Return the traces of JPEG in an image.

    Without `search` only the steps at the borders of blocks; `known` are the grids of which one is that of the blocks.
    """
    luma = patches.luma
    every = 1 + (luma.size >> 18)
    axes = [_borders(luma[..., ::every].swapaxes(1, 2)), _borders(luma[:, ::every])]
    rows, columns = ([int(place) for place in np.argsort(-bends, kind="stable")[:2]] for bends, _ in axes)
    excess = axes[0][1], axes[1][1]
    if search:
        for grid in known or dict.fromkeys(((0, 0), *product(rows, columns))):
            if _quality_on(luma, grid, _FEWER_BLOCKS):
                return Blocking(_step(excess, grid)[0], _quality_on(luma, grid, _MOST_BLOCKS))
    if known:
        return Blocking(max(_step(excess, grid)[0] for grid in known), None)
    step, sure = _step(excess, (int(np.argmax(excess[0])), int(np.argmax(excess[1]))))
    if sure < _SURE_GRID:
        return Blocking(0.0, None)
    return Blocking(step, _quality_at(step) if search else None)


def _step(excess: tuple[np.ndarray, np.ndarray], grid: Grid) -> tuple[float, float]:
    """Return the mean step at the borders of a grid in code values, and by how many deviations it stands out."""
    down, across = (_standing_out(one, place) for one, place in zip(excess, grid, strict=True))
    return max(0.0, (down[0] + across[0]) / 2), min(down[1], across[1])


def _quality_on(luma: np.ndarray, grid: Grid, most: int) -> int | None:
    """Return the quality that so many blocks of a grid show; None if it is not that of a JPEG."""
    blocks = _blocks(luma, grid, most)
    return _quality(_transformed(blocks)) if len(blocks) >= _LEAST_BLOCKS else None


def _quality_at(step: float) -> int | None:
    """Return the usual quality of a JPEG with such steps; None if they are too small to tell."""
    return round(between(_QUALITIES, step)) if step >= _QUALITIES[0][0] else None


def _borders(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two measures of the difference between the pixels left and right of columns 0 to 7 of all blocks.

    The first finds the grid best: the mean bend of the lines there. The second says how much it is seen: how much the
    mean difference exceeds those on both sides. In 1/64 of the unit of luma.
    """
    steps = lines[..., 1:] - lines[..., :-1]  # steps[x] is from x to x + 1
    bends = np.minimum(np.abs(2 * steps[..., 1:-1] - steps[..., :-2] - steps[..., 2:]), 2 * _LARGEST_STEP)
    small = np.minimum(np.abs(steps), _LARGEST_STEP).sum((0, 1), dtype=np.int64)
    excess = 2 * small[1:-1] - small[:-2] - small[2:]
    bent = bends.sum((0, 1), dtype=np.int64)
    count = lines.shape[0] * lines.shape[1]
    places = [slice((column - 2) % CELL, None, CELL) for column in range(CELL)]
    return tuple(  # type: ignore[return-value]
        np.array([int(one[place].sum()) * 64 // (count * max(1, len(one[place]))) for place in places])
        for one in (bent, excess)
    )


def _standing_out(excess: np.ndarray, place: int) -> tuple[float, float]:
    """Return the excess at a place above the mean of others, in code values and in standard deviations.

    The places next to it are left out: its step is subtracted from them.
    """
    others = np.roll(excess, -place)[2:-1]
    total, count = int(others.sum()), len(others)
    spread = sqrt(max(0, count * int((others**2).sum()) - total**2)) / count
    above = int(excess[place]) - total / count
    return above / (2 * 64 * UNIT), above / max(spread, 1.0)


def _blocks(luma: np.ndarray, grid: Grid, most: int) -> np.ndarray:
    """Return at most so many blocks (M, 8, 8) of a grid, evenly spread, that are neither flat nor clipped."""
    part = luma[:, grid[0] :, grid[1] :]
    n, h, w = part.shape[0], part.shape[1] // CELL, part.shape[2] // CELL
    blocks = part[:, : h * CELL, : w * CELL].reshape(n, h, CELL, w, CELL).swapaxes(2, 3)
    count = n * h * w
    tried = np.arange(min(4 * most, count)) * count // max(1, min(4 * most, count))
    blocks = blocks[tried // (h * w), tried // w % h, tried % w]
    low, high = blocks.min((1, 2)), blocks.max((1, 2))
    used = high - low >= 2 * UNIT
    whole = used & (low > UNIT) & (high < WHITE - UNIT)
    good = np.flatnonzero(whole if whole.sum() >= _LEAST_BLOCKS else used)
    return blocks[good[np.arange(min(most, len(good))) * len(good) // max(1, min(most, len(good)))]]


def _quality(coefficients: np.ndarray) -> int | None:
    """Return the quality of the JPEG that these coefficients (M, 8, 8) come from; None if no multiples are seen."""
    seen, expected = _combs(coefficients)
    rows = np.arange(len(_FREQUENCIES))
    scores = _scores(seen[rows, _tables()].sum(1), expected[rows, _tables()].sum(1))
    if (best := scores.max()) >= _SURE:
        lowest = int(np.flatnonzero(scores >= _NEARLY * best)[0])
        return 1 + lowest + int(np.argmax(scores[lowest : lowest + 4]))
    alone = _scores(seen, expected)
    found = np.flatnonzero(alone.max(1) >= _SURE_ALONE)
    if len(found) < _LEAST_ALONE:
        return None
    steps = [int(np.flatnonzero(one >= _NEARLY * one.max())[-1]) for one in alone[found]]
    standard = [STANDARD_LUMA[v * CELL + u] for v, u in (_FREQUENCIES[row] for row in found)]
    return quality_of_steps(steps, standard)


def _scores(seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return by how many standard deviations of chance multiples are seen."""
    return seen / 1024 / np.sqrt(expected / 2048 + 1)


def _combs(coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how well the coefficients of each frequency are multiples of each step, and the weights of that.

    Both are (frequencies, steps + 1), of 1024; the step 0 stands for those that are too large. A wave of the length of
    the step is 1 at its multiples; chance sums to 0. Weights say how much of the wave is left after rounding pixels.
    """
    sizes = np.stack([np.abs(coefficients[:, v, u]) for v, u in _FREQUENCIES]).astype(np.int32)
    steps = np.arange(1, _STEPS + 1, dtype=np.int32)[:, None]
    turns = sizes[:, None] // steps  # _TURN to the step, as _FINE to a code value
    used = turns >= _TURN // 2  # smaller ones were rounded to 0
    turns &= _TURN - 1
    waves = np.take(_wave(), turns)
    waves *= used
    weights = _weights()
    seen = waves.sum(2, dtype=np.int32).astype(np.int64) * weights >> 10
    expected = np.count_nonzero(used, 2).astype(np.int64) * weights**2 >> 10
    none = np.zeros((len(_FREQUENCIES), 1), np.int64)
    return np.hstack([none, seen]), np.hstack([none, expected])


@cache
def _weights() -> np.ndarray:
    """Return, for each step from 1 on, of 1024, how much of a wave of its length is left after rounding pixels."""
    return np.array([round(1024 * exp(-2 * (pi * _ROUNDING / step) ** 2)) for step in range(1, _STEPS + 1)])


@cache
def _wave() -> np.ndarray:
    """Return a wave of `_TURN` values, times 1024."""
    return np.array([round(1024 * cos(2 * pi * (turn + 0.5) / _TURN)) for turn in range(_TURN)], np.int16)


@cache
def _tables() -> np.ndarray:
    """Return the steps (100, frequencies) of the qualities from 1 on; 0 stands for those that are too large."""
    tables = [luma_table(quality) for quality in range(1, 101)]
    steps = np.array([[table[v * CELL + u] for v, u in _FREQUENCIES] for table in tables])
    return np.where(steps <= _STEPS, steps, 0)


@cache
def _basis() -> np.ndarray:
    """Return the transform (8, 8) of JPEG, times 4096."""
    rows = [[cos((2 * x + 1) * u * pi / 16) * (sqrt(1 / 8) if u == 0 else 0.5) for x in range(8)] for u in range(8)]
    return np.array([[round(4096 * value) for value in row] for row in rows])


def _transformed(blocks: np.ndarray) -> np.ndarray:
    """Return the coefficients (M, 8, 8) of blocks of luma, in 1/64 code values."""
    basis = _basis()
    return (basis @ blocks.astype(np.int64) @ basis.T * (_FINE // UNIT) + (1 << 23)) >> 24
