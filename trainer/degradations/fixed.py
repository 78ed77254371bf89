"""Two ways to spoil a low-resolution picture that never change, to compare models by."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from torch import Tensor

from dagan_cli.errors import DaganError
from trainer.degradations.blur import Blur, blurred
from trainer.degradations.noise import Noise, noisy
from trainer.degradations.still import Still, through_still
from trainer.degradations.video import Clip, moved, present_encoders, through_video

Fixed = Literal["web", "video"]
FIXED: tuple[Fixed, ...] = get_args(Fixed)

# "web": slightly out of focus, some noise, saved as a JPEG.
WEB_BLUR = Blur(kind="gaussian", sigma=(0.6, 0.6))
WEB_NOISE = Noise(kind="gaussian", deviation=3.0)
WEB_JPEG = Still(codec="jpeg", quality=60)

# "video": the camera pans by (1, 2) pixels a frame over 7 frames, a little noise in each; the fourth, a P frame that
# refers to the first and lies between B frames, is taken.
VIDEO_NOISE = Noise(kind="gaussian", deviation=2.0)
VIDEO_CLIP = Clip(
    encoder="libx264",
    quality=28,
    preset="medium",
    b_frames=2,
    moves=tuple((k, 2 * k) for k in range(-3, 4)),
    matrix="bt709",
    shown_as="bt709",
)


def degrade_fixed(picture: Tensor, kind: Fixed) -> Tensor:
    """(1, 3, h, w) in [0, 1], an LR picture of any size from 11 x 11 -> the same shape, whole levels of 255.

    The same every time. Raises DaganError for "video" where FFmpeg lacks x264: another encoder would give other
    numbers.
    """
    random = np.random.default_rng(0)
    if kind == "web":
        soft = noisy(blurred(picture.float().cpu(), WEB_BLUR), WEB_NOISE, random).clamp(0, 1)
        return through_still(soft[0], WEB_JPEG)[None].to(picture.device)
    if VIDEO_CLIP.encoder not in present_encoders():
        raise DaganError(
            "the fixed video degradation needs the encoder libx264, which this FFmpeg lacks",
            hint="install the av wheel of PyPI: pip install --force-reinstall av",
        )
    frames = noisy(moved(picture.float().cpu(), VIDEO_CLIP.moves), VIDEO_NOISE, random).clamp(0, 1)
    shown, _ = through_video(frames, VIDEO_CLIP)
    return shown[None].mul(255).round().div(255).to(picture.device)
