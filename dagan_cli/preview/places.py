"""Choose the places of an image or a film at which models differ most visibly, from its luma alone.

Three are telling: the most detail, where models invent most; a mid-tone of the size of a face, where skin turns to
wax or to noise; and the darkest part with content, where compression hides most. Nothing is random, so that the same
pixels always give the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CELL = 16  # pixels; the sides of the squares that are measured, and places start at multiples of it
DETAIL, FACE, DARK = "most detail", "mid-tone, as large as a face", "darkest part with content"
WHOLE, MIDDLE = "the whole image", "the middle: no part has detail"

_BAND = 64  # rows of cells that are measured at a time
_MOST_DETAIL = 40.0  # code values; a single hard edge is not to count as much as a texture
_LEAST_DETAIL = 0.5  # code values, mean of a place; a plain surface has less
_MID_TONES = 60.0, 90.0, 180.0, 215.0  # luma: none, full, full, none
_MODERATE = 0.7, 2.0, 9.0, 22.0  # detail: skin is neither plain nor a texture
_UNEVEN = 8.0  # standard deviation of luma between the cells of a face; a sky has less
_FACE_HEIGHT = 10  # a face is this part of the height
_LEAST_FACE = 0.1  # score, 0 to 1
_CONTENT = 1.0, 3.0  # detail and luma of a cell that shows something: bars are black and plain
_SHARE = 0.5  # of a dark place that must have content
_OVERLAP = 0.25  # of a place that another one may cover


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Place:
    """A part of one of the frames, and the reason to look at it."""

    why: str
    frame: int  # index
    box: Box


@dataclass(frozen=True, slots=True)
class Cells:
    """Measurements of a frame in squares of CELL pixels; those at the right and lower edge may be extended."""

    luma: np.ndarray  # (h, w) float64, mean code value, 0 to 255
    detail: np.ndarray  # (h, w) float64, mean step to the next pixels to the right and below, code values
    size: tuple[int, int]  # (width, height) of the frame, pixels


def cells_of(luma: np.ndarray) -> Cells:
    """Measure luma (H, W) uint8."""
    height, width = luma.shape
    means, details = [], []
    for top in range(0, height, CELL * _BAND):
        rows = luma[top : top + CELL * _BAND + 1].astype(np.int16)
        down = np.abs(np.diff(rows, axis=0))
        rows = rows[: CELL * _BAND]
        down = np.concatenate([down, np.zeros((len(rows) - len(down), width), np.int16)])
        across = np.pad(np.abs(np.diff(rows, axis=1)), ((0, 0), (0, 1)))
        means.append(_cell_means(rows))
        details.append(_cell_means(down + across))
    return Cells(np.concatenate(means), np.concatenate(details), (width, height))


def find_places(
    frames: Sequence[Cells], crop: tuple[int, int], times: Sequence[float] = (), apart: Sequence[float] = (0.0,)
) -> list[Place]:
    """Return up to three places of `crop` (width, height) pixels, one for each reason, that hardly overlap.

    `times` are those of the frames, in seconds. Places are as far `apart` as the first of these distances for which
    there is one, in seconds; at a distance of 0, they may be in the same frame. All frames have one size.
    """
    width, height = frames[0].size
    if width <= crop[0] and height <= crop[1]:
        crop = width, height
        if len(frames) == 1:
            return [Place(WHOLE, 0, Box(0, 0, width, height))]
    crop = min(width, crop[0]), min(height, crop[1])
    times = times or [0.0] * len(frames)
    found: list[Place] = []
    for why, score in ((DETAIL, _detail), (DARK, _dark), (FACE, _face)):
        maps = [score(cells, crop) for cells in frames]
        for distance in apart:
            if place := _best(why, maps, found, crop, times, distance):
                found.append(place)
                break
    if not found:
        left, top = ((side - part) // 2 // CELL * CELL for side, part in zip((width, height), crop, strict=True))
        return [Place(MIDDLE, len(frames) // 2, Box(left, top, *crop))]
    return sorted(found, key=lambda place: (DETAIL, FACE, DARK).index(place.why))


def _best(
    why: str,
    maps: Sequence[np.ndarray],
    found: Sequence[Place],
    crop: tuple[int, int],
    times: Sequence[float],
    distance: float,
) -> Place | None:
    """Return the place of the highest score above 0 that is far enough from those that were found."""
    best, place = 0.0, None
    for index, scores in enumerate(maps):
        near = [one for one in found if abs(times[one.frame] - times[index]) < max(1.0, distance)]
        if near and distance > 0:
            continue
        free = scores.copy()
        for one in near:
            free[_overlaps(scores.shape, one.box)] = 0.0
        y, x = np.unravel_index(int(free.argmax()), free.shape)
        if free[y, x] > best:
            best, place = float(free[y, x]), Place(why, index, Box(int(x) * CELL, int(y) * CELL, *crop))
    return place


def _overlaps(shape: tuple[int, ...], box: Box) -> np.ndarray:
    """Return True for each place that covers too much of a box of the same size."""
    down = np.maximum(0, box.height - np.abs(np.arange(shape[0]) * CELL - box.top))
    across = np.maximum(0, box.width - np.abs(np.arange(shape[1]) * CELL - box.left))
    return np.outer(down, across) > _OVERLAP * box.width * box.height


def _detail(cells: Cells, crop: tuple[int, int]) -> np.ndarray:
    mean = _window_means(np.minimum(cells.detail, _MOST_DETAIL), cells, crop)
    return np.where(mean >= _LEAST_DETAIL, mean, 0.0)


def _dark(cells: Cells, crop: tuple[int, int]) -> np.ndarray:
    detail, luma = _CONTENT
    content = ((cells.detail >= detail) & (cells.luma >= luma)).astype(np.float64)
    share = _window_means(content, cells, crop)
    light = _window_means(content * cells.luma, cells, crop) / np.maximum(share, 1e-9)
    return np.where(share >= _SHARE, share * (256 - light), 0.0)


def _face(cells: Cells, crop: tuple[int, int]) -> np.ndarray:
    """Return the best score of a face that a place has in its middle, or as near to it as the edges allow."""
    rows, columns = _window(crop)
    h, w = cells.luma.shape
    side = max(1, min(round(cells.size[1] / _FACE_HEIGHT / CELL), rows, columns, h, w))
    like = _means(_trapezoid(cells.luma, _MID_TONES) * _trapezoid(cells.detail, _MODERATE), side, side)
    mean, square = _means(cells.luma, side, side), _means(cells.luma**2, side, side)
    uneven = np.minimum(1.0, np.sqrt(np.maximum(0.0, square - mean**2)) / _UNEVEN)
    scores = like * (0.5 + 0.5 * uneven)
    best = np.zeros(_places(cells, crop))
    y = np.clip(np.arange(scores.shape[0]) - (rows - side) // 2, 0, best.shape[0] - 1)
    x = np.clip(np.arange(scores.shape[1]) - (columns - side) // 2, 0, best.shape[1] - 1)
    np.maximum.at(best, (y[:, None], x[None, :]), scores)
    return np.where(best >= _LEAST_FACE, best, 0.0)


def _trapezoid(values: np.ndarray, corners: tuple[float, float, float, float]) -> np.ndarray:
    """Return 0 outside the outer corners, 1 between the inner ones."""
    return np.interp(values, corners, (0.0, 1.0, 1.0, 0.0))


def _window(crop: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of cells of a place."""
    return max(1, round(crop[1] / CELL)), max(1, round(crop[0] / CELL))


def _places(cells: Cells, crop: tuple[int, int]) -> tuple[int, int]:
    """Return the number of places from top to bottom, and from left to right, inside the frame."""
    (width, height), (w, h) = cells.size, crop
    return (height - h) // CELL + 1, (width - w) // CELL + 1


def _window_means(values: np.ndarray, cells: Cells, crop: tuple[int, int]) -> np.ndarray:
    """Return the mean of values of cells for each place."""
    rows, columns = _window(crop)
    down, across = _places(cells, crop)
    return _means(values, min(rows, values.shape[0]), min(columns, values.shape[1]))[:down, :across]


def _means(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(h, w) -> (h - rows + 1, w - columns + 1): means over all windows."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    total = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    return total / (rows * columns)


def _cell_means(values: np.ndarray) -> np.ndarray:
    """(H, W) -> (ceil(H / CELL), ceil(W / CELL)); the last rows and columns are repeated to fill the last cells."""
    height, width = values.shape
    whole = np.pad(values, ((0, -height % CELL), (0, -width % CELL)), mode="edge")
    return whole.reshape(whole.shape[0] // CELL, CELL, whole.shape[1] // CELL, CELL).mean(axis=(1, 3), dtype=np.float64)
