"""Folders of pictures -> training pairs. A batch is a pure function of (seed, step): resuming needs no loader state."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dagan_cli.errors import NoInput
from dagan_cli.protocol import bicubic
from trainer import degradations
from trainer.degradations import Strength, degrade

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ppm"}
MARGIN = 4  # LR pixels around a patch that the bicubic kernel may see, so that a patch equals the crop of the whole LR


@dataclass(frozen=True, slots=True)
class Pictures:
    """High-resolution pictures, held once: uint8 (H, W, 3) each."""

    names: list[str]
    pixels: list[np.ndarray]
    skipped: list[str]  # "name: why", for the log

    @property
    def fingerprint(self) -> str:
        """Names and sizes in order: the same data gives the same batches."""
        text = "\n".join(f"{n} {p.shape[1]}x{p.shape[0]}" for n, p in zip(self.names, self.pixels, strict=True))
        return sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


def load_pictures(folders: Iterable[Path], smallest: int) -> Pictures:
    """Read every picture under the folders with sides of at least `smallest` pixels, sorted by path.

    Unreadable and too small ones are listed in `skipped`. Raises NoInput when none is left.
    """
    folders = list(folders)
    paths = [p for folder in folders for p in _pictures_under(folder)]
    names, pixels, skipped = [], [], []
    with ThreadPoolExecutor(4) as pool:
        for path, result in zip(paths, pool.map(_read, paths), strict=True):
            if isinstance(result, str):
                skipped.append(f"{path}: {result}")
            elif min(result.shape[:2]) < smallest:
                skipped.append(f"{path}: smaller than {smallest} pixels")
            else:
                names.append(path.name)
                pixels.append(result)
    if not pixels:
        where = ", ".join(map(str, folders))
        raise NoInput(
            f"no usable picture of at least {smallest} pixels a side in {where}"
            + (f" ({len(skipped)} skipped: {skipped[0]})" if skipped else ""),
            hint="give --data a folder of PNG, JPEG or WebP pictures, or use a smaller patch",
        )
    for line in skipped:
        log.warning("skipped %s", line)
    return Pictures(names, pixels, skipped)


def sample_batch(
    pictures: Pictures,
    *,
    scale: int,
    patch: int,
    batch: int,
    augment: bool,
    seed: int,
    step: int,
    degradation: Strength = "none",
) -> tuple[Tensor, Tensor]:
    """One batch of (LR, HR): float32 (batch, 3, patch, patch) and (batch, 3, scale*patch, scale*patch) in [0, 1].

    Pictures are drawn by the square root of their area, and of two random places in one the more detailed is taken:
    large pictures are mostly sky. LR is MATLAB's bicubic of the whole picture, rounded to 8 bit, cut out here with a
    margin for the kernel; with a `degradation`, what a camera, the web or a video codec leaves of it.
    """
    random = np.random.default_rng([seed, step])
    weights = np.sqrt([p.shape[0] * p.shape[1] for p in pictures.pixels])
    chosen = random.choice(len(pictures.pixels), size=batch, p=weights / weights.sum())
    margin = margin_for(degradation)
    side = (patch + 2 * margin) * scale
    crops = np.empty((batch, side, side, 3), np.uint8)
    for i, index in enumerate(chosen):
        crops[i] = _detailed_crop(pictures.pixels[index], side, scale, random)
        if augment:
            turned = np.rot90(crops[i], int(random.integers(4)))
            crops[i] = turned[:, ::-1].copy() if random.integers(2) else turned.copy()
    hr = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    if degradation == "none":
        lr = bicubic(hr, side // scale, side // scale)
    else:
        lr = degrade(hr / 255, scale, degradation, seed, step)[0] * 255
    lr = lr[..., margin:-margin, margin:-margin]
    edge = margin * scale
    hr = hr[..., edge:-edge, edge:-edge]
    return lr.div(255).contiguous(), hr.div(255).contiguous()


def margin_for(degradation: Strength) -> int:
    """LR pixels around a patch that its low-resolution side may have seen."""
    return MARGIN if degradation == "none" else degradations.MARGIN


def validation_pairs(pictures: Pictures, scale: int, largest: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
    """(LR, HR) of each picture: (1, 3, h, w), (1, 3, H, W) in [0, 255]; the centre, of at most `largest` HR pixels.

    Where nothing but the rest of a division by the scale is left out, that is at the far ends, as papers have it.
    """
    for pixels in pictures.pixels:
        h, w = (min(length, largest) // scale * scale for length in pixels.shape[:2])
        top, left = (max(0, length - largest) // 2 for length in pixels.shape[:2])
        crop = np.ascontiguousarray(pixels[top : top + h, left : left + w])
        hr = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
        yield bicubic(hr.double(), h // scale, w // scale).float(), hr


def _detailed_crop(pixels: np.ndarray, side: int, scale: int, random: np.random.Generator) -> np.ndarray:
    """Of two random crops, aligned to the LR grid, the one with more contrast between neighbours."""
    best, most = pixels[:side, :side], -1.0
    for _ in range(2):
        y, x = (scale * random.integers((length - side) // scale + 1) for length in pixels.shape[:2])
        crop = pixels[y : y + side, x : x + side]
        green = crop[::2, ::2, 1].astype(np.int16)
        detail = np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()
        if detail > most:
            best, most = crop, float(detail)
    return best


def _pictures_under(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _read(path: Path) -> np.ndarray | str:
    """uint8 (H, W, 3), or why not: files of any origin raise almost anything when they are damaged."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                return "not an 8-bit picture"  # its conversion would clip every bright pixel to white
            return np.array(image.convert("RGB"))
    except Exception as error:
        return f"cannot be read ({type(error).__name__})"
