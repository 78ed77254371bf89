"""Convert sample arrays of images to tensors of the network and back: grey, alpha, 8 and 16 bit, float."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dagan_cli.engine.memory import roomy_array
from dagan_cli.engine.resample import nearest_index
from dagan_cli.errors import BadInput

_ROWS = 256  # converted at a time, so that a large result is not held twice as floats


def through(
    pixels: np.ndarray,
    upscale: Callable[[Tensor], Tensor],
    *,
    finish: Callable[[Tensor, Tensor], Tensor] | None = None,
    folder: Path | None = None,
) -> np.ndarray:
    """Run `deferred` and what it returns: upscale samples of an image to samples of the same type."""
    return deferred(pixels, upscale, finish=finish, folder=folder)()


def deferred(
    pixels: np.ndarray,
    upscale: Callable[[Tensor], Tensor],
    *,
    finish: Callable[[Tensor, Tensor], Tensor] | None = None,
    folder: Path | None = None,
) -> Callable[[], np.ndarray]:
    """Upscale (H, W, C) uint8, uint16 or float32, C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA -> (sH, sW, C), same type.

    `upscale` maps (1, 3, H, W), uint8 or float in [0, 1], to (1, 3, sH, sW) float. Alpha goes through the network as a
    separate grey image, unless it is constant. Colour under alpha 0 is first filled from its neighbours. Float samples
    above 1 are scaled into [0, 1] on the way.
    Pixels that are not finite, such as gaps of elevation data, keep their value and their place, and spread no further.
    `finish`, if given, maps the frame and its result to the final one, for colour only. A result too large for memory
    is in an unnamed file in `folder`. Raises CannotWrite if there is no room.

    The network runs now. The conversion to samples, without torch, is what calling the result does, in any thread.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        result = _around_gaps(pixels, lambda whole: through(whole, upscale, finish=finish, folder=folder))
        return lambda: result
    channels = pixels.shape[2]
    has_alpha = channels in (2, 4)
    colour = pixels[..., : channels - has_alpha]
    alpha = pixels[..., -1:] if has_alpha else None
    if alpha is not None:
        colour = bleed(colour, alpha)
    peak = _peak(pixels)
    frames = _as_frames(colour, peak)
    big = upscale(frames)
    if finish is not None:
        big = finish(frames, big)
    flat = alpha is None or (alpha == alpha.flat[0]).all()
    big_alpha = None if alpha is None or flat else upscale(_as_frames(alpha, peak))

    def converted() -> np.ndarray:
        out = roomy_array((*big.shape[-2:], channels), pixels.dtype, folder)
        _write(out[..., : channels - has_alpha], big, peak)
        if big_alpha is not None:
            _write(out[..., -1:], big_alpha, peak)
        elif alpha is not None:
            out[..., -1] = alpha.flat[0]
        return out

    return converted


def nearest(pixels: np.ndarray, size: tuple[int, int], folder: Path | None = None) -> np.ndarray:
    """Enlarge or shrink (H, W, C) of any type to `size` (width, height) by `resample.nearest_index`: values stay exact.

    A result too large for memory is in an unnamed file in `folder`. Raises CannotWrite if there is no room.
    """
    (width, height), (h, w, channels) = size, pixels.shape
    out = roomy_array((height, width, channels), pixels.dtype, folder)
    columns = nearest_index(w, width, 0, width).numpy()
    for top in range(0, height, _ROWS):
        rows = nearest_index(h, height, top, min(top + _ROWS, height)).numpy()
        wide = pixels[rows[0] : rows[-1] + 1].take(columns, axis=1)
        wide.take(rows - rows[0], axis=0, out=out[top : top + _ROWS], mode="clip")  # others would copy `out` first
    return out


def _around_gaps(pixels: np.ndarray, enlarge: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Enlarge an image whose pixels that are not finite are filled on the way, as of no weight, and put back."""
    gaps = np.logical_not(np.isfinite(pixels)).max(axis=2)
    out = enlarge(bleed(np.where(gaps[..., None], 0, pixels), np.logical_not(gaps)))
    rows, across = (np.arange(new) * old // new for new, old in zip(out.shape, gaps.shape, strict=False))
    y, x = np.nonzero(gaps[np.ix_(rows, across)])
    out[y, x] = pixels[rows[y], across[x]]
    return out


def require_frames(frames: Tensor) -> None:
    """Raise BadInput unless frames are (3, H, W) or (N, 3, H, W) with pixels, uint8 or float in [0, 1]."""
    if frames.ndim not in (3, 4) or frames.shape[-3] != 3 or min(frames.shape[-2:]) < 1:
        raise BadInput(
            f"a tensor of shape {tuple(frames.shape)} is not (3, H, W) or (N, 3, H, W)",
            hint="move the channels first, as in x.permute(2, 0, 1); repeat grey, as in x.expand(3, -1, -1)",
        )
    if frames.dtype == torch.uint8:
        return
    if not frames.is_floating_point():
        raise BadInput(f"tensors of type {frames.dtype} are not supported", hint="use uint8, or float in [0, 1]")
    if frames.numel():
        low, high = frames.aminmax()
        _require_range(float(low), float(high))


def require_samples(samples: np.ndarray) -> None:
    """Raise BadInput unless samples are (H, W, C) with pixels and C of 1 to 4, uint8, uint16 or float in [0, 1]."""
    if samples.ndim != 3 or not 1 <= samples.shape[2] <= 4 or not samples.size:
        raise BadInput(
            f"an array of shape {samples.shape} is not (H, W, 3)",
            hint="move the channels last, as in x.transpose(1, 2, 0), and pass one image at a time",
        )
    known = samples.dtype in (np.uint8, np.uint16, np.float16, np.float32, np.float64)
    if not known or not samples.dtype.isnative:
        raise BadInput(
            f"arrays of type {samples.dtype.str} are not supported",
            hint="use uint8, uint16 or float in [0, 1], in this machine's byte order",
        )
    if samples.dtype.kind == "f":
        _require_range(float(samples.min()), float(samples.max()))


def _require_range(low: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high)):
        raise BadInput(
            "the image contains values that are not finite", hint="replace them first, as in numpy.nan_to_num(x)"
        )
    if low < 0 or high > 1:
        raise BadInput(
            f"float values must be in [0, 1], and these are from {low:.4g} to {high:.4g}",
            hint="divide by 255 (65535 for 16 bits), or pass uint8; limit small excesses, as in x.clip(0, 1)",
        )


def _peak(pixels: np.ndarray) -> float:
    if np.issubdtype(pixels.dtype, np.integer):
        return float(np.iinfo(pixels.dtype).max)
    return max(1.0, float(pixels.max()))


def _as_frames(pixels: np.ndarray, peak: float) -> Tensor:
    """(H, W, 1 or 3) -> (1, 3, H, W): uint8 unchanged, other types as float32 in [0, 1]."""
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(np.float32)
    x = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)[None]
    x = x if x.dtype == torch.uint8 else x.float() / peak
    return x.expand(1, 3, *x.shape[-2:])


def _write(out: np.ndarray, big: Tensor, peak: float) -> None:
    """Write (1, 3, H, W) to (H, W, 1 or 3): scaled; integers are clamped and rounded half to even."""
    planes = big[0].numpy()
    for top in range(0, len(out), _ROWS):
        band = planes[:, top : top + _ROWS]
        if out.shape[2] == 1:  # the mean of three equal float32 values is exact only in float64
            band = band.mean(0, keepdims=True, dtype=np.float64)
        band = band * peak
        if np.issubdtype(out.dtype, np.integer):
            np.rint(np.clip(band, 0, peak, out=band), out=band)
        for channel, plane in enumerate(band.astype(out.dtype)):
            out[top : top + _ROWS, :, channel] = plane


def bleed(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Fill the colour of fully transparent pixels from their nearest visible neighbours.

    colour (H, W, C), alpha (H, W) or (H, W, 1) of any scale  ->  (H, W, C) as `colour`. Visible pixels are
    unchanged, and so is an image without any. Without this an upscaler mixes the arbitrary colour that files store
    under alpha 0, often black, into edges: a dark fringe. Pull-push over a pyramid of half sizes, in linear time.
    """
    weight = alpha.reshape(*alpha.shape[:2], 1).astype(np.float32)
    if weight.all() or not weight.any():
        return colour
    filled = _fill(colour.astype(np.float32), weight)
    if np.issubdtype(colour.dtype, np.integer):
        filled = np.rint(filled)
    return np.where(weight > 0, colour, filled.astype(colour.dtype))


def _fill(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill the pixels of weight 0 of (H, W, C) from the same image at half the size, which is filled first."""
    if weight.all():
        return colour
    total = _sums_of_four(weight)
    mean = _sums_of_four(colour * weight) / np.maximum(total, np.finfo(np.float32).tiny)
    height, width = weight.shape[:2]
    coarse = _fill(mean, total).repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(weight > 0, colour, coarse)


def _sums_of_four(x: np.ndarray) -> np.ndarray:
    """(H, W, C)  ->  (ceil(H / 2), ceil(W / 2), C): sums over squares of 2 x 2, with zeros beyond the edge."""
    height, width, _ = x.shape
    x = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)))
    return x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]
