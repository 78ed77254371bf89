"""The whole way from a high-resolution picture to the low-resolution one that a training step sees.

blur -> resize -> noise -> [half of the time: the same once more, milder] -> resize to the LR size -> one codec.
The order and the families are those of BSRGAN (Zhang et al., 2021) and Real-ESRGAN (Wang et al., 2021); that the last
step is a video codec over a moving clip, of which one inter frame is used, is new here.
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

MARGIN = 8  # LR pixels around a patch that are to be cut off: kernels, moves and blocks reach in from the edges
STREAM = 7  # sets this sequence of random numbers apart from others of the same seed and step


def degrade(
    hr: Tensor, scale: int, strength: Strength, seed: int, step: int, *, first: int = 0
) -> tuple[Tensor, list[dict[str, Any]]]:
    """(N, 3, H, W) in [0, 1], sides multiples of `scale` -> LR (N, 3, H/scale, W/scale) in whole levels of 255, and
    how each sample was spoilt.

    A function of its arguments alone: sample i is drawn from (seed, step, first + i), so that a batch may be made in
    parts. "none" is MATLAB's bicubic. Runs on the device of `hr`; codecs on the CPU, side by side. With another
    FFmpeg, libjpeg or NumPy the pictures may differ.
    """
    height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
    if strength == "none":
        lr = bicubic(hr.mul(255).round(), height, width).div(255)
        return lr, [{"strength": "none"} for _ in hr]
    encoders = present_encoders()
    logs, jobs = [], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for index, picture in enumerate(hr.float(), first):
            random = np.random.default_rng([seed, step, index, STREAM])
            recipe = draw_recipe(random, RANGES[strength], scale, encoders)
            frames = shrunk(picture[None], recipe, height, width, random)
            jobs.append(pool.submit(_coded, frames.cpu(), recipe.codec))
            logs.append({"strength": strength, **recipe.log()})
        for log, job in zip(logs, jobs, strict=True):
            log["picture_type"] = job.result()[1]
    lr = torch.stack([job.result()[0] for job in jobs])
    return lr.to(hr.device), logs


def shrunk(picture: Tensor, recipe: Recipe, height: int, width: int, random: np.random.Generator) -> Tensor:
    """(1, 3, H, W) -> (frames, 3, height, width) in [0, 1]: all of a recipe but its codec; one frame for a still."""
    x = picture
    for number, step in enumerate(recipe.passes):
        if step.blur is not None:
            x = blurred(x, step.blur)
        if number == 0 and isinstance(recipe.codec, Clip):  # after the dearest step, which is the same for all frames
            x = moved(x, recipe.codec.moves)
        x = resized(x, round(height * step.ratio), round(width * step.ratio), step.kernel)
        if step.noise is not None:
            x = noisy(x, step.noise, random)
    return resized(x, height, width, recipe.final).clamp(0, 1)


def _coded(frames: Tensor, codec: Still | Clip | None) -> tuple[Tensor, str | None]:
    """(frames, 3, h, w) -> (3, h, w) in whole levels of 255, and the type of the frame that a clip gave."""
    picture, kind = frames[0], None
    if isinstance(codec, Still):
        picture = through_still(picture, codec)
    elif isinstance(codec, Clip):
        picture, kind = through_video(frames, codec)
    return picture.mul(255).round().div(255), kind
