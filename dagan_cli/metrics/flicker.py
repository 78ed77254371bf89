"""Flicker: change of a video over time that its reference does not have, along the motion of the reference.

With the error e_t = S_t - R_t of a result S against its reference R, on luma in code values of 255,

    flicker_t = mean over reliable pixels of |e_t - W(e_{t-1})|,

where W moves a frame along the motion of the reference from t-1 to t. As W is linear, this equals
|(S_t - W S_{t-1}) - (R_t - W R_{t-1})|: the change of the result along the motion, less the change of the reference.
It is 0 for the reference, and for an error that stays in its place in the content, still or moving; independent noise
of standard deviation s in each frame makes it 2 s / sqrt(pi), about 1.13 s. In code values of 255; lower is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.metrics.motion import Motion, find_motion

PROTOCOL = (
    "Flicker, lower is better: mean |e(t) - W e(t-1)| of the luma error e along the motion W of the reference, in "
    "8-bit code values"
)
LIMIT = 8.0  # code values; where the reference differs more from its own moved frame, motion does not explain it
WINDOW = 5  # side of the square in pixels over which that difference is averaged
# Share of reliable pixels below which a pair of frames has no value: a cut, or a wild change. In seven clips of
# 640x360, 91 % of the pixels or more were reliable from one frame to the next, 59 % or more after a second, and 26 %
# or less at cuts.
LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """Change of the reference from one frame to the next."""

    motion: Motion
    reliable: Tensor  # (H, W) bool: where the motion explains the change, and starts inside the frame
    share: float  # of reliable pixels, 0 to 1


@torch.inference_mode()
def change(previous: Tensor, current: Tensor) -> Change:
    """Find how the reference changes: (H, W) luma of two frames that follow each other, in code values of 255."""
    previous, current = previous.float(), current.float()
    motion = find_motion(previous, current)
    residual = (current - motion.warp(previous)).abs_()[None, None]
    local = F.avg_pool2d(residual, WINDOW, 1, WINDOW // 2, count_include_pad=False)[0, 0]
    reliable = (local <= LIMIT) & motion.inside()
    return Change(motion, reliable, reliable.float().mean().item())


@torch.inference_mode()
def flicker(previous_error: Tensor, error: Tensor, along: Change) -> float | None:
    """Return the flicker of one frame, from the errors S - R of it and of the frame before, (H, W) each.

    None if fewer than half of the pixels are reliable, as at a cut.
    """
    if along.share < LEAST:
        return None
    moved = along.motion.warp(previous_error.float())
    return (error.float() - moved).abs_()[along.reliable].double().mean().item()
