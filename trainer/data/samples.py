"""Folders of images -> training pairs. A batch is a pure function of (seed, step): resuming needs no loader state."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dagan_cli.device import free_host_memory
from dagan_cli.errors import NoInput, OutOfMemory
from dagan_cli.files import open_regular
from dagan_cli.metrics.fidelity import bicubic
from dagan_cli.prefetch import in_order
from trainer import degradations
from trainer.config import Inputs, Kernel, Sampling
from trainer.data.packed import THREADS, packed
from trainer.degradations import Strength, degrade, degrade_fixed

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ppm"}
LARGEST = 2**30  # bytes of an image's file
EPOCHS = 5  # distinguishes the random numbers of the order of images from others of the same seed
MARGIN = 4  # LR pixels of context for the bicubic kernel around a patch, so that it equals a crop of the whole LR


@dataclass(frozen=True, slots=True)
class Pictures:
    """High-resolution images, uint8 (H, W, 3) each, in memory or mapped from a file."""

    names: list[str]
    pixels: list[np.ndarray]
    skipped: list[str]  # "path: reason", for the log
    paths: list[Path] = field(default_factory=list)  # path of each image within its folder, without suffix
    low: list[np.ndarray] | None = None  # low-resolution image of each, if given instead of computed
    targets: list[np.ndarray] | None = None  # a teacher's upscaling of each low-resolution image
    teacher: dict[str, Any] | None = None  # name, source, licence and sha256 of the teacher
    probabilities: np.ndarray = field(init=False, compare=False, repr=False)  # proportional to the root of the area

    def __post_init__(self) -> None:
        weights = np.sqrt([p.shape[0] * p.shape[1] for p in self.pixels])
        object.__setattr__(self, "probabilities", weights / weights.sum())  # once: it takes longer than a batch

    @property
    def fingerprint(self) -> str:
        """Hash of the names and sizes in order, and of the teacher: equal data gives equal batches."""
        lines = [f"{n} {p.shape[1]}x{p.shape[0]}" for n, p in zip(self.names, self.pixels, strict=True)]
        lines += ["pairs"] * (self.low is not None) + ([f"teacher {self.teacher}"] if self.teacher else [])
        return sha256("\n".join(lines).encode(errors="backslashreplace")).hexdigest()[:16]


def load_pictures(folders: Iterable[Path], smallest: int, pack: Path | None = None) -> Pictures:
    """Read all images in the folders, recursively, with sides of at least `smallest` pixels, sorted by path.

    Unreadable and too small images are listed in `skipped`. pack: a file of the decoded images, which is made if it is
    missing, and mapped instead of reading them into memory. Raises NoInput if no image is left, OutOfMemory before any
    is decoded if they take more than three quarters of the free memory, and the errors of `packed`.
    """
    folders = list(folders)
    if missing := [folder for folder in folders if not folder.exists()]:
        raise NoInput(
            f"there is no folder {missing[0]}", hint="check the folders of --data, --val, --pairs and --targets"
        )
    found = [(path, _within(path, folder)) for folder in folders for path in pictures_under(folder)]
    paths = [path for path, _ in found]
    if pack is None or not found:
        _require_memory(paths, smallest)
        images = in_order(_read, paths, THREADS)
    else:
        images = nullcontext(packed(pack, [(path, str(inner.with_name(path.name))) for path, inner in found], _read))
    names, pixels, skipped, kept = [], [], [], []
    with images as results:
        for (path, inner), result in zip(found, results, strict=True):
            if isinstance(result, str):
                skipped.append(f"{path}: {result}")
            elif min(result.shape[:2]) < smallest:
                skipped.append(f"{path}: smaller than {smallest} pixels")
            else:
                names.append(path.name)
                pixels.append(result)
                kept.append(inner)
    if not pixels:
        where = ", ".join(map(str, folders))
        raise NoInput(
            f"no usable image with sides of at least {smallest} pixels in {where}"
            + (f" ({len(skipped)} skipped: {skipped[0]})" if skipped else ""),
            hint="give a folder of PNG, JPEG or WebP images, or use a smaller patch",
        )
    for line in skipped:
        log.warning("skipped %s", line)
    return Pictures(names, pixels, skipped, kept)


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
    sampling: Sampling = "detailed",
    kernel: Kernel = "matlab",
) -> tuple[Tensor, Tensor]:
    """Make a batch of (LR, HR): float32 (batch, 3, patch, patch) and (batch, 3, scale*patch, scale*patch) in [0, 1].

    If the images have targets, HR has six channels: the original's, then the target's.

    sampling "detailed": images are drawn with probabilities proportional to the square root of their area; of two
    random crops the more detailed one is used, as large images are mostly sky. "uniform": every epoch takes one random
    crop of each image, in a new order, as SRGAN's common PyTorch port does.

    LR is the given low-resolution image, or else made by the `kernel`, rounded to 8 bits. "matlab": a crop of MATLAB's
    bicubic of the whole image, computed here with a margin; with a `degradation`, it is degraded as by a camera, the
    web or a video codec. "pil": Pillow's bicubic of the crop alone, which starts at any pixel.
    """
    random = np.random.default_rng([seed, step])
    if sampling == "uniform":
        chosen = [_of_epoch(step * batch + i, len(pictures.pixels), seed) for i in range(batch)]
    else:
        chosen = random.choice(len(pictures.pixels), size=batch, p=pictures.probabilities)
    is_alone = pictures.low is not None or kernel == "pil"
    margin = 0 if is_alone else margin_for(degradation)
    grid = 1 if kernel == "pil" and pictures.low is None else scale
    side = (patch + 2 * margin) * scale
    kinds = [images for images in (pictures.pixels, pictures.targets) if images is not None]
    crops = np.empty((batch, side, side, 3 * len(kinds)), np.uint8)
    small = np.empty((batch, patch, patch, 3), np.uint8)  # filled where LR images are given
    for i, index in enumerate(chosen):
        place = _detailed_place if sampling == "detailed" else _place
        y, x = place(pictures.pixels[index], side, grid, random)
        crop = np.concatenate([images[index][y : y + side, x : x + side] for images in kinds], axis=2)
        turns, mirrored = (int(random.integers(4)), bool(random.integers(2))) if augment else (0, False)
        crops[i] = _turned(crop, turns, mirrored)
        if pictures.low is not None:
            top, left = y // scale, x // scale
            small[i] = _turned(pictures.low[index][top : top + patch, left : left + patch], turns, mirrored)
    hr = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    if pictures.low is not None:
        lr = torch.from_numpy(small).permute(0, 3, 1, 2).float()
    elif kernel == "pil":
        lr = torch.stack([_shrunk_by_pillow(crop[..., :3], patch) for crop in crops])
    elif degradation == "none":
        lr = bicubic(hr[:, :3], side // scale, side // scale)
    else:
        lr = degrade(hr[:, :3] / 255, scale, degradation, seed, step)[0] * 255
    lr, hr = (
        x[..., edge : x.shape[-2] - edge, edge : x.shape[-1] - edge] for x, edge in ((lr, margin), (hr, margin * scale))
    )
    return lr.div(255).contiguous(), hr.div(255).contiguous()


def margin_for(degradation: Strength) -> int:
    """Return the number of LR pixels around a patch that may influence its low-resolution side."""
    return MARGIN if degradation == "none" else degradations.MARGIN


def validation_pairs(
    pictures: Pictures, scale: int, largest: int = 512, inputs: Inputs = "clean"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (LR, HR) of each image: (1, 3, h, w), (1, 3, H, W) in [0, 255].

    HR is the centre crop of at most `largest` pixels a side. An image that fits is only cropped to a multiple of the
    scale, at the right and bottom, as in papers. inputs: LR is MATLAB's bicubic, or that with a fixed degradation.
    """
    for pixels in pictures.pixels:
        h, w = (min(length, largest) // scale * scale for length in pixels.shape[:2])
        top, left = (max(0, length - largest) // 2 for length in pixels.shape[:2])
        crop = np.ascontiguousarray(pixels[top : top + h, left : left + w])
        hr = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
        lr = bicubic(hr.double(), h // scale, w // scale).float()
        yield (lr if inputs == "clean" else degrade_fixed(lr / 255, inputs) * 255), hr


@lru_cache(maxsize=4)
def _order(epoch: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, EPOCHS]).permutation(count)


def _of_epoch(number: int, count: int, seed: int) -> int:
    """Return the image of the sample `number` of a run in which every epoch takes each of `count` images once."""
    return int(_order(number // count, count, seed)[number % count])


def _shrunk_by_pillow(crop: np.ndarray, patch: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, patch, patch) in [0, 255]."""
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(crop)).resize((patch, patch), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float()


def _place(pixels: np.ndarray, side: int, grid: int, random: np.random.Generator) -> tuple[int, int]:
    """Return (top, left) of a random crop, in multiples of `grid`."""
    y, x = (int(grid * random.integers((length - side) // grid + 1)) for length in pixels.shape[:2])
    return y, x


def _detailed_place(pixels: np.ndarray, side: int, grid: int, random: np.random.Generator) -> tuple[int, int]:
    """Return (top, left) of the random crop, of two, with more local contrast."""
    best, most = (0, 0), -1.0
    for _ in range(2):
        y, x = _place(pixels, side, grid, random)
        green = pixels[y : y + side : 2, x : x + side : 2, 1].astype(np.int16)
        detail = np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()
        if detail > most:
            best, most = (y, x), float(detail)
    return best


def _turned(crop: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    turned = np.rot90(crop, turns)
    return turned[:, ::-1] if mirrored else turned


def _within(path: Path, folder: Path) -> Path:
    """Return the path within the folder, without suffix, which identifies an image's counterparts in other folders."""
    return Path(path.stem) if path == folder else path.relative_to(folder).with_suffix("")


def pictures_under(folder: Path) -> list[Path]:
    """Return the image files in a folder and all folders in it, or the given file itself."""
    if folder.is_file():
        return [folder]
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _require_memory(paths: list[Path], smallest: int) -> None:
    """Raise OutOfMemory if the images, by their headers, take more than three quarters of the free memory."""
    free = free_host_memory()
    with in_order(partial(_decoded_bytes, smallest=smallest), paths, THREADS) as sizes:
        needed = sum(sizes)
    if needed > free * 3 // 4:
        raise OutOfMemory(
            f"{len(paths)} images take {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free",
            hint="keep the images of `dagan train` on disk with --pack FILE, or use fewer",
        )


def _decoded_bytes(path: Path, smallest: int) -> int:
    """Return the bytes of an image that will be kept, from its header; 0 for any other."""
    from PIL import Image

    try:
        with open_regular(path) as file, Image.open(file) as image:
            return 3 * image.width * image.height if min(image.size) >= smallest else 0
    except Exception:  # `_read` says why
        return 0


def _read(path: Path) -> np.ndarray | str:
    """Return uint8 (H, W, 3), or the reason why not: damaged files can raise almost any exception."""
    from PIL import Image

    try:
        with open_regular(path) as file, Image.open(file) as image:
            if os.fstat(file.fileno()).st_size > LARGEST:
                return "too large a file"
            if image.mode.startswith(("I", "F")):
                return "not an 8-bit image"  # converting it would clip bright pixels to white
            return np.array(image.convert("RGB"))
    except Exception as error:
        return f"cannot be read ({type(error).__name__})"
