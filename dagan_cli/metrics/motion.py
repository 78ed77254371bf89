"""Motion between two frames by hierarchical block matching, and the warping of planes along it.

Each block of 16 x 16 pixels of the current frame has one displacement, in quarters of a pixel. The search is exhaustive
on a reduced copy of the frames, is refined on each larger copy, and ends with quarter pixels, for which samples are
interpolated by HEVC's 8-tap luma filters (ITU-T H.265, 8.5.3.3.3.1). Whole displacements leave samples unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 16  # side of a block in pixels
REACH = 8  # pixels of the smallest copy that are searched in each direction
_HALVINGS = (
    (720, 2),
    (2048, 3),
)  # how often a frame with at most this many rows and columns is halved; a larger one: 4
_QUARTERS = 4  # steps of a pixel
_TAPS = {  # of HEVC, for each number of quarters, from 3 samples before to 4 after
    0: (0, 0, 0, 64, 0, 0, 0, 0),
    1: (-1, 4, -10, 58, 17, -5, 1, 0),
    2: (-1, 4, -11, 40, 40, -11, 4, -1),
    3: (0, 1, -5, 17, 58, -10, 4, -1),
}
_BEFORE, _AFTER = 3, 4
_NEARER = 0.01  # code values of residual that a pixel of distance costs in the exhaustive search
_SMOOTH = 0.5  # code values of residual that a block pays if it moves unlike all blocks around it
_WORTH = 0.9, 0.1  # a fraction of a pixel must reduce the residual to this share, and by this many code values


def _interpolating() -> Tensor:
    """Return (4, BLOCK, BLOCK + 7): for each number of quarters the matrix that interpolates one axis of a block."""
    matrices = torch.zeros(_QUARTERS, BLOCK, BLOCK + _BEFORE + _AFTER)
    for part, taps in _TAPS.items():
        for i in range(BLOCK):
            matrices[part, i, i : i + len(taps)] = torch.tensor(taps) / 64
    return matrices


_FILTERS = _interpolating()
_PARTS = range(-2, 3)  # quarters that are tried around a whole displacement, on each axis
_NEAR = torch.cat(  # (80, 24): all of them; a negative part is one pixel less and a positive part
    [F.pad(_FILTERS[part % _QUARTERS], (0, 1) if part < 0 else (1, 0)) for part in _PARTS]
)
_CHUNK = 256  # blocks that are interpolated at a time, which stay in the cache


@dataclass(frozen=True, slots=True)
class Motion:
    """Displacement of each block of a frame: its content was at x + displacement in the frame before."""

    quarters: Tensor  # (rows, columns, 2) int64: (down, right) in quarters of a pixel
    size: tuple[int, int]  # (H, W) of the frame in pixels

    def warp(self, previous: Tensor) -> Tensor:
        """Move a plane of the frame before, (H, W) float, to where its content is in the current frame."""
        height, width = self.size
        rows, columns, _ = self.quarters.shape
        flat = self.quarters.reshape(-1, 2)
        whole, part = flat.div(_QUARTERS, rounding_mode="floor"), flat % _QUARTERS
        patches = _patches(_padded(previous, rows, columns), whole, columns, BLOCK, _BEFORE, _AFTER)
        if part.any():
            filters = _FILTERS.to(previous.dtype)
            patches = filters[part[:, 0]] @ patches @ filters[part[:, 1]].mT
        else:
            patches = patches[:, _BEFORE:-_AFTER, _BEFORE:-_AFTER]
        return _joined(patches, rows, columns)[:height, :width]

    def inside(self) -> Tensor:
        """Return (H, W) bool: True where the content was inside the frame before."""
        height, width = self.size
        moved = self.quarters.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:height, :width]
        down = moved[..., 0] + _QUARTERS * torch.arange(height)[:, None]
        right = moved[..., 1] + _QUARTERS * torch.arange(width)
        is_inside = (down >= 0) & (down <= _QUARTERS * (height - 1))
        return is_inside & (right >= 0) & (right <= _QUARTERS * (width - 1))


def find_motion(previous: Tensor, current: Tensor) -> Motion:
    """Find the motion from one frame to the next: (H, W) float luma in code values of 255, of at least one pixel.

    Displacements reach 32 pixels, 64 in frames of more than 720 columns or rows, and 128 above 2048. Where several
    displacements fit equally, as in flat areas, blocks move like those around them, or stay.
    """
    height, width = current.shape
    rows, columns = ceil(height / BLOCK), ceil(width / BLOCK)
    levels = [(_whole(previous, rows, columns), _whole(current, rows, columns))]
    for _ in range(next((count for most, count in _HALVINGS if max(height, width) <= most), 4)):
        before, now = (F.avg_pool2d(each[None, None], 2)[0, 0] for each in levels[-1])
        levels.append((before, now))
    found = _searched(*levels[-1], BLOCK >> (len(levels) - 1), rows, columns)
    for level in range(len(levels) - 2, -1, -1):
        before, now = levels[level]
        refiner = _Refiner(before, now, BLOCK >> level, rows, columns)
        found = refiner.refined(refiner.agreed(2 * found), 1 if level == 0 else 2)
        if level == 0:
            found = refiner.agreed(found)
    quarters = _with_quarters(*levels[0], found, rows, columns)
    return Motion(quarters.view(rows, columns, 2), (height, width))


def _whole(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Extend a plane to whole blocks by repeating its last row and column."""
    beyond = (0, columns * BLOCK - plane.shape[1], 0, rows * BLOCK - plane.shape[0])
    return F.pad(plane[None, None].float(), beyond, "replicate")[0, 0]


def _searched(before: Tensor, now: Tensor, side: int, rows: int, columns: int) -> Tensor:
    """Return the best whole displacement of each block within REACH, (blocks, 2); near ones win ties.

    A block is compared with its surroundings, 3 x 3 blocks, as few pixels of a small copy can fit in several places.
    """
    padded = F.pad(before[None, None], (REACH,) * 4, "replicate")[0, 0]
    height, width = now.shape
    steps = 2 * REACH + 1
    costs = now.new_empty(steps, steps, rows, columns)
    for down in range(steps):
        moved = padded[down : down + height].unfold(1, width, 1).transpose(0, 1)  # (steps, height, width), a view
        differences = (moved - now).abs_()[:, None]
        blocks = F.avg_pool2d(differences, side)
        costs[down] = F.avg_pool2d(blocks, 3, 1, 1, count_include_pad=False)[:, 0]
    axis = torch.arange(-REACH, REACH + 1)
    far = axis.abs()[:, None] + axis.abs()
    costs += _NEARER * far[..., None, None]
    best = costs.view(steps * steps, -1).argmin(0)
    return torch.stack([axis[best.div(steps, rounding_mode="floor")], axis[best % steps]], 1)


class _Refiner:
    """Improves whole displacements of blocks between two copies of one size."""

    def __init__(self, before: Tensor, now: Tensor, side: int, rows: int, columns: int) -> None:
        self._rows, self._columns, self._side = rows, columns, side
        self._more = 0 if side == BLOCK else 2  # pixels around a block that are compared too
        self._before = F.pad(before[None, None], (_margin(side),) * 4, "replicate")[0, 0]
        still = torch.zeros(rows * columns, 2, dtype=torch.int64)
        now = F.pad(now[None, None], (_margin(side),) * 4, "replicate")[0, 0]
        self._now = _patches(now, still, columns, side, self._more, self._more)

    def refined(self, found: Tensor, steps: int) -> Tensor:
        """Search for what fits best within `steps` pixels of a displacement, on each axis."""
        reach = self._more + steps
        patches = _patches(self._before, found, self._columns, self._side, reach, reach)
        length = self._now.shape[-1]
        best, moved = self._cost(patches[:, steps : steps + length, steps : steps + length]), found.clone()
        for down, right in ((y, x) for y in range(2 * steps + 1) for x in range(2 * steps + 1)):
            cost = self._cost(patches[:, down : down + length, right : right + length])
            is_better = cost < best
            best = torch.where(is_better, cost, best)
            moved[is_better] = found[is_better] + torch.tensor([down - steps, right - steps])
        return moved

    def agreed(self, found: Tensor) -> Tensor:
        """Give each block the displacement of least residual and difference from its neighbours, among theirs and 0."""
        field = found.view(self._rows, self._columns, 2)
        around = [each.reshape(-1, 2) for each in _neighbours(field)]
        chosen = torch.zeros_like(found)
        best = self._total(chosen, around)
        for candidate in (found, *around):
            new = (candidate != chosen).any(1).nonzero()[:, 0]  # often few
            cost = self._total(candidate, around, new)
            better = new[cost < best[new]]
            best[better] = cost[cost < best[new]]
            chosen[better] = candidate[better]
        return chosen

    def _total(self, moved: Tensor, around: list[Tensor], only: Tensor | None = None) -> Tensor:
        """Residual of each block, or of some, if it moves so, and what it pays for being unlike its neighbours."""
        only = torch.arange(len(moved)) if only is None else only
        where = _patches(self._before, moved[only], self._columns, self._side, self._more, self._more, only)
        unlike = torch.stack([((moved[only] - each[only]).abs().sum(1) / 4).clamp(max=1) for each in around]).mean(0)
        return (where - self._now[only]).abs_().mean((1, 2)) + _SMOOTH * unlike

    def _cost(self, patches: Tensor) -> Tensor:
        """Mean absolute difference of each block, in code values."""
        return (patches - self._now).abs_().mean((1, 2))


def _neighbours(field: Tensor) -> Iterator[Tensor]:
    """Yield the displacements above, below, left and right of each block; at the edge of the frame its own."""
    yield torch.cat([field[:1], field[:-1]])
    yield torch.cat([field[1:], field[-1:]])
    yield torch.cat([field[:, :1], field[:, :-1]], 1)
    yield torch.cat([field[:, 1:], field[:, -1:]], 1)


def _with_quarters(before: Tensor, now: Tensor, found: Tensor, rows: int, columns: int) -> Tensor:
    """Turn whole displacements into quarters of a pixel: up to half a pixel away, where that fits clearly better."""
    quarters = _QUARTERS * found
    blocks = torch.arange(len(found))
    before, now = _padded(before, rows, columns), _padded(now, rows, columns)
    wanted = _patches(now, torch.zeros_like(found), columns, BLOCK, 0, 0)
    least = (_patches(before, found, columns, BLOCK, 0, 0) - wanted).abs_().mean((1, 2))
    share, gain = _WORTH
    for some in blocks[least > gain].split(_CHUNK):
        patches = _patches(before, found[some], columns, BLOCK, _BEFORE + 1, _AFTER, some)  # (blocks, 24, 24)
        costs = (_NEAR @ (patches @ _NEAR.mT)).view(-1, len(_PARTS), BLOCK, len(_PARTS), BLOCK)
        costs = (costs - wanted[some][:, None, :, None]).abs_().mean((2, 4)).flatten(1)  # (blocks, 25)
        cost, best = costs.min(1)
        is_better = cost < torch.minimum(share * least[some], least[some] - gain)
        part = torch.stack([best.div(len(_PARTS), rounding_mode="floor"), best % len(_PARTS)], 1) + _PARTS[0]
        quarters[some] += torch.where(is_better[:, None], part, 0)
    return quarters


def _margin(side: int) -> int:
    """Pixels around a plane that patches may reach: displacements, on each level refined, and the filters' taps."""
    return side * REACH + 2 * BLOCK


def _padded(plane: Tensor, rows: int, columns: int) -> Tensor:
    margin = _margin(BLOCK)
    beyond = (margin, margin + columns * BLOCK - plane.shape[1], margin, margin + rows * BLOCK - plane.shape[0])
    return F.pad(plane[None, None], beyond, "replicate")[0, 0]


def _patches(
    padded: Tensor, moved: Tensor, columns: int, side: int, before: int, after: int, blocks: Tensor | None = None
) -> Tensor:
    """Cut a patch for each block out of a plane with margins -> (blocks, n, n), n = before + side + after.

    moved: (blocks, 2), whole pixels (down, right) from the block's own place; beyond the margin its edge is used.
    blocks: the numbers of the blocks, if not all.
    """
    margin, length = _margin(side), before + side + after
    blocks = torch.arange(len(moved)) if blocks is None else blocks
    top = side * blocks.div(columns, rounding_mode="floor") + moved[:, 0] + margin - before
    left = side * (blocks % columns) + moved[:, 1] + margin - before
    top, left = top.clamp(0, padded.shape[0] - length), left.clamp(0, padded.shape[1] - length)
    return padded.unfold(0, length, 1).unfold(1, length, 1)[top, left]


def _joined(patches: Tensor, rows: int, columns: int) -> Tensor:
    """(blocks, BLOCK, BLOCK) -> (rows * BLOCK, columns * BLOCK)."""
    return patches.view(rows, columns, BLOCK, BLOCK).transpose(1, 2).reshape(rows * BLOCK, columns * BLOCK)
