"""`dagan eval`: score upscaled images against the originals, by the protocol of the papers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from dagan_cli.errors import BadInput, NoInput
from dagan_cli.media.find import find_inputs
from dagan_cli.media.images import open_picture
from dagan_cli.media.named import require_local
from dagan_cli.media.sniff import named_kind
from dagan_cli.metrics.fidelity import bicubic, crop_to_multiple, psnr_y, ssim_y
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.upscaler import Upscaler


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one image, or the mean of all."""

    name: str
    psnr: float  # dB, Y
    ssim: float  # Y
    bicubic_psnr: float
    bicubic_ssim: float
    lpips: float | None = None  # on RGB, lower is better; None without LPIPS weights
    bicubic_lpips: float | None = None
    rgb_offset: float = 0.0  # error of the mean colour, in 8-bit steps, of the worst channel
    microseconds: float | None = None  # per input pixel; None if it was upscaled elsewhere

    def to_json(self) -> dict[str, str | float | None]:
        """Return the row; infinity, the PSNR of identical images, is None, since JSON has no infinity."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return {name: None if value == float("inf") else value for name, value in row.items()}


def evaluate(
    dataset: Path,
    upscaled: Upscaler | Path,
    scale: int,
    judge: Lpips | None = None,
    inputs: Path | None = None,
    leave_out: Callable[[BadInput], None] | None = None,
) -> Iterator[Score]:
    """Score every image under `dataset`; LR is made from each by MATLAB's bicubic.

    upscaled: the upscaler, or a folder of results of any program. inputs: a folder of LR images to use instead.
    Images in folders are matched by their path in the folder without the suffix, else by their name if that is in one
    place only. judge: LPIPS, on the whole RGB images, rounded to 8 bit.
    leave_out: told why an original cannot be measured; None: that is raised.
    Raises NoInput, also if no original can be measured, and BadInput.
    """
    sources, failed = _pictures(dataset)
    lows, results = (_named(folder) for folder in (inputs, upscaled if isinstance(upscaled, Path) else None))
    for source, hr in _originals(sources, failed, scale, leave_out):
        h, w = hr.shape[-2:]
        small = (h // scale, w // scale)
        lr = bicubic(hr, *small) if inputs is None else _of_size(lows, source, dataset, small)
        began = perf_counter()
        if isinstance(upscaled, Path):
            sr, seconds = _of_size(results, source, dataset, (h, w)), None
        else:
            sr = upscaled.upscale_to((lr / 255).float(), (w, h)).double().mul(255).round().clamp(0, 255)
            seconds = perf_counter() - began
        plain = bicubic(lr, h, w)
        yield Score(
            source.name,
            psnr_y(sr, hr, scale),
            ssim_y(sr, hr, scale),
            psnr_y(plain, hr, scale),
            ssim_y(plain, hr, scale),
            None if judge is None else _distance(judge, sr, hr),
            None if judge is None else _distance(judge, plain.round().clamp(0, 255), hr),
            (sr - hr).mean((0, 2, 3)).abs().max().item(),
            None if seconds is None else 1e6 * seconds / (small[0] * small[1]),
        )


def _originals(
    sources: list[Path], failed: list[BadInput], scale: int, leave_out: Callable[[BadInput], None] | None
) -> Iterator[tuple[Path, Tensor]]:
    """Yield the originals, (1, 3, H, W), cropped to a multiple of the scale. Raises NoInput if there are none."""
    for error in failed:
        if leave_out is None:
            raise error
        leave_out(error)
    count = 0
    for source in sources:
        try:
            hr = crop_to_multiple(_rgb(source), scale)
            if min(hr.shape[-2:]) < 11 + 2 * scale:
                raise BadInput(f"{source} is too small to measure", hint="leave it out of the folder")
        except BadInput as error:
            if leave_out is None:
                raise
            leave_out(error)
            continue
        count += 1
        yield source, hr
    if not count:
        raise NoInput("no original can be measured", hint="use a folder of high-resolution images with 8 bits")


def mean(scores: list[Score]) -> Score:
    """Return the mean of every number."""

    def average(field: str) -> float | None:
        values = [getattr(score, field) for score in scores]
        return None if None in values else sum(values) / len(values)

    return Score("mean", *(average(field.name) for field in fields(Score)[1:]))  # type: ignore[arg-type]


@torch.inference_mode()
def _distance(judge: Lpips, picture: Tensor, hr: Tensor) -> float:
    """LPIPS distance of two images (1, 3, H, W) in [0, 255]."""
    return judge(picture.float() / 255, hr.float() / 255).item()


def _pictures(folder: Path) -> tuple[list[Path], list[BadInput]]:
    """Return the images in the folder, and an error for each file that has only the name of one. Raises NoInput."""
    require_local(folder)
    if not folder.exists():
        raise NoInput(f"there is no folder {folder}", hint="check the path")
    found = find_inputs([folder], recursive=True)
    sources = [source.path for source in found.sources if source.kind == "picture"]
    failed = [error for path, error in found.failed if named_kind(path) != "video"]
    if not sources and not failed:
        raise NoInput(f"no image in {folder}", hint="use a folder of high-resolution images")
    return sources, failed


def _named(folder: Path | None) -> dict[str, Path]:
    """Return the images by their paths in the folder, and by their names where these are in one place only."""
    if folder is None:
        return {}
    paths, _ = _pictures(folder)
    counts = Counter(path.stem for path in paths)
    alone = {path.stem: path for path in paths if counts[path.stem] == 1}
    return alone | {_within(path, folder): path for path in paths}


def _within(path: Path, folder: Path) -> str:
    inner = path.relative_to(folder) if path != folder else Path(path.name)
    return inner.with_suffix("").as_posix()


def _of_size(found: dict[str, Path], source: Path, dataset: Path, size: tuple[int, int]) -> Tensor:
    """Read the image of that name, (1, 3, *size). Raises NoInput, BadInput."""
    path = found.get(_within(source, dataset)) or found.get(source.stem)
    if path is None:
        raise NoInput(f"no image is named {source.stem}, like {source}", hint="name each like its original")
    pixels = _rgb(path)
    if pixels.shape[-2:] != size:
        have, want = (f"{w}x{h}" for h, w in (pixels.shape[-2:], size))
        raise BadInput(f"{path} is {have}, not {want}", hint="the original is cropped to a multiple of the scale first")
    return pixels


def _rgb(path: Path) -> Tensor:
    """(1, 3, H, W) float64 whole values in [0, 255]; grey is repeated, alpha dropped."""
    with open_picture(path) as picture:
        pixels = next(iter(picture.frames))
    if pixels.dtype != np.uint8:
        raise BadInput(f"{path} is not an 8-bit image", hint="the protocol is for 8 bit; convert it first")
    colour = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return torch.from_numpy(np.require(colour, requirements=["C", "W"])).permute(2, 0, 1)[None].double()
