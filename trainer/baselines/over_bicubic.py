"""The part shared by SRCNN and VDSR: they refine the luma of an image enlarged by bicubic interpolation."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from dagan_cli.metrics.fidelity import bicubic_weights, luma


class OverBicubic(nn.Module):
    """(N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), nominally in [0, 1]; chroma is that of the enlargement.

    network: (N, 1, H, W) Y in [16, 235] / 255 -> the new Y, or with `residual` the change to add to it.
    reach: its receptive field to each side, in pixels of the enlargement.
    """

    def __init__(self, scale: int, network: nn.Module, *, reach: int, residual: bool) -> None:
        super().__init__()
        self.scale = scale
        self.network = network
        self.residual = residual
        # From the last output pixel of an input pixel, `reach` pixels further, plus less than two input pixels.
        self.receptive_field = ceil((scale - 1 + 2 * reach) / (2 * scale)) + 1

    def forward(self, x: Tensor, order: None = None) -> Tensor:
        enlarged = enlarge(x, self.scale)
        y = (luma(255 * enlarged) / 255).to(x.dtype)
        change = self.network(y) if self.residual else self.network(y) - y
        # A change of Y at constant Cb and Cr adds the same to R, G and B (BT.601), scaled from studio to full range.
        return (enlarged + 255 / 219 * change).to(x.dtype)


def enlarge(x: Tensor, scale: int) -> Tensor:
    """Enlarge (N, C, h, w) to (N, C, scale*h, scale*w) as MATLAB's imresize(..., 'bicubic') does, in fp32 or wider.

    Unlike `fidelity.bicubic`, which gives the same for whole values, it does not round and is differentiable.
    """
    h, w = x.shape[-2:]
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):  # autocast would compute the matrix products in bf16
        rows, columns = (bicubic_weights(side, scale * side).to(x, copy=True) for side in (h, w))
        return rows @ x @ columns.T
