"""Work not done twice: a tile that sees what it saw in the frame before has the result it had then.

Exact: a tile's result depends on its pixels alone, rim included, and those are compared bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dagan_cli.engine.tiles import Plan, Span, Tile


@dataclass
class History:
    """What the engine remembers from one frame of a video to the next; a new video needs a new one.

    It holds the last frame, and the enlarged tiles of it as they were before they were joined.
    """

    tiles: int = 0  # asked for so far
    reused: int = 0  # of which were not computed
    _plan: Plan | None = None
    _frame: Tensor | None = None  # (3, H, W)
    _shares: dict[tuple[Span, Span], Tensor] = field(default_factory=dict)

    def recall(self, frames: Tensor, plan: Plan) -> tuple[dict[Tile, Tile], dict[Tile, Tensor]]:
        """For each tile of `frames` (N, 3, H, W) that is as in the frame before, the first of those that are alike.

        That one is of an earlier frame of `frames`, or of the last frame of the call before, counted as frame -1;
        the second mapping has the shares of the latter.
        """
        self.tiles += plan.count * len(frames)
        alike: dict[Tile, Tile] = {}
        before = self._frame if self._plan is plan else None
        for i, frame in enumerate(frames):
            if before is not None and before.shape == frame.shape and before.dtype == frame.dtype:
                for y, x in plan.tiles:
                    if _same(before, frame, y, x):
                        alike[i, y, x] = alike.get((i - 1, y, x), (i - 1, y, x))
            before = frame
        self.reused += len(alike)
        return alike, {(-1, y, x): share for (y, x), share in self._shares.items()}

    def keep(self, frame: Tensor, plan: Plan, shares: dict[tuple[Span, Span], Tensor]) -> None:
        """Remember the last frame (3, H, W); it must not be changed afterwards."""
        self._frame, self._plan, self._shares = frame, plan, shares

    def forget(self) -> None:
        """Give the memory back; the counts stay."""
        self._frame, self._plan, self._shares = None, None, {}

    def repeat(self, frames: int = 1) -> None:
        """Count frames that were used again whole, without asking the engine."""
        if self._plan is not None:
            self.tiles += self._plan.count * frames
            self.reused += self._plan.count * frames


def _same(before: Tensor, frame: Tensor, y: Span, x: Span) -> bool:
    rows, columns = slice(y.start, y.stop), slice(x.start, x.stop)
    return torch.equal(before[:, rows, columns], frame[:, rows, columns])
