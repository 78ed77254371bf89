"""Add back the grain that a network took: noise of the level that the source has and its result lacks.

Nothing is kept from frame to frame. The noise of a frame is a part of one fixed template, chosen by the content of the
source frame: equal frames get equal grain, however a video is cut, resumed or repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from dagan_cli.engine.colour import LUMA
from dagan_cli.engine.resample import resample

_BLOCK = 16  # pixels; side of the blocks whose noise is measured
_GROUP = 64  # blocks of similar brightness, at least, that have one level in common
_GROUPS = 8  # of blocks, at most: the grain of film depends on the brightness
_CALM = 0.25  # share of the blocks of a group that are assumed to show grain and no detail
_ROUNDING = 1 / 12 / 255**2  # variance of an 8-bit source that is not grain
_CLIPPED = 1.5 / 255  # darker, or as close to white: noise of such a block is cut off
_SIDE = 1024  # pixels of the template
_SIZE = 0.4  # blur of the grain, in pixels of the source: as fine as the source looks; from 0.5 on it is blotches
_ROWS = 256  # computed at a time: a result may be a mapped file, larger than the memory


def seed_of(planes: Sequence[np.ndarray]) -> int:
    """Return the number by which the grain of a frame is chosen: a checksum of its samples."""
    seed = 0
    for plane in planes:
        seed = crc32(np.ascontiguousarray(plane).data, seed)
    return seed


@torch.inference_mode()
def restore_grain(frames: Tensor, big: Tensor, amount: float, seeds: Sequence[int]) -> Tensor:
    """Add grain to the result `big` (N, 3, H, W) of `frames` (N, 3, h, w), in place; return `big`.

    Both are RGB, nominally in [0, 1]; frames may be uint8. `amount` is the share of the lost grain that is added, from
    0 up; there is one seed for each frame. Grain changes the luma only, and fades out towards black and white.
    """
    for frame, result, seed in zip(frames, big, seeds, strict=True):  # alone, so that the batch changes no bit
        if (levels := lost_grain(frame, result)).any():
            _add(result, amount * levels, _grain_size(frame, result), seed)
    return big


def lost_grain(frame: Tensor, result: Tensor) -> Tensor:
    """(3, h, w), (3, H, W)  ->  (rows, columns): standard deviation of the lost grain over the blocks of a frame.

    It is that of the difference of both at the smaller size, but at most what the calm blocks of the same brightness
    have, so that lost detail does not count.
    """
    (h, w), (height, width) = frame.shape[-2:], result.shape[-2:]
    size = min(w, width), min(h, height)
    before, after = (_luma(resample(_floats(x)[None], size)[0])[None, None] for x in (frame, result))
    blocks = max(1, size[1] // _BLOCK), max(1, size[0] // _BLOCK)
    lost = before - after
    mean, square, brightness = (adaptive_avg_pool2d(x, blocks) for x in (lost, lost * lost, before))
    count = lost.numel() / mean.numel()
    variance = (square - mean * mean) * (count / max(1.0, count - 1)) - _ROUNDING
    own = _smoothed(variance.clamp_(min=0).sqrt_())
    most = _calm(own.numpy(force=True).ravel(), brightness.numpy(force=True).ravel())
    return torch.minimum(own[0, 0], torch.from_numpy(most).to(own).view(blocks))


def _calm(levels: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Return for each block the level of the calm ones among those of similar brightness."""
    tells = (brightness > _CLIPPED) & (brightness < 1 - _CLIPPED)
    if not tells.any():
        return np.zeros_like(levels)
    order = np.argsort(brightness[tells], kind="stable")
    levels, lights = levels[tells][order], brightness[tells][order]
    groups = max(1, min(_GROUPS, len(levels) // _GROUP))
    calm = [np.quantile(group, _CALM) for group in np.array_split(levels, groups)]
    middle = [group.mean() for group in np.array_split(lights, groups)]
    return np.interp(brightness, middle, calm).astype(np.float32)


def _smoothed(levels: Tensor) -> Tensor:
    """Return the means over three by three blocks: a single one has too few pixels."""
    return torch.nn.functional.avg_pool2d(levels, 3, 1, 1, count_include_pad=False)


def _grain_size(frame: Tensor, result: Tensor) -> float:
    """Return the standard deviation of the blur of the grain, in pixels of the result."""
    (h, w), (height, width) = frame.shape[-2:], result.shape[-2:]
    return round(_SIZE * max(1.0, (height * width / (h * w)) ** 0.5), 2)


def _add(result: Tensor, levels: Tensor, size: float, seed: int) -> None:
    """Add noise of these levels (rows, columns) to an image (3, H, W)."""
    _, height, width = result.shape
    noise = _template(size, result.device)
    noise = noise.flip([axis for axis in (0, 1) if seed >> axis & 1])
    down, across = seed >> 2 & _SIDE - 1, seed >> 12 & _SIDE - 1
    columns = (torch.arange(width, device=result.device) + across) % _SIDE
    wide = interpolate(levels[None, None], (len(levels), width), mode="bilinear")[0, 0]
    for top in range(0, height, _ROWS):
        band = result[:, top : top + _ROWS]
        rows = torch.arange(top, top + band.shape[1], device=result.device)
        place = ((rows + 0.5) * (len(levels) / height) - 0.5).clamp_(0, len(levels) - 1)  # in rows of blocks
        above = place.long()
        level = torch.lerp(wide[above], wide[(above + 1).clamp_(max=len(levels) - 1)], (place - above)[:, None])
        grain = noise.index_select(0, (rows + down) % _SIDE).index_select(1, columns).mul_(level)
        y = _luma(band)
        room = torch.minimum(y, 1 - y).div_(2 * level + 1e-6).clamp_(0, 1)  # of two standard deviations
        band += grain.mul_(room)


def _luma(rgb: Tensor) -> Tensor:
    """(3, h, w) RGB  ->  (h, w) float32, nominally in [0, 1]."""
    kr, kb = LUMA["bt709"]
    r, g, b = rgb.float()
    return torch.mul(r, kr).add_(g, alpha=1 - kr - kb).add_(b, alpha=kb)


def _floats(rgb: Tensor) -> Tensor:
    return rgb if rgb.is_floating_point() else rgb.float() / 255


@lru_cache(maxsize=4)
def _template(size: float, device: torch.device) -> Tensor:
    """Return noise (_SIDE, _SIDE) of mean 0 and standard deviation 1, blurred by `size` pixels, without seams."""
    white = np.random.RandomState(0).standard_normal((_SIDE, _SIDE))  # its numbers are the same in every NumPy
    across = np.exp(-2 * (np.pi * size * np.fft.fftfreq(_SIDE)) ** 2)
    noise = np.fft.ifft2(np.fft.fft2(white) * np.outer(across, across)).real
    noise -= noise.mean()
    return torch.from_numpy((noise / noise.std()).astype(np.float32)).to(device)
