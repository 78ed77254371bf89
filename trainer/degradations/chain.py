"""The degradation pipeline from a high-resolution image to the low-resolution one of a training pair.

blur -> resize -> noise -> [in half of the samples: a second, milder pass] -> resize to the LR size -> one codec.
The order and the families are those of BSRGAN (Zhang et al., 2021) and Real-ESRGAN (Wang et al., 2021). New here: the
codec may be a video codec applied to a moving clip, of which one inter frame is used.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic
from trainer.degradations.blur import blurred
from trainer.degradations.noise import noisy
from trainer.degradations.recipe import Recipe, draw_recipe
from trainer.degradations.resize import resized
from trainer.degradations.still import Still, through_still
from trainer.degradations.strengths import RANGES, Strength
from trainer.degradations.video import Clip, moved, present_encoders, through_video

MARGIN = 8  # LR pixels to crop around a patch, where kernels, moves and blocks depend on the edges
STREAM = 7  # distinguishes these random numbers from others of the same seed and step


def degrade(
    hr: Tensor, scale: int, strength: Strength, seed: int, step: int, *, first: int = 0
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Degrade (N, 3, H, W) in [0, 1] to (N, 3, H/scale, W/scale), quantised to 8 bits; also returns a log per sample.

    H and W are multiples of `scale`. The result depends only on the arguments: sample i is drawn from (seed, step,
    first + i), so that a batch can be made in parts. "none" is MATLAB's bicubic. Runs on the device of `hr`, the codecs
    on the CPU in parallel. Results may differ between versions of FFmpeg, libjpeg and NumPy.
    """
    height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
    if strength == "none":
        lr = bicubic(hr.mul(255).round(), height, width).div(255)
        return lr, [{"strength": "none"} for _ in hr]
    encoders = present_encoders()
    logs, jobs = [], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for index, image in enumerate(hr.float(), first):
            random = np.random.default_rng([seed, step, index, STREAM])
            recipe = draw_recipe(random, RANGES[strength], scale, encoders)
            frames = shrunk(image[None], recipe, height, width, random)
            jobs.append(pool.submit(_coded, frames.cpu(), recipe.codec))
            logs.append({"strength": strength, **recipe.log()})
        for log, job in zip(logs, jobs, strict=True):
            log["picture_type"] = job.result()[1]
    lr = torch.stack([job.result()[0] for job in jobs])
    return lr.to(hr.device), logs


def shrunk(image: Tensor, recipe: Recipe, height: int, width: int, random: np.random.Generator) -> Tensor:
    """Apply a recipe except its codec: (1, 3, H, W) -> (frames, 3, height, width) in [0, 1]; a still has one frame."""
    x = image
    for number, step in enumerate(recipe.passes):
        if step.blur is not None:
            x = blurred(x, step.blur)
        if number == 0 and isinstance(recipe.codec, Clip):  # after the costliest step, which all frames share
            x = moved(x, recipe.codec.moves)
        x = resized(x, round(height * step.ratio), round(width * step.ratio), step.kernel)
        if step.noise is not None:
            x = noisy(x, step.noise, random)
    return resized(x, height, width, recipe.final).clamp(0, 1)


def _coded(frames: Tensor, codec: Still | Clip | None) -> tuple[Tensor, str | None]:
    """Apply the codec: (frames, 3, h, w) -> (3, h, w), quantised to 8 bits, and the type of a clip's frame."""
    image, kind = frames[0], None
    if isinstance(codec, Still):
        image = through_still(image, codec)
    elif isinstance(codec, Clip):
        image, kind = through_video(frames, codec)
    return image.mul(255).round().div(255), kind
