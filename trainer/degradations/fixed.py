"""Two fixed degradations of low-resolution images, for comparing models."""

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

# "video": the camera pans by (1, 2) pixels per frame over 7 frames, with a little noise in each. The fourth frame is
# used: a P frame that refers to the first one and is between B frames.
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


def degrade_fixed(image: Tensor, kind: Fixed) -> Tensor:
    """Degrade an LR image (1, 3, h, w) in [0, 1], at least 11 x 11 pixels; the result is quantised to 8 bits.

    Deterministic. Raises DaganError for "video" if FFmpeg lacks x264: another encoder would give other scores.
    """
    random = np.random.default_rng(0)
    if kind == "web":
        soft = noisy(blurred(image.float().cpu(), WEB_BLUR), WEB_NOISE, random).clamp(0, 1)
        return through_still(soft[0], WEB_JPEG)[None].to(image.device)
    if VIDEO_CLIP.encoder not in present_encoders():
        raise DaganError(
            "the fixed video degradation needs the encoder libx264, which this FFmpeg lacks",
            hint="install the av wheel of PyPI: pip install --force-reinstall av",
        )
    frames = noisy(moved(image.float().cpu(), VIDEO_CLIP.moves), VIDEO_NOISE, random).clamp(0, 1)
    shown, _ = through_video(frames, VIDEO_CLIP)
    return shown[None].mul(255).round().div(255).to(image.device)
