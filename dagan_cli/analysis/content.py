"""Kind of an image: a photograph, a drawing, or what a screen shows; and lines of two times in one frame."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dagan_cli.analysis.patches import CELL, UNIT, Patches

Content = Literal["photo", "drawing", "screen"]

_FLAT = 2 * UNIT  # largest difference in a flat cell
_LEVELS = 4 * UNIT  # luma in one bin of the histogram
_CONTRAST = 30 * UNIT  # of the cells that are not flat in a drawing, at the median
_STEP = 32 * UNIT  # of a pixel to the next, from which on it is an edge
_COMB = 10 * UNIT  # by which a line differs from the lines above and below


def content_of(patches: Patches) -> Content | None:
    """Return the kind of the image; None if nothing of it differs.

    Drawings and screens have few colours, many cells of one colour, and equal neighbours also where cells are not flat.
    A photograph on a white ground has cells of that one colour only, and a smooth one has little contrast where it is
    not flat. Edges of a screen run along rows and columns.
    """
    n, h, w = patches.luma.shape
    every = 1 + (patches.luma.size >> 18)
    luma = patches.luma.reshape(n, h // CELL, CELL, w)[:, ::every]  # rows of cells
    cells = luma.reshape(*luma.shape[:3], w // CELL, CELL).swapaxes(2, 3).reshape(-1, CELL, CELL)
    if cells.min() == cells.max():
        return None
    low, high = (edge(edge(cells, 1), 1) for edge in (np.min, np.max))
    flat = high - low <= _FLAT
    flats = int(flat.sum()) / len(cells)
    if not 0.35 <= flats < 1:
        return "photo"
    histogram = _sorted_counts(cells)
    few = histogram[1:5].sum() / max(1, histogram[1:].sum())  # beyond the most frequent colour
    other = _sorted_counts(cells[flat, 0, 0])[1:].sum() / len(cells)
    contrast = int(np.sort((high - low)[~flat])[(len(cells) - int(flat.sum())) // 2])
    drawn = few >= 0.55 or (other >= 0.17 and few >= 0.36 and histogram[:4].sum() >= 0.5 * histogram.sum())
    if not (drawn and contrast >= _CONTRAST) and _equal(cells[~flat]) < 0.3:
        return "photo"
    return "screen" if _straight(cells[~flat]) >= 0.075 else "drawing"


def combing_of(patches: Patches) -> bool:
    """Return True if every other line of some parts is of another time, as in interlaced video that moves.

    Edges that moved are combed over some pixels of each line, while fine texture differs from pixel to pixel.
    """
    luma = patches.luma
    down, across = _combed(luma.swapaxes(1, 2)).swapaxes(1, 2), _combed(luma)
    found, other = int(down.sum()) / down.size, int(across.sum()) / across.size
    long = int((down[..., 4:] & down[..., :-4]).sum()) / max(1, int(down.sum()))
    return found >= 0.01 and found >= 2 * other and long >= 0.3


def _sorted_counts(luma: np.ndarray) -> np.ndarray:
    """Return how often each level occurs, the most frequent first."""
    return np.sort(np.bincount(luma.reshape(-1) // _LEVELS, minlength=64))[::-1]


def _equal(cells: np.ndarray) -> float:
    """Return the share of pixels that equal those above and to the left."""
    here = cells[:, 1:, 1:]
    same = (here == cells[:, :-1, 1:]) & (here == cells[:, 1:, :-1])
    return int(same.sum()) / max(1, same.size)


def _straight(cells: np.ndarray) -> float:
    """Return the share of the edges that run exactly along a row or a column."""
    along = total = 0
    for turned in (cells, cells.swapaxes(1, 2)):
        edges = np.abs(turned[:, :-1, 1:] - turned[:, :-1, :-1]) >= _STEP
        same = np.abs(turned[:, 1:] - turned[:, :-1]) <= UNIT
        along += int((edges & same[:, :, 1:] & same[:, :, :-1]).sum())
        total += int(edges.sum())
    return along / max(1, total)


def _combed(lines: np.ndarray) -> np.ndarray:
    """Return which pixels differ from the pixels on both sides along the last axis, which are alike."""
    before, after = lines[..., :-2] - lines[..., 1:-1], lines[..., 2:] - lines[..., 1:-1]
    least = np.minimum(np.abs(before), np.abs(after))
    return (least > _COMB) & ((before > 0) == (after > 0)) & (2 * np.abs(before - after) < least)
