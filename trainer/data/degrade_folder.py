"""Write low-resolution images with a fixed degradation, as inputs for comparing models for real sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dagan_cli.errors import BadOption
from dagan_cli.files import place_of, require_older, whole_or_absent
from dagan_cli.metrics.fidelity import bicubic, crop_to_multiple
from trainer.data.samples import load_pictures, pictures_under
from trainer.degradations.fixed import Fixed, degrade_fixed
from trainer.places import holds

_MADE_BY = "dagan train degrade"  # in each file: only these are replaced


def degrade_folder(folder: Path, target: Path, kind: Fixed, scale: int) -> Iterator[Path]:
    """Downscale each image by MATLAB's bicubic, degrade it and write it to `target`, for `dagan eval --inputs`.

    Images are cropped to a multiple of the scale. The files are PNGs of the same names in the same subfolders. Yields
    their paths. Raises BadOption if an image would be replaced by its own result, or two would share one; NoInput,
    DaganError, CannotWrite.
    """
    if holds(folder, target):
        raise BadOption(f"-o {target} is in the folder of the images, {folder}", hint="write to another folder")
    images = load_pictures([folder], smallest=11 * scale)
    paths = [target / f"{inner}.png" for inner in images.paths]
    if shared := [path for path, count in Counter(paths).items() if count > 1]:
        what = f"several images of {folder} would become {shared[0]}"
        raise BadOption(what, hint="rename them: names must differ without their suffixes")
    read = {place_of(path): path for path in pictures_under(folder)}
    for path in paths:
        if place_of(path) in read:
            what = f"-o {target}: {path.name} is the image {read[place_of(path)]}"
            raise BadOption(what, hint="write to another folder")
        require_older(path, "degraded image", _MADE_BY.encode())
    facts = PngInfo()
    facts.add_text("Software", _MADE_BY)
    for path, pixels in zip(paths, images.pixels, strict=True):
        hr = crop_to_multiple(torch.from_numpy(pixels).permute(2, 0, 1)[None].double(), scale)
        lr = bicubic(hr, hr.shape[-2] // scale, hr.shape[-1] // scale)
        levels = degrade_fixed((lr / 255).float(), kind)[0].mul(255).round().byte()
        with whole_or_absent(path) as file:
            Image.fromarray(levels.permute(1, 2, 0).numpy()).save(file, format="PNG", pnginfo=facts)
        yield path
