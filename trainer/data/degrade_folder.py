"""Write low-resolution images with a fixed degradation, as inputs for comparing models for real sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from dagan_cli.atomic import whole_or_absent
from dagan_cli.metrics.fidelity import bicubic, crop_to_multiple
from trainer.data.samples import load_pictures
from trainer.degradations.fixed import Fixed, degrade_fixed


def degrade_folder(folder: Path, target: Path, kind: Fixed, scale: int) -> Iterator[Path]:
    """Downscale each image by MATLAB's bicubic, degrade it and write it to `target`, for `dagan eval --inputs`.

    Images are cropped to a multiple of the scale. The files are PNGs of the same name. Yields their paths.
    Raises NoInput, DaganError, CannotWrite.
    """
    images = load_pictures([folder], smallest=11 * scale)
    for name, pixels in zip(images.names, images.pixels, strict=True):
        hr = crop_to_multiple(torch.from_numpy(pixels).permute(2, 0, 1)[None].double(), scale)
        lr = bicubic(hr, hr.shape[-2] // scale, hr.shape[-1] // scale)
        levels = degrade_fixed((lr / 255).float(), kind)[0].mul(255).round().byte()
        file = target / f"{Path(name).stem}.png"
        with whole_or_absent(file) as part:
            Image.fromarray(levels.permute(1, 2, 0).numpy()).save(part, format="PNG")
        yield file
