"""Draw the contact sheet of docs/models.md and the strips of the model cards: drawn images x4 through every model.

usage: python docs/samples/sheet.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from draw import FINE, HEIGHT, WIDTH, scene
from PIL import Image, ImageDraw, ImageFont

from dagan_cli import Upscaler
from trainer.degradations import degrade_fixed
from weights.catalog import CATALOG

HERE = Path(__file__).parent
CARDS = HERE.parents[1] / "weights" / "cards"
SIDE = (72, 54)  # width and height of a cell, in pixels of the low-resolution image
GAP, HEAD = 6, 18
# Crops: x and y in the low-resolution image, and the degradation applied before cropping.
ROWS = ((4, 2, None), (150, 84, None), (60, 130, None), (186, 28, None), (150, 84, "web"), (4, 2, "video"))


def test_card() -> Image.Image:
    """Draw the scene with details that are hard to upscale in its sky: rings, fine lines, a fan, small print."""
    card = scene(0.3).resize((WIDTH * FINE, HEIGHT * FINE), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(card)
    x, y = 192 * FINE, 32 * FINE
    pen.rectangle((x, y, x + 60 * FINE, y + 46 * FINE), fill="white")
    for i in range(12):
        pen.line((x + 8, y + 8 + i * i, x + 100, y + 8 + i * i), fill="black", width=3)
        pen.line((x + 8, y + 176, x + 110, y + 80 + 8 * i), fill=(160, 20, 30), width=2)
    for radius in range(6, 50, 8):
        pen.ellipse(
            (x + 176 - radius, y + 56 - radius, x + 176 + radius, y + 56 + radius), outline=(0, 60, 120), width=3
        )
    pen.text((x + 124, y + 116), "dagan\n1234567", font=ImageFont.load_default(size=26), fill="black")
    return card.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def crops() -> list[Image.Image]:
    """Return the low-resolution crops, one per row."""
    whole = torch.from_numpy(np.array(test_card())).permute(2, 0, 1)[None] / 255
    images = []
    for x, y, how in ROWS:
        degraded = whole if how is None else degrade_fixed(whole, how)
        levels = degraded[0].mul(255).round().byte().permute(1, 2, 0).numpy()
        images.append(Image.fromarray(levels).crop((x, y, x + SIDE[0], y + SIDE[1])))
    return images


def upscaled(small: Image.Image, model: str, scale: int = 4) -> Image.Image:
    """Upscale with a model; the result of an x2 model is then doubled by nearest neighbour."""
    frames = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    large = Upscaler.load(model).upscale_to(frames, (SIDE[0] * scale, SIDE[1] * scale))
    image = Image.fromarray(large[0].mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
    return image.resize((SIDE[0] * 4, SIDE[1] * 4), Image.Resampling.NEAREST)


def sheet(columns: dict[str, list[Image.Image]]) -> Image.Image:
    """Arrange the images with one column per name and one row per crop."""
    w, h = SIDE[0] * 4 + GAP, SIDE[1] * 4 + GAP
    rows = len(next(iter(columns.values())))
    image = Image.new("RGB", (len(columns) * w - GAP, HEAD + rows * h - GAP), "white")
    pen = ImageDraw.Draw(image)
    for i, (name, cells) in enumerate(columns.items()):
        pen.text((i * w + 2, 2), name, font=ImageFont.load_default(size=12), fill="black")
        for row, cell in enumerate(cells):
            image.paste(cell, (i * w, HEAD + row * h))
    return image


def main() -> None:
    small = crops()
    plain = {
        "input, enlarged": [upscaled(one, "nearest") for one in small],
        "bicubic": [upscaled(one, "bicubic") for one in small],
    }
    of = {m.name: [upscaled(one, m.name, m.scale) for one in small] for m in CATALOG}
    sheet(plain | {name: of[name] for name in of if "-x4" in name}).save(HERE / "contact.png", optimize=True)
    for name, cells in of.items():
        which = (1, 3, 4) if name.endswith(("-real", "-fast")) else (0, 1, 2)
        columns = plain | {name: cells}
        strip = sheet({title: [column[i] for i in which] for title, column in columns.items()})
        strip.save(CARDS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
