"""Geometry of the tiles of an image, one axis at a time: integers in, integers out; no tensors, no devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

import numpy as np

from dagan_cli.errors import BadOption

SMALLEST = 16  # side of the smallest tile worth running, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Parameters for cutting an image into tiles; lengths in input pixels.

    Raises BadOption if the rim leaves nothing of a tile.
    """

    size: int  # the longest side of a tile
    halo: int = 0  # neighbouring tiles share at least 2 * halo pixels; the cut is in the middle
    fade: int = 0  # neighbours are blended from this far before the cut to this far after it; at most halo
    grid: int = 1  # positions of tiles are multiples of this
    multiple: int = 0  # sides of tiles are multiples of this, which divides the grid; 0 = the grid
    least: int = 0  # tiles are not made shorter than this to spread them evenly

    def __post_init__(self) -> None:
        if not 0 <= self.fade <= self.halo:
            raise BadOption(
                f"the overlap is smaller than the cross-fade of {self.fade} px", hint="use a larger --overlap"
            )
        if self.grid < 1 or self.size % self.grid:
            raise BadOption(f"--tile {self.size} is not a multiple of the grid, {self.grid} px", hint="use a multiple")
        if self.size - 2 * self.halo < self.grid:
            raise BadOption(
                f"--overlap {self.halo} is too large for a tile of {self.size} px",
                hint=f"use --tile {round_up(2 * self.halo + self.grid, self.grid)} or more, or a smaller --overlap",
            )


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis, in input pixels: read [start, stop), keep [a, b), blend at the ends of the kept part."""

    start: int
    stop: int
    a: int
    b: int
    rise: int = 0  # number of first kept pixels over which weights rise from 0 to 1
    fall: int = 0  # number of last kept pixels over which weights fall from 1 to 0


Tile = tuple[int, Span, Span]  # frame number, rows, columns


@dataclass(frozen=True)
class Plan:
    """Tiles of one image, all of one size: the product of the spans of its two axes."""

    ys: list[Span]
    xs: list[Span]

    @cached_property
    def tiles(self) -> list[tuple[Span, Span]]:
        return list(product(self.ys, self.xs))

    @property
    def count(self) -> int:
        return len(self.ys) * len(self.xs)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of every tile."""
        return self.ys[0].stop - self.ys[0].start, self.xs[0].stop - self.xs[0].start

    @property
    def area(self) -> int:
        """Pixels of one tile."""
        return self.sides[0] * self.sides[1]

    @property
    def overhead(self) -> float:
        """Ratio of the pixels of all tiles to those of the image; at least 1."""
        return self.count * self.area / (self.ys[-1].b * self.xs[-1].b)


def plan(height: int, width: int, tiling: Tiling) -> Plan:
    """Cut an image of height x width pixels."""
    return Plan(plan_axis(height, tiling), plan_axis(width, tiling))


def plan_axis(length: int, tiling: Tiling) -> list[Span]:
    """Spread windows of one size evenly over the axis; their weights add up to one everywhere on it.

    The axis is extended to the next multiple of `tiling.multiple`, so `stop` may exceed `length`; `b` never does. There
    are as few windows as `tiling.size` allows, each as short as their number and `tiling.least` allow. Sides that need
    not be multiples of the grid are up to a grid step longer than `tiling.size`, so that the last window starts on it.
    """
    grid = tiling.grid
    whole = round_up(length, tiling.multiple or grid)
    side = min(tiling.size + (whole - tiling.size) % grid, whole)
    count = _count(whole, side, tiling)
    least = max(2 * tiling.halo + grid, tiling.least)
    while count > 1 and side - grid >= least and _count(whole, side - grid, tiling) == count:
        side -= grid
    steps = (whole - side) // grid
    starts = [i * steps // max(1, count - 1) * grid for i in range(count)]
    cuts = [0, *((left + side + right) // 2 for left, right in pairwise(starts)), length]
    fades = [0, *[tiling.fade] * (count - 1), 0]
    return [
        Span(start, start + side, cuts[i] - fades[i], cuts[i + 1] + fades[i + 1], 2 * fades[i], 2 * fades[i + 1])
        for i, start in enumerate(starts)
    ]


def weights(span: Span, lo: int, hi: int, scale: int) -> np.ndarray:
    """Weights of this span for the pixels [lo, hi), enlarged by `scale`: (scale * (hi - lo),) float32 in [0, 1].

    A span's weights are the difference of two ramps, each shared with a neighbour, so the sum over all spans is one
    even where ramps overlap.
    """
    x = (np.arange(lo * scale, hi * scale, dtype=np.float64) + 0.5) / scale
    return (_ramp(x, span.a, span.rise) - _ramp(x, span.b - span.fall, span.fall)).astype(np.float32)


def left_over(y: Span, x: Span, finished: list[list[tuple[Span, Span]]], scale: int) -> np.ndarray:
    """Weights that the finished tiles of earlier tilings leave for a tile's kept part: (s*height, s*width), [0, 1]."""
    left = np.ones((scale * (y.b - y.a), scale * (x.b - x.a)), dtype=np.float32)
    for tiles in finished:
        done = np.zeros_like(left)
        for v, u in tiles:
            if v.a < y.b and y.a < v.b and u.a < x.b and x.a < u.b:
                done += np.outer(weights(v, y.a, y.b, scale), weights(u, x.a, x.b, scale))
        left *= 1 - done
    return left.clip(0, 1)


def round_up(length: int, grid: int) -> int:
    """Return the smallest multiple of `grid` that is at least `length`."""
    return -(-length // grid) * grid


def _count(whole: int, side: int, tiling: Tiling) -> int:
    stride = (side - 2 * tiling.halo) // tiling.grid * tiling.grid
    return 1 if side >= whole else 1 - (side - whole) // stride


def _ramp(x: np.ndarray, start: int, length: int) -> np.ndarray:
    return np.clip((x - start) / length, 0, 1) if length else (x >= start).astype(np.float64)
