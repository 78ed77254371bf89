"""Sources whose faults are known: photographs and drawings made from a seed, and what is done to them."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tests.support.images import saved


@cache
def photograph(seed: int = 0, width: int = 256, height: int = 192, *, texture: float = 25) -> Image.Image:
    """Clouds of all sizes, and discs with sharp edges; the right part has a fine texture of this deviation."""
    random = np.random.default_rng(seed)
    width, height = 2 * width, 2 * height
    picture = np.zeros((height, width, 3))
    for cells in (2, 4, 8, 16, 32):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        picture += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float) / cells
    picture = (picture - picture.min()) / np.ptp(picture) * 200 + 25
    y, x = np.mgrid[:height, :width]
    for _ in range(12):
        cy, cx, radius = random.uniform(0, height), random.uniform(0, width), random.uniform(16, 80)
        distance = np.hypot(y - cy, x - cx)
        picture += (distance < radius)[..., None] * random.uniform(-60, 60, 3)
    picture += random.normal(0, 2 * texture, (height, width, 1)) * (x > 0.7 * width)[..., None]
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)


def drawing(seed: int = 0, width: int = 256, height: int = 192) -> Image.Image:
    """Outlined shapes of a few colours with smooth edges."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (4 * width, 4 * height), (210, 180, 90))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        middle, radius = random.uniform(0, 4, 2) * (width, height), random.uniform(120, 320)
        angles = np.sort(random.uniform(0, 2 * np.pi, 5))
        corners = (middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)).ravel().tolist()
        colour = tuple(int(n) for n in random.integers(0, 256, 3))
        draw.polygon(corners, fill=colour, outline=(10, 10, 10), width=8)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def screen(width: int = 320, height: int = 200) -> Image.Image:
    """Windows with lines of text."""
    image = Image.new("RGB", (width, height), (235, 235, 235))
    draw = ImageDraw.Draw(image)
    for left, top in ((10, 12), (150, 60)):
        draw.rectangle((left, top, left + 150, top + 120), fill="white", outline=(90, 90, 120))
        for line in range(7):
            draw.text((left + 6, top + 4 + 16 * line), "some words and numbers 123", fill="black")
    return image


def jpeg(image: Image.Image, quality: int, **options) -> Image.Image:
    """The image after it was saved as JPEG and read again."""
    return reread(saved(image, "JPEG", quality=quality, **options))


def reread(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data)).convert("RGB")


def noisy(image: Image.Image, sigma: float, *, grain: bool = False, seed: int = 1) -> Image.Image:
    """The image with Gaussian noise, equal in all channels; as grain it is blurred by 0.7 pixels, at equal sigma."""
    noise = np.random.default_rng(seed).normal(0, 1, (image.height, image.width))
    if grain:
        for axis in (0, 1):
            noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
        noise /= noise.std()
    return Image.fromarray(np.clip(np.rint(np.asarray(image) + sigma * noise[..., None]), 0, 255).astype(np.uint8))


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def error(a: Image.Image | np.ndarray, b: Image.Image | np.ndarray) -> float:
    """Mean squared difference of luma."""
    weights = (0.299, 0.587, 0.114)
    return float(np.square((np.asarray(a, float) - np.asarray(b, float)) @ weights).mean())


def jpeg_as_bad(image: Image.Image, worse: Image.Image | np.ndarray) -> float:
    """The quality of the JPEG that differs from `image` as much as `worse` does."""
    qualities = np.array([5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98])
    errors = np.log([error(jpeg(image, int(quality)), image) for quality in qualities])
    return float(np.interp(-np.log(error(worse, image)), -errors, qualities))
