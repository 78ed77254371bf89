"""Convert a group of video frames: planes -> RGB on the device -> the network -> planes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dagan_cli.engine import colour
from dagan_cli.engine.resample import resample
from dagan_cli.media.video.source import Frame
from dagan_cli.planes import PixelLayout


def to_rgb(frames: Sequence[Frame], device: torch.device, *, alpha: bool) -> list[Tensor]:
    """Frames of one layout -> (N, 3, H, W) RGB in [0, 1] on the device; then, if wanted, alpha as grey.

    Frames go to the device as planes, which are smaller than RGB. Values outside [0, 1] are kept: they occur in video.
    """
    stacks = zip(*(frame.planes for frame in frames), strict=True)
    planes = [torch.from_numpy(np.stack(stack)).to(device) for stack in stacks]
    layout = frames[0].layout
    grey = [colour.to_alpha(planes, layout).expand(-1, 3, -1, -1)] if alpha else []
    return [colour.to_rgb(planes, layout), *grey]


def through(enlarge: Callable[[Tensor], Tensor], rgb: Tensor, size: tuple[int, int], *, limited: bool) -> Tensor:
    """Upscale (N, 3, H, W) RGB to `size` (width, height) by `enlarge`.

    A network is `limited` to [0, 1]: values beyond are upscaled separately by bicubic, so that they are not lost.
    """
    within = rgb.clamp(0, 1) if limited else rgb
    big, beyond = enlarge(within), rgb - within
    return big + resample(beyond, size) if beyond.any() else big


def to_planes(big: Tensor, alpha: Tensor | None, layout: PixelLayout) -> list[list[np.ndarray]]:
    """(N, 3, H, W) RGB, and alpha as grey of the same shape or None -> the planes of each frame, in host memory."""
    planes = list(colour.from_rgb(big, layout))
    if alpha is not None:
        planes.append(colour.from_alpha(alpha.mean(1, keepdim=True), layout))
    host = [plane.cpu().numpy() for plane in planes]
    return [[plane[i] for plane in host] for i in range(len(big))]
