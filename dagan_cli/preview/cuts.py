"""Where a place is cut from the input with what surrounds it, and from its result again: integers in, integers out."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dagan_cli.preview.places import CELL, Box

AROUND_IMAGE, AROUND_FILM = 64, 32  # pixels around a place that a network sees, if it sees no less than that
_MOST = 640, 512  # pixels of a result that is shown


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of the input that goes through a model, and the part of its result that is shown."""

    read: Box  # of the input
    scaled: tuple[int, int]  # (width, height) of the result of `read`
    keep: Box  # of that result


def crop_for(usual: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return the (width, height) of places in input pixels: the usual one, or less if the result would be too large."""
    width, height = (
        min(side, max(CELL, int(most / factor) // CELL * CELL)) for side, most in zip(usual, _MOST, strict=True)
    )
    return width, height


def margin_for(receptive_field: int | None, usual: int) -> int:
    """Return how much of the surroundings a network is to see: its receptive field, or `usual` if that is too much."""
    return receptive_field if receptive_field is not None and receptive_field <= max(usual, AROUND_IMAGE) else usual


def cut_for(box: Box, size: tuple[int, int], result: tuple[int, int], margin: int, grid: int = CELL) -> Cut:
    """Cut a place with `margin` pixels around it from an input of `size`, whose whole result has the size `result`.

    The part starts at multiples of `grid`, where the windows of attention begin, and all parts are equally large, but
    for those at the right and lower edge: then they are compiled once. The result is that of the whole, pixel by pixel,
    if the factor maps the grid to whole pixels; otherwise it is moved by less than one.
    """
    across = _axis(box.left, box.width, size[0], Fraction(result[0], size[0]), margin, grid)
    down = _axis(box.top, box.height, size[1], Fraction(result[1], size[1]), margin, grid)
    return Cut(
        Box(across[0], down[0], across[1], down[1]),
        (across[2], down[2]),
        Box(across[3], down[3], across[4], down[4]),
    )


def _axis(
    start: int, length: int, whole: int, ratio: Fraction, margin: int, grid: int
) -> tuple[int, int, int, int, int]:
    """Return first pixel and length of what is read, the length of its result, and those of what is kept of that."""
    part = -(-(length + 2 * margin + grid) // grid) * grid
    first = max(0, start - margin) // grid * grid
    last = first + part
    if last >= whole:
        first, last = max(0, whole - part) // grid * grid, whole
    scaled = max(1, round((last - first) * ratio))
    shown = min(scaled, max(1, round(length * ratio)))
    return first, last - first, scaled, min(round((start - first) * ratio), scaled - shown), shown
