"""Send parts of an image or of frames through a model, as the whole job would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import lcm
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from dagan_cli.engine.reuse import History
from dagan_cli.engine.samples import nearest
from dagan_cli.media.video.source import Frame
from dagan_cli.preview.cuts import Cut, cut_for, margin_for
from dagan_cli.preview.film import part_of
from dagan_cli.preview.places import CELL, Box
from dagan_cli.upscale.frames import through, to_rgb
from dagan_cli.upscale.work import Work
from dagan_cli.upscaler import Upscaler


@dataclass(slots=True)
class Pace:
    """Seconds per pixel of a model; the first run is slower, as it compiles."""

    runs: list[float] = field(default_factory=list)

    @property
    def pixel(self) -> float | None:
        """Return the usual pace; None if there were too few runs."""
        return median(self.runs[1:]) if len(self.runs) > 1 else None


def cut_of(upscaler: Upscaler, box: Box, size: tuple[int, int], result: tuple[int, int], usual: int) -> Cut:
    """Return the part of an input of `size` that a model must see for a place, with a `usual` margin."""
    network = upscaler.engine.network(torch.float32)
    grid = lcm(CELL, getattr(network, "grid", 1), getattr(network, "multiple", 1))
    return cut_for(box, size, result, margin_for(network.receptive_field, usual), grid)


def sees_beyond(upscaler: Upscaler, boxes: Sequence[Box], size: tuple[int, int], usual: int) -> bool:
    """True if a model would see more of an input of `size` than it gets for one of the places."""
    field = upscaler.engine.network(torch.float32).receptive_field
    if field is not None and field <= margin_for(field, usual):
        return False
    reads = (cut_of(upscaler, box, size, size, usual).read for box in boxes)
    return any((read.width, read.height) != size for read in reads)


def image_part(upscaler: Upscaler, samples: np.ndarray, cut: Cut, work: Work, pace: Pace) -> np.ndarray:
    """Upscale a part of an image (H, W, C) -> samples (h, w, C) of the place."""
    read, runtime = cut.read, upscaler.engine.runtime_for(*samples.shape[:2])
    part = samples[read.top : read.top + read.height, read.left : read.left + read.width]
    enlarge = partial(_enlarged, upscaler, work, cut.scaled, runtime, pace)
    return _kept(upscaler.enlarged(np.ascontiguousarray(part), cut.scaled, enlarge, None)(), cut)


def frame_part(upscaler: Upscaler, frame: Frame, cut: Cut, work: Work, pace: Pace) -> np.ndarray:
    """Upscale a part of a frame -> RGB (h, w, 3) float in [0, 1] of the place."""
    runtime = upscaler.engine.runtime_for(*frame.planes[0].shape, many=True)
    (rgb,) = to_rgb([part_of(frame, cut.read)], upscaler.choice.device, alpha=False)
    enlarge = partial(_enlarged, upscaler, work, cut.scaled, runtime, pace)
    big = through(enlarge, rgb, cut.scaled, limited=not upscaler.is_baseline)
    return _kept(big[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy(), cut)


def as_it_is(samples: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a place of the input (h, w, C) by repeating pixels -> (height, width, 3) uint8."""
    return nearest(as_shown(samples), size)


def frame_as_it_is(frame: Frame, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a place of a frame by repeating pixels -> (height, width, 3) uint8."""
    left, top = max(0, box.left - CELL), max(0, box.top - CELL)  # chroma depends on what is around
    wide = Box(left, top, box.left + box.width + CELL - left, box.top + box.height + CELL - top)
    (rgb,) = to_rgb([part_of(frame, wide)], torch.device("cpu"), alpha=False)
    y, x = box.top - top, box.left - left
    own = rgb[0, :, y : y + box.height, x : x + box.width].clamp(0, 1)
    return as_it_is(own.permute(1, 2, 0).numpy(), size)


def as_shown(samples: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8, uint16 or float, C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA -> (H, W, 3) uint8, on grey."""
    if samples.dtype == np.uint16:
        samples = np.rint(samples / 257).astype(np.uint8)
    elif samples.dtype != np.uint8:
        samples = np.rint(np.clip(np.nan_to_num(samples.astype(np.float32)), 0, 1) * 255).astype(np.uint8)
    if samples.shape[2] in (2, 4):
        alpha = samples[..., -1:].astype(np.float32) / 255
        samples = np.rint(samples[..., :-1] * alpha + 128 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))


def luma_of_image(samples: np.ndarray) -> np.ndarray:
    """(H, W, C) of any type -> (H, W) uint8."""
    rows: Sequence[np.ndarray] = [_luma(samples[top : top + 512]) for top in range(0, len(samples), 512)]
    return np.concatenate(rows)


def _luma(samples: np.ndarray) -> np.ndarray:
    shown = as_shown(samples).astype(np.uint32)
    return ((77 * shown[..., 0] + 150 * shown[..., 1] + 29 * shown[..., 2]) >> 8).astype(np.uint8)


def _enlarged(
    upscaler: Upscaler, work: Work, size: tuple[int, int], runtime: str, pace: Pace, frames: Tensor
) -> Tensor:
    """Upscale a part by the runtime that upscales the whole; a part alone may be too small for it."""
    started = perf_counter()
    big = work.watch(upscaler, frames, size, history=None if runtime == "torch" else History())
    height, width = frames.shape[-2:]
    plan = upscaler.engine.plan(height, width)
    pace.runs.append((perf_counter() - started) / (plan.area * plan.count))
    return big


def _kept(big: np.ndarray, cut: Cut) -> np.ndarray:
    keep = cut.keep
    return big[keep.top : keep.top + keep.height, keep.left : keep.left + keep.width]
