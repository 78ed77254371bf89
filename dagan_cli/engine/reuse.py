"""Reuse tile results between frames whose input pixels are identical.

This is exact: a tile's result depends only on its pixels, rim included, and these are compared bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dagan_cli.engine.tiles import Plan, Span, Tile


@dataclass
class History:
    """State that the engine keeps from one frame of a video to the next; each video needs its own.

    It holds the last frame and its upscaled tiles before joining.
    """

    tiles: int = 0  # tiles requested
    reused: int = 0  # tiles reused instead of computed
    _plan: Plan | None = None
    _frame: Tensor | None = None  # (3, H, W)
    _shares: dict[tuple[Span, Span], Tensor] = field(default_factory=dict)

    def recall(self, frames: Tensor, plan: Plan) -> tuple[dict[Tile, Tile], dict[Tile, Tensor]]:
        """Map each tile of `frames` (N, 3, H, W) that equals that of the previous frame to the first identical one.

        That one belongs to an earlier frame of `frames`, or to the last frame of the previous call, counted as
        frame -1; the second mapping holds the shares of the latter.
        """
        self.tiles += plan.count * len(frames)
        same_as: dict[Tile, Tile] = {}
        before = self._frame if self._plan is plan else None
        for i, frame in enumerate(frames):
            if before is not None and before.shape == frame.shape and before.dtype == frame.dtype:
                for y, x in plan.tiles:
                    if _same(before, frame, y, x):
                        same_as[i, y, x] = same_as.get((i - 1, y, x), (i - 1, y, x))
            before = frame
        self.reused += len(same_as)
        return same_as, {(-1, y, x): share for (y, x), share in self._shares.items()}

    def keep(self, frame: Tensor, plan: Plan, shares: dict[tuple[Span, Span], Tensor]) -> None:
        """Remember the last frame (3, H, W); it must not be modified afterwards."""
        self._frame, self._plan, self._shares = frame, plan, shares

    def forget(self) -> None:
        """Free the memory; the counts stay."""
        self._frame, self._plan, self._shares = None, None, {}

    def repeat(self, frames: int = 1) -> None:
        """Count whole frames that were reused without calling the engine."""
        if self._plan is not None:
            self.tiles += self._plan.count * frames
            self.reused += self._plan.count * frames


def _same(before: Tensor, frame: Tensor, y: Span, x: Span) -> bool:
    rows, columns = slice(y.start, y.stop), slice(x.start, x.stop)
    return torch.equal(before[:, rows, columns], frame[:, rows, columns])
