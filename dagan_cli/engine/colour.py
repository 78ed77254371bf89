"""Convert planes of a video frame to float RGB and back, with exact arithmetic.

swscale is not used: it maps 10-bit white to 253, takes the nearest chroma sample, and guesses BT.601 (media facts).

Chroma is upsampled linearly at its true position, as in zimg. It is downsampled by the filters that invert that
upsampling exactly, (-1 3 3 -1)/4 between two samples and (-1 2 6 2 -1)/8 on a sample (the low-pass of the LeGall 5/3
wavelet). An unchanged frame therefore keeps its code values, including 4:2:0 and odd sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dagan_cli.planes import HALVINGS, Matrix, PixelLayout, plane_shapes

LUMA: dict[Matrix, tuple[float, float]] = {  # (Kr, Kb) of ITU-T H.273
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}

_BAND = 1 << 20  # luma samples that a CPU converts at a time: larger tensors leave the cache, and are mapped again
_REACH = 8  # rows that chroma depends on beyond its own, at most; divisible by every subsampling


def to_rgb(planes: Sequence[Tensor], layout: PixelLayout) -> Tensor:
    """Planes (..., h, w) of `layout`  ->  (..., 3, H, W) RGB float32, nominally [0, 1], not clamped.

    Colours outside the RGB cube, which Y'CbCr can hold, keep their values below 0 or above 1. Alpha is ignored.
    """
    (low, span), (middle, chroma_span) = code_ranges(layout)
    if layout.chroma == "rgb":
        return torch.stack([_as_float(plane, low).mul_(1 / span) for plane in planes[:3]], dim=-3)
    y = _as_float(planes[0], low).mul_(1 / span)
    if layout.chroma == "gray":
        return torch.stack([y, y, y], dim=-3)
    cb, cr = (_upsample(_as_float(plane, middle), layout, y.shape) for plane in planes[1:3])

    kr, kb = LUMA[layout.matrix]
    red, blue = 2 * (1 - kr) / chroma_span, 2 * (1 - kb) / chroma_span
    out = y.new_empty(*y.shape[:-2], 3, *y.shape[-2:])
    r, g, b = out.unbind(-3)
    torch.add(y, cr, alpha=red, out=r)
    torch.add(y, cb, alpha=blue, out=b)
    torch.add(y, cr, alpha=-red * kr / (1 - kr - kb), out=g).add_(cb, alpha=-blue * kb / (1 - kr - kb))
    return out


def from_rgb(rgb: Tensor, layout: PixelLayout) -> tuple[Tensor, ...]:
    """(..., 3, H, W) RGB, nominally [0, 1]  ->  colour planes of `layout`, rounded, clamped to its code values.

    On a CPU, bands of rows are converted one by one, so that they stay in the cache; the values are the same.
    """
    height, width = rgb.shape[-2:]
    rows = max(_REACH, _BAND // width // _REACH * _REACH)
    if rgb.device.type != "cpu" or height <= rows:
        return _from_rgb(rgb, layout)
    planes = [
        torch.empty((*rgb.shape[:-3], *shape), dtype=code_type(layout.depth))
        for shape in plane_shapes(replace(layout, alpha=False), width, height)
    ]
    downs = (0, *2 * (HALVINGS[layout.chroma][0],))
    for top in range(0, height, rows):
        lo, hi = max(0, top - _REACH), top + rows + _REACH
        parts = _from_rgb(rgb[..., lo:hi, :], layout)
        for plane, part, down in zip(planes, parts, downs, strict=False):
            place = plane[..., top >> down : (top + rows) >> down, :]
            place.copy_(part[..., (top - lo) >> down :, :][..., : place.shape[-2], :])
    return tuple(planes)


def _from_rgb(rgb: Tensor, layout: PixelLayout) -> tuple[Tensor, ...]:
    (low, span), (middle, chroma_span) = code_ranges(layout)
    r, g, b = rgb.float().unbind(-3)
    if layout.chroma == "rgb":
        return tuple(_quantise(channel * span, low, layout.depth) for channel in (r, g, b))
    kr, kb = LUMA[layout.matrix]
    y = torch.mul(r, kr).add_(g, alpha=1 - kr - kb).add_(b, alpha=kb)
    if layout.chroma == "gray":
        return (_quantise(y.mul_(span), low, layout.depth),)
    cb = _downsample(b - y, layout).mul_(chroma_span / (2 * (1 - kb)))
    cr = _downsample(r - y, layout).mul_(chroma_span / (2 * (1 - kr)))
    return (
        _quantise(y.mul_(span), low, layout.depth),
        _quantise(cb, middle, layout.depth),
        _quantise(cr, middle, layout.depth),
    )


def to_alpha(planes: Sequence[Tensor], layout: PixelLayout) -> Tensor:
    """The alpha plane (..., h, w) of `layout`  ->  (..., 1, H, W) float32 in [0, 1]."""
    return planes[-1].float().mul_(1 / (2**layout.depth - 1)).unsqueeze(-3)


def from_alpha(alpha: Tensor, layout: PixelLayout) -> Tensor:
    """(..., 1, H, W) in [0, 1]  ->  the alpha plane (..., H, W) of `layout`; it follows those of `from_rgb`."""
    return _quantise(alpha.float().squeeze(-3) * (2**layout.depth - 1), 0, layout.depth)


def code_ranges(layout: PixelLayout) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the code values of (black, white - black) and (neutral chroma, its full swing)."""
    step, top = 2 ** (layout.depth - 8), 2**layout.depth - 1
    if layout.chroma == "rgb" or layout.full_range:
        return (0, top), (128 * step, top)
    return (16 * step, 219 * step), (128 * step, 224 * step)


def upsampling_matrix(layout: PixelLayout, axis: int, length: int) -> Tensor:
    """Return the (length, h) float64 matrix that upsamples h chroma samples along `axis`: -2 rows, -1 columns."""
    halvings, cosited = next(each[1:] for each in _axes(layout) if each[0] == axis)
    line = torch.eye(-(-length >> halvings), dtype=torch.float64)
    for _ in range(halvings):
        line = _double(line, 0, cosited)
    return line[:length]


def downsampling_matrix(layout: PixelLayout, axis: int, length: int) -> Tensor:
    """Return the (h, length) float64 matrix that downsamples chroma along `axis`; it inverts `upsampling_matrix`."""
    halvings, cosited = next(each[1:] for each in _axes(layout) if each[0] == axis)
    line = torch.eye(length, dtype=torch.float64)
    for _ in range(halvings):
        line = _halve(line, 0, cosited)
    return line


def _as_float(plane: Tensor, zero: float) -> Tensor:
    """Return the code values minus `zero` as float32, in new memory."""
    values = plane.to(torch.float32)  # one pass; integer minus float would take three times as long
    return values.sub_(zero) if zero else values


def to_codes(values: Tensor, zero: float, depth: int) -> Tensor:
    """Add `zero` to the values, in place  ->  numbers whose integer part is the nearest code that `depth` bits hold."""
    return values.add_(zero + 0.5).clamp_(0, 2**depth - 0.5)


def code_type(depth: int) -> torch.dtype:
    """Return the type of the samples of a plane."""
    return torch.uint8 if depth == 8 else torch.uint16


def _quantise(values: Tensor, zero: float, depth: int) -> Tensor:
    """Add `zero` to the values, in place  ->  the nearest integers that `depth` bits hold."""
    return to_codes(values, zero, depth).to(code_type(depth))


def _upsample(chroma: Tensor, layout: PixelLayout, shape: torch.Size) -> Tensor:
    """(..., h, w) chroma  ->  (..., H, W), one value at the position of each luma sample."""
    for axis, halvings, cosited in _axes(layout):
        for _ in range(halvings):
            chroma = _double(chroma, chroma.dim() + axis, cosited)
    return chroma[..., : shape[-2], : shape[-1]]


def _downsample(chroma: Tensor, layout: PixelLayout) -> Tensor:
    """(..., H, W) chroma  ->  (..., h, w) at the chroma positions of `layout`."""
    for axis, halvings, cosited in _axes(layout):
        for _ in range(halvings):
            chroma = _halve(chroma, chroma.dim() + axis, cosited)
    return chroma


def _axes(layout: PixelLayout) -> tuple[tuple[int, int, bool], ...]:
    """For rows, then columns: (axis, number of halvings, True if chroma samples coincide with luma samples)."""
    down, across = HALVINGS[layout.chroma]
    return (-2, down, layout.siting == "topleft"), (-1, across, layout.siting != "center")


def _double(line: Tensor, axis: int, cosited: bool) -> Tensor:
    """Double the samples along `axis` by linear interpolation; the end samples are repeated."""
    last = line.shape[axis] - 1
    left, right = line.narrow(axis, 0, last), line.narrow(axis, 1, last)
    out = line.new_empty(*line.shape[: axis + 1], 2, *line.shape[axis + 1 :])
    even, odd = out.unbind(axis + 1)
    if cosited:
        even.copy_(line)
        torch.lerp(left, right, 0.5, out=odd.narrow(axis, 0, last))
    else:
        even.narrow(axis, 0, 1).copy_(line.narrow(axis, 0, 1))
        torch.lerp(left, right, 0.75, out=even.narrow(axis, 1, last))
        torch.lerp(left, right, 0.25, out=odd.narrow(axis, 0, last))
    odd.narrow(axis, last, 1).copy_(line.narrow(axis, last, 1))
    return out.flatten(axis, axis + 1)


def _halve(line: Tensor, axis: int, cosited: bool) -> Tensor:
    """Halve the samples along `axis`: invert `_double` exactly, and low-pass against aliasing."""
    if line.shape[axis] % 2:
        line = torch.cat([line, _past_the_end(line, axis, cosited)], axis)
    even, odd = line.unflatten(axis, (-1, 2)).unbind(axis + 1)
    first, last = even.narrow(axis, 0, 1), odd.narrow(axis, -1, 1)
    if cosited:
        out = torch.mul(even, 0.75).add_(odd, alpha=0.25)
        _add_previous(out, odd, first, axis, 0.25)
        _add_previous(out, even, first, axis, -0.125)
        _add_next(out, even, last, axis, -0.125)
    else:
        out = torch.add(even, odd).mul_(0.75)
        _add_previous(out, odd, first, axis, -0.25)
        _add_next(out, even, last, axis, -0.25)
    return out


def _past_the_end(line: Tensor, axis: int, cosited: bool) -> Tensor:
    """Return the sample after the last one of an odd side, which `_double` made and `_upsample` cropped."""
    last = line.narrow(axis, -1, 1)
    if cosited or line.shape[axis] == 1:
        return last
    return torch.lerp(line.narrow(axis, -2, 1), last, 1.5)


def _add_previous(out: Tensor, line: Tensor, edge: Tensor, axis: int, weight: float) -> None:
    """out[i] += weight * line[i - 1] along `axis`, with `edge` in place of line[-1]."""
    inner = line.shape[axis] - 1
    out.narrow(axis, 1, inner).add_(line.narrow(axis, 0, inner), alpha=weight)
    out.narrow(axis, 0, 1).add_(edge, alpha=weight)


def _add_next(out: Tensor, line: Tensor, edge: Tensor, axis: int, weight: float) -> None:
    """out[i] += weight * line[i + 1] along `axis`, with `edge` in place of the sample past the end."""
    inner = line.shape[axis] - 1
    out.narrow(axis, 0, inner).add_(line.narrow(axis, 1, inner), alpha=weight)
    out.narrow(axis, inner, 1).add_(edge, alpha=weight)
