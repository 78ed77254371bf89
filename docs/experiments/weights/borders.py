"""Make the images of the last phase of the models, which is about the borders of images.

usage: python docs/experiments/weights/borders.py MODEL PHOTOGRAPHS OUT [NOISY]

MODEL: the file to train on, at its own scale. If its name has "real" or "fast" in it, OUT gets lr, hr and target for
`dagan train --pairs OUT`, with degraded inputs; else hr and target for `--data OUT/hr --targets OUT/target`. NOISY:
share of the flat images with noise in place of other degradations; 0.4 for dagan-x2-fast, 0 for the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic
from dagan_cli.model.checkpoint import load_generator
from dagan_cli.model.generator import Generator
from trainer.data.samples import MARGIN, load_pictures
from trainer.degradations import degrade_fixed
from trainer.degradations.chain import degrade

PHOTOGRAPHS, FLATS = 960, 360
SIDE = 48  # of a patch in input pixels, which must be that of the crops: the model pools over all it sees
AROUND = 8  # input pixels on each side that only the target is made with
BORDER = 3  # input pixels along the border whose target is made with them
FIRST_FLAT = 100_000  # sets the random numbers of flats and photographs apart


def degraded(hr: Tensor, scale: int, random: np.random.Generator, number: int) -> Tensor:
    """(1, 3, H, W) in [0, 1] -> (1, 3, H/scale, W/scale): fixed, clean, medium or mild degradations."""
    drawn, clean = random.random(), 0.65 if number >= FIRST_FLAT else 0.45
    if drawn < 0.3:
        return degrade_fixed(shrunk(hr, scale), "web" if drawn < 0.15 else "video")
    return degrade(hr, scale, "none" if drawn < clean else "medium" if drawn < 0.82 else "mild", 0, number)[0]


def shrunk(hr: Tensor, scale: int) -> Tensor:
    return (bicubic((hr * 255).round().double(), hr.shape[-2] // scale, hr.shape[-1] // scale) / 255).float()


def colour(random: np.random.Generator) -> np.ndarray:
    """Draw a grey, a saturated or any other colour: (3,) in [0, 1]."""
    kind = random.random()
    if kind < 0.25:
        return np.full(3, random.random())
    return random.choice([0, 0.05, 0.2, 0.5, 0.8, 0.95, 1], 3) if kind < 0.55 else random.random(3)


def flat(side: int, random: np.random.Generator) -> Tensor:
    """Draw a flat colour, a straight edge between two, or a gradient: (1, 3, side, side) in [0, 1], of 8 bits."""
    kind, first, second = random.random(), colour(random), colour(random)
    angle = random.choice([0, np.pi / 2, random.random() * np.pi])
    place = np.arange(side)
    along = place[:, None] * np.sin(angle) + place * np.cos(angle)
    along -= np.quantile(along, 0.2 + 0.6 * random.random())
    ramp = 0.5 + along / (1 if kind < 0.8 else side * (0.5 + 2 * random.random()))
    share = np.zeros_like(ramp) if kind < 0.6 else ramp.clip(0, 1)
    image = first + share[..., None] * (second - first)
    return torch.from_numpy(np.round(image * 255) / 255).permute(2, 0, 1)[None].float()


@torch.no_grad()
def own_result(network: Generator, lr: Tensor) -> Tensor:
    """Return what the network makes of the patch without its surroundings, and along the border with them."""
    scale = network.scale
    around, border = AROUND * scale, BORDER * scale
    result = network(lr)[..., around:-around, around:-around].clone()
    alone = network(lr[..., AROUND:-AROUND, AROUND:-AROUND])
    result[..., border:-border, border:-border] = alone[..., border:-border, border:-border]
    return result


def main(model: Path, photographs: Path, out: Path, noisy: float = 0.0) -> None:
    loaded = load_generator(model)
    network = loaded.generator.eval()
    network.use_window("global")
    scale = network.scale
    is_clean = not any(word in model.stem for word in ("real", "fast"))
    if is_clean and noisy:
        sys.exit(f"{model.stem} is for clean images: leave out NOISY")
    side, rest = (SIDE + 2 * AROUND) * scale, (AROUND - MARGIN if is_clean else AROUND) * scale
    cut = slice(rest, -rest)  # with --data, the trainer makes the input, from the image and a margin
    random = np.random.default_rng(0)

    def low(hr: Tensor, number: int) -> Tensor:
        image = shrunk(hr, scale) if is_clean else degraded(hr, scale, random, number)
        return image.mul(255).round() / 255

    def write(folder: str, name: str, image: Tensor) -> None:
        levels = image[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        (out / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(out / folder / f"{name}.webp", lossless=True)

    images = load_pictures([photographs], smallest=side).pixels
    for number in range(PHOTOGRAPHS):
        pixels = images[random.integers(len(images))]
        top, left = (random.integers(length - side + 1) for length in pixels.shape[:2])
        crop = np.ascontiguousarray(pixels[top : top + side, left : left + side])
        hr = torch.from_numpy(crop).permute(2, 0, 1)[None] / 255
        hr = hr.flip(3) if random.random() < 0.5 else hr
        hr = hr.transpose(2, 3) if random.random() < 0.5 else hr
        lr, inside = low(hr, number), AROUND * scale
        target = hr.clone()
        target[..., inside:-inside, inside:-inside] = own_result(network, lr)
        write("hr", f"photograph{number}", hr[..., cut, cut])
        write("target", f"photograph{number}", target[..., cut, cut])
        if not is_clean:
            write("lr", f"photograph{number}", lr[..., AROUND:-AROUND, AROUND:-AROUND])
    for number in range(FLATS):
        hr = flat(side, random)
        if number < noisy * FLATS:
            lr = shrunk(hr, scale)
            lr = lr + torch.from_numpy(random.normal(0, random.uniform(1, 10) / 255, lr.shape)).float()
        else:
            lr = low(hr, FIRST_FLAT + number)
        if not is_clean:
            write("lr", f"flat{number}", lr[..., AROUND:-AROUND, AROUND:-AROUND])
        for folder in ("hr", "target"):
            write(folder, f"flat{number}", hr[..., cut, cut])
    teacher = {"name": f"{model.stem} before this phase, and flat images", "source": "this project", "licence": "MIT"}
    lines = (f'{key} = "{value}"\n' for key, value in (teacher | {"sha256": loaded.sha256}).items())
    (out / "target" / "teacher.toml").write_text("".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *map(float, sys.argv[4:5]))
