"""What SRCNN and VDSR share: they refine the luma of a picture that bicubic interpolation has enlarged before."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from dagan_cli.metrics.fidelity import bicubic_weights, luma


class OverBicubic(nn.Module):
    """(N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), nominally in [0, 1]; chroma is that of the enlargement.

    network: (N, 1, H, W) Y in [16, 235] / 255 -> the new Y, or with `residual` what is to be added to it.
    reach: how far it sees to each side, in pixels of the enlargement.
    """

    def __init__(self, scale: int, network: nn.Module, *, reach: int, residual: bool) -> None:
        super().__init__()
        self.scale = scale
        self.network = network
        self.residual = residual
        # From the last of the pixels that an input pixel becomes, `reach` further, and less than two input pixels more.
        self.receptive_field = ceil((scale - 1 + 2 * reach) / (2 * scale)) + 1

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        enlarged = enlarge(x, self.scale)
        y = (luma(255 * enlarged) / 255).to(x.dtype)
        change = self.network(y) if self.residual else self.network(y) - y
        # RGB with another Y and the same Cb and Cr: BT.601 adds the same to all three, stretched from studio range.
        return (enlarged + 255 / 219 * change).to(x.dtype)


def enlarge(x: Tensor, scale: int) -> Tensor:
    """MATLAB's imresize(..., 'bicubic') without rounding: (N, C, h, w) -> (N, C, scale*h, scale*w), fp32 or wider.

    `protocol.bicubic` is the same for whole values; what a network refines is not rounded, and has a gradient.
    """
    h, w = x.shape[-2:]
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):  # which would have matrix products in 8 bits of precision
        rows, columns = (bicubic_weights(side, scale * side).to(x, copy=True) for side in (h, w))
        return rows @ x @ columns.T
