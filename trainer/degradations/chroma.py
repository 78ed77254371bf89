"""RGB <-> the 8-bit 4:2:0 planes of a video frame, limited range (ITU-T H.273).

swscale is not used, as it takes the nearest chroma sample and guesses the matrix. The filters are those of cameras and
encoders, not the exact ones of the upscaler.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Matrix = Literal["bt601", "bt709"]
Siting = Literal["left", "center", "topleft"]  # position of a chroma sample among its four pixels

LUMA: dict[Matrix, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # (Kr, Kb)


def to_planes(rgb: Tensor, matrix: Matrix, siting: Siting) -> Tensor:
    """Convert RGB (N, 3, h, w) in [0, 1], even sides, to (N, h * 3 / 2, w) uint8: Y, U, V as in yuv420p."""
    kr, kb = LUMA[matrix]
    r, g, b = rgb.unbind(1)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    n, h, w = y.shape
    across, down = siting != "center", siting == "topleft"  # True if chroma samples are on a pixel column, on a row
    chroma = _halved(_halved(torch.stack([cb, cr], 1), across).mT, down).mT
    planes = torch.cat([16 + 219 * y.reshape(n, -1), 128 + 224 * chroma.reshape(n, -1)], 1)
    return planes.round().clamp(0, 255).to(torch.uint8).reshape(n, h * 3 // 2, w)


def from_planes(planes: Tensor, matrix: Matrix, siting: Siting) -> Tensor:
    """Convert (N, h * 3 / 2, w) uint8 to RGB (N, 3, h, w) in [0, 1], clamped; chroma is interpolated linearly."""
    kr, kb = LUMA[matrix]
    n, rows, w = planes.shape
    h = rows * 2 // 3
    values = planes.float()
    y = (values[:, :h] - 16) / 219
    chroma = ((values[:, h:] - 128) / 224).reshape(n, 2, h // 2, w // 2)
    across, down = siting != "center", siting == "topleft"
    cb, cr = _doubled(_doubled(chroma.mT, down).mT, across).unbind(1)
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return torch.stack([r, g, b], 1).clamp(0, 1)


def _halved(x: Tensor, cosited: bool) -> Tensor:
    """Halve (..., w) to (..., w / 2): mean of two pixels, or (1 2 1) / 4 if samples are on a pixel."""
    even, odd = x[..., ::2], x[..., 1::2]
    if not cosited:
        return (even + odd) / 2
    before = torch.cat([x[..., :1], odd[..., :-1]], -1)
    return (before + 2 * even + odd) / 4


def _doubled(x: Tensor, cosited: bool) -> Tensor:
    """Double (..., w) to (..., 2 w) by linear interpolation; the edges are repeated."""
    before, after = torch.cat([x[..., :1], x[..., :-1]], -1), torch.cat([x[..., 1:], x[..., -1:]], -1)
    even, odd = (x, (x + after) / 2) if cosited else ((before + 3 * x) / 4, (3 * x + after) / 4)
    return torch.stack([even, odd], -1).flatten(-2)
