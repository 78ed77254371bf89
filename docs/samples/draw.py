"""Draw the sample image and clip that `make demo` upscales: shapes, text and texture, free of third-party rights.

usage: python docs/samples/draw.py FOLDER
"""

from __future__ import annotations

import sys
from fractions import Fraction
from math import cos, pi, sin
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 256, 192
FINE = 4  # supersampling factor: drawn larger and downscaled, so that edges look as a camera records them


def scene(time: float) -> Image.Image:
    """Draw the scene at a time in [0, 1], WIDTH x HEIGHT: hills, a sun, a house, a fence, a line of text."""
    w, h = WIDTH * FINE, HEIGHT * FINE
    rows = np.linspace(0, 1, h)[:, None, None]
    sky = (1 - rows) * np.array([70, 130, 205]) + rows * np.array([250, 214, 170])
    image = Image.fromarray(np.broadcast_to(sky, (h, w, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)

    x, y = w * (0.2 + 0.5 * time), h * (0.28 - 0.08 * sin(pi * time))
    draw.circle((x, y), w * 0.07, fill=(255, 236, 150), outline=(255, 200, 90), width=6)
    for i in range(24):
        angle = 2 * pi * (i / 24 + time / 12)
        near, far = (w * (0.085 + 0.025 * end) for end in (0, 1))
        ray = [(x + length * cos(angle), y + length * sin(angle)) for length in (near, far)]
        draw.line(ray, fill=(255, 220, 120), width=5)

    for i, colour in enumerate([(96, 140, 150), (70, 120, 90), (50, 96, 58)]):
        ridge = [(p * w / 64, h * (0.55 + 0.1 * i) + h * 0.06 * sin(p / (5 - i) + 2 * i)) for p in range(65)]
        draw.polygon([*ridge, (w, h), (0, h)], fill=colour)
    blades = np.random.default_rng(0)
    for px, py in blades.uniform((0, 0.82), (1, 1.0), (1500, 2)):
        lean, shade = blades.uniform(-10, 10), int(blades.integers(60, 130))
        draw.line([(px * w, py * h), (px * w + lean, py * h - 26)], fill=(shade // 2, shade + 30, 40), width=3)

    left, top, right, bottom = w * 0.58, h * 0.52, w * 0.86, h * 0.82
    draw.rectangle((left, top, right, bottom), fill=(178, 92, 70), outline=(90, 40, 30), width=4)
    for row in range(16):
        level = top + (bottom - top) * row / 16
        draw.line([(left, level), (right, level)], fill=(206, 140, 120), width=3)
        for column in range(13):
            joint = left + (right - left) * (column + row % 2 / 2) / 12.5
            draw.line([(joint, level), (joint, level + (bottom - top) / 16)], fill=(206, 140, 120), width=3)
    draw.polygon([(left - 30, top), ((left + right) / 2, h * 0.36), (right + 30, top)], fill=(80, 50, 60))
    draw.rectangle((left + 60, top + 60, left + 140, top + 150), fill=(240, 232, 190), outline=(60, 40, 30), width=8)
    for post in range(13):
        start = w * (0.03 + 0.042 * post)
        draw.rectangle((start, h * 0.74, start + 16, h * 0.9), fill=(236, 232, 222))
    draw.rectangle((w * 0.02, h * 0.79, w * 0.56, h * 0.805), fill=(222, 216, 204))

    font = ImageFont.load_default(size=13 * FINE)
    draw.text((w * 0.04, h * 0.04), "Sample 0123456789", font=font, fill=(30, 34, 60))
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene(0.3).save(folder / "picture.png")
    with av.open(str(folder / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=12, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = out.add_stream("aac", rate=44100)
        frames = 12
        for i in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_image(scene(i / frames))))
        out.mux(stream.encode(None))
        tone = (np.sin(np.arange(44100) * 2 * pi * 440 / 44100) * 0.2).astype(np.float32)[None]
        audio = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        audio.sample_rate, audio.pts, audio.time_base = 44100, 0, Fraction(1, 44100)
        out.mux(sound.encode(audio))
        out.mux(sound.encode(None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
