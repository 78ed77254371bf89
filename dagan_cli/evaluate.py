"""`dagan eval`: how close an upscaled picture comes to the original, by the protocol of the papers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dagan_cli.errors import BadInput, NoInput
from dagan_cli.lpips import Lpips
from dagan_cli.media.find import find_inputs
from dagan_cli.media.images import open_picture
from dagan_cli.protocol import bicubic, crop_to_multiple, psnr_y, ssim_y
from dagan_cli.upscaler import Upscaler


@dataclass(frozen=True, slots=True)
class Score:
    """One picture, or the mean of all."""

    name: str
    psnr: float  # dB, Y
    ssim: float  # Y
    bicubic_psnr: float
    bicubic_ssim: float
    lpips: float | None = None  # of RGB, lower is better; where there is a network to judge
    bicubic_lpips: float | None = None

    def to_json(self) -> dict[str, str | float | None]:
        """The row; JSON has no infinity, which the PSNR of equal pictures is."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return {name: None if value == float("inf") else value for name, value in row.items()}


def evaluate(dataset: Path, upscaler: Upscaler, scale: int, judge: Lpips | None = None) -> Iterator[Score]:
    """Score every picture under `dataset`; LR is made from each by MATLAB's bicubic. Raises NoInput, BadInput.

    The judge sees the whole RGB pictures, rounded to 8 bit.
    """
    sources = [source for source in find_inputs([dataset], recursive=True).sources if source.kind == "picture"]
    if not sources:
        raise NoInput(f"no picture in {dataset}", hint="name a folder of high-resolution pictures")
    for source in sources:
        hr = crop_to_multiple(_rgb(source.path), scale)
        h, w = hr.shape[-2:]
        if min(h, w) < 11 + 2 * scale:
            raise BadInput(f"{source.path} is too small to be measured", hint="leave it out of the folder")
        lr = bicubic(hr, h // scale, w // scale)
        sr = upscaler.upscale_to((lr / 255).float(), (w, h)).double().mul(255).round().clamp(0, 255)
        plain = bicubic(lr, h, w)
        yield Score(
            source.path.name,
            psnr_y(sr, hr, scale),
            ssim_y(sr, hr, scale),
            psnr_y(plain, hr, scale),
            ssim_y(plain, hr, scale),
            None if judge is None else _distance(judge, sr, hr),
            None if judge is None else _distance(judge, plain.round().clamp(0, 255), hr),
        )


def mean(scores: list[Score]) -> Score:
    """The mean of every number."""

    def average(field: str) -> float | None:
        values = [getattr(score, field) for score in scores]
        return None if None in values else sum(values) / len(values)

    return Score("mean", *(average(field.name) for field in fields(Score)[1:]))  # type: ignore[arg-type]


@torch.inference_mode()
def _distance(judge: Lpips, picture: Tensor, hr: Tensor) -> float:
    """Of two (1, 3, H, W) in [0, 255]."""
    return judge(picture.float() / 255, hr.float() / 255).item()


def _rgb(path: Path) -> Tensor:
    """(1, 3, H, W) float64 whole values in [0, 255]; grey is repeated, alpha left out."""
    with open_picture(path) as picture:
        pixels = next(iter(picture.frames))
    if pixels.dtype != np.uint8:
        raise BadInput(f"{path} is not an 8-bit picture", hint="the protocol is for 8 bit; convert it first")
    colour = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return torch.from_numpy(np.require(colour, requirements=["C", "W"])).permute(2, 0, 1)[None].double()
