"""Compare images: samples of any type on one scale, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dagan_cli.comparison.result import Numbers
from dagan_cli.errors import BadInput
from dagan_cli.media.images import open_picture
from dagan_cli.metrics.fidelity import psnr_rgb, psnr_y, ssim_y
from dagan_cli.metrics.lpips import Lpips

_SCALES = 8  # the largest scale whose cropped reference is recognised
_SSIM_SIDE, _LPIPS_SIDE = 11, 31  # pixels that the measures need at least


@dataclass(frozen=True, slots=True)
class Still:
    """An image to compare."""

    path: Path
    colour: np.ndarray  # (H, W, 3) as stored: uint8, uint16, float32; grey is repeated
    alpha: np.ndarray | None  # (H, W), as stored
    profile: bytes | None  # its ICC profile
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.colour.shape[1], self.colour.shape[0]


def read_still(path: Path) -> Still:
    """Read an image; of an animation or of several pages, the first. Raises BadInput."""
    with open_picture(path) as picture:
        pixels = next(iter(picture.frames), None)
        info = picture.info
    if pixels is None:
        raise BadInput(f"{path} holds no image", hint="leave it out")
    notes = []
    if info.frames > 1:
        notes.append(f"the first of {info.frames} frames or pages is compared")
    if pixels.dtype == np.uint16:
        notes.append("16-bit samples are compared as fractions on the scale of 255, not rounded to 8 bit")
    elif pixels.dtype.kind == "f":
        notes.append("float samples are compared on the scale of 255, 1.0 being 255, not rounded")
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    colour = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return Still(path, colour, alpha, info.icc, tuple(notes))


def common_size(reference: tuple[int, int], result: tuple[int, int], names: tuple[Path, Path]) -> tuple[int, int]:
    """Return the (width, height) that both have: their size, or the reference's cropped to a multiple of a scale.

    Raises BadInput, with both sizes, for any others.
    """
    width, height = reference
    multiples = [(width - width % scale, height - height % scale) for scale in range(1, _SCALES + 1)]
    if result in multiples and min(result) > 0:
        return result
    have, want = (f"{w}x{h}" for w, h in (result, reference))
    hint = "upscale to the size of the reference, or compare with a reference of that size"
    raise BadInput(f"{names[1]} is {have}, and its reference {names[0]} is {want}", hint=hint)


def compare_stills(
    reference: Still, result: Still, border: int, judge: Lpips | None
) -> tuple[Numbers, tuple[int, int], tuple[str, ...]]:
    """Return the scores, the (width, height) that was compared, and notes. Raises BadInput.

    border: pixels that PSNR and SSIM leave out on each side. judge: LPIPS, on the whole images.
    """
    width, height = common_size(reference.size, result.size, (reference.path, result.path))
    notes = [*(f"reference: {note}" for note in reference.notes), *result.notes]
    if (width, height) != reference.size:
        notes.append(f"the top left {width}x{height} are compared, as the result lacks the rest of the reference")
    if min(width, height) <= 2 * border:
        what = f"{result.path} is {width}x{height}, and a border of {border} leaves nothing of it"
        raise BadInput(what, hint="use a smaller --border")
    colours = [_comparable(still.colour[:height, :width]) for still in (reference, result)]
    _even_out(colours, [still.alpha for still in (reference, result)], notes)
    if reference.profile != result.profile:
        notes.append("the colour profiles differ, and samples are compared as stored")
    hr, sr = (torch.from_numpy(np.require(each, requirements="W")).permute(2, 0, 1)[None] for each in colours)
    scores: dict[str, float | None] = {"psnr_y": psnr_y(sr, hr, border)}
    if min(width, height) - 2 * border >= _SSIM_SIDE:
        scores["ssim_y"] = ssim_y(sr, hr, border)
    else:
        notes.append(f"SSIM is left out: it needs {_SSIM_SIDE} pixels on each side")
    scores["psnr_rgb"] = psnr_rgb(sr, hr, border)
    if judge is not None and min(width, height) >= _LPIPS_SIDE:
        scores["lpips"] = _distance(judge, sr, hr)
    elif judge is not None:
        notes.append(f"LPIPS is left out: it needs {_LPIPS_SIDE} pixels on each side")
    return scores, (width, height), tuple(dict.fromkeys(notes))


def _comparable(samples: np.ndarray) -> np.ndarray:
    """Return 8-bit samples as they are, which the measures convert by bands of rows, and others on the scale of 255."""
    return samples if samples.dtype == np.uint8 else on_255(samples)


def on_255(samples: np.ndarray) -> np.ndarray:
    """Return samples of any type as new float64 on the scale of 255: 16-bit ones over 257, float ones times 255."""
    values = samples.astype(np.float64)
    if samples.dtype == np.uint16:
        values /= 257
    elif samples.dtype.kind == "f":
        values *= 255
    return values


def _even_out(colours: list[np.ndarray], alphas: list[np.ndarray | None], notes: list[str]) -> None:
    """Make equal what is not to be compared: colour under no opacity, and where the reference is not finite.

    Values of the result that are not finite become what they are shown as. Raises BadInput if nothing is left.
    """
    height, width = colours[0].shape[:2]
    seen = [None if alpha is None else on_255(alpha[:height, :width]) for alpha in alphas]
    if any(alpha is not None for alpha in seen):
        full = np.full((height, width), 255.0)
        a, b = (full if alpha is None else alpha for alpha in seen)
        hidden = (a <= 0) if seen[0] is not None else np.zeros((height, width), bool)
        colours[1] = np.where(hidden[..., None], colours[0], colours[1])
        note = "colours are compared, and not where the reference is fully transparent"
        difference = float(np.nan_to_num(np.abs(a - b)).mean())
        notes.append(f"{note}; alpha differs by {difference:.2f} of 255 on average" if difference else note)
    if all(colour.dtype == np.uint8 for colour in colours):
        return
    unknown = np.asarray(~np.isfinite(colours[0]).all(axis=2))
    if unknown.all():
        raise BadInput("the reference has no pixel that is a number", hint="compare with another reference")
    if count := int(unknown.sum()):
        colours[:] = [np.where(unknown[..., None], 0, colour) for colour in colours]
        notes.append(f"pixels that are not finite in the reference count as equal, {count:,} in all")
    if count := int((~np.isfinite(colours[1])).any(axis=2).sum()):
        colours[1] = np.nan_to_num(colours[1], nan=0, posinf=255, neginf=0)
        notes.append(f"pixels that are not finite count as black or white, {count:,} in all")


@torch.inference_mode()
def _distance(judge: Lpips, picture: Tensor, hr: Tensor) -> float:
    """LPIPS distance of two images (1, 3, H, W) on the scale of 255."""
    return judge((picture / 255).clamp(0, 1).float(), (hr / 255).clamp(0, 1).float()).item()
