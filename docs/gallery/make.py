"""Make the images of the gallery: held-out photographs and a film, x4 by the packaged models, next to the originals.

usage: python docs/gallery/make.py VAL_FOLDER FILM

VAL_FOLDER holds the `cid22_*` images of LICENSE.md, and FILM is Big Buck Bunny in 1280x720. The low-resolution images
are made as `dagan eval` and `dagan train degrade --kind web` make them, and everything else by `dagan upscale`. The
PSNR and SSIM of each whole image are printed.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic, psnr_y, ssim_y

HERE = Path(__file__).parent
SCALE = 4
SIDE = 256  # of a crop, in pixels of the original
GAP, HEAD = 6, 18
QUALITY = 90  # of the WebP files


@dataclass(frozen=True, slots=True)
class Scene:
    """A photograph, and where its crop begins: x and y, in pixels of the original, multiples of SCALE."""

    name: str
    source: str
    x: int
    y: int


SCENES = (
    Scene("portrait", "cid22_6292444", 212, 92),
    Scene("jersey", "cid22_159550", 160, 60),
    Scene("shop", "cid22_7062219", 92, 140),
    Scene("bridge", "cid22_2389166", 48, 120),
    Scene("house", "cid22_2079234", 128, 120),
    Scene("blossom", "cid22_5458393", 200, 160),
    Scene("fur", "cid22_1420710", 128, 128),
)
START, FRAMES, SHOWN = 2.0, 12, (0, 4, 8)  # of the film: where its part starts, in seconds; its length; what is shown
FILM_CROP = (520, 200)
SMALL = ("-vf", "scale=320:180:flags=bicubic", "-c:v", "libx264", "-crf", "28", "-an")


def main(val: Path, film: Path) -> None:
    with TemporaryDirectory() as folder:
        photographs(val, Path(folder))
        video(film, Path(folder))


def photographs(val: Path, work: Path) -> None:
    """Write a sheet for each scene: clean above, degraded below."""
    for name in ("hr", "clean", "web", "clean-big", "web-big"):
        (work / name).mkdir()
    for scene in SCENES:
        with Image.open(val / f"{scene.source}.webp") as opened:
            image = opened.convert("RGB")
        image.save(work / "hr" / f"{scene.name}.png")
        hr = tensor(image)
        small = bicubic(hr, image.height // SCALE, image.width // SCALE)
        picture(small).save(work / "clean" / f"{scene.name}.png")
    dagan("train", "degrade", work / "hr", "-o", work / "web", "-s", SCALE, "--kind", "web")
    for kind, model in (("clean", "dagan-x4"), ("web", "dagan-x4-real")):
        dagan("upscale", work / kind, "-o", work / f"{kind}-big", "-s", SCALE, "-n", model, "--name", "{stem}")
    print(
        "| image | clean: bicubic | `dagan-x4` | degraded: bicubic | `dagan-x4-real` |\n| --- | --- | --- | --- | --- |"
    )
    for scene in SCENES:
        original = opened_as_rgb(work / "hr" / f"{scene.name}.png")
        box = (scene.x, scene.y, scene.x + SIDE, scene.y + SIDE)
        rows, scores = [], []
        for kind, words, model in (
            ("clean", "input", "dagan-x4"),
            ("web", "degraded input", "dagan-x4-real"),
        ):
            small = opened_as_rgb(work / kind / f"{scene.name}.png")
            big = opened_as_rgb(work / f"{kind}-big" / f"{scene.name}.png")
            plain = picture(bicubic(tensor(small), *original.size[::-1]))
            scores += [score(plain, original), score(big, original)]
            nearest = small.resize(original.size, Image.Resampling.NEAREST)
            rows.append({f"{words}, enlarged": nearest, model: big, "original": original})
        sheet([{title: image.crop(box) for title, image in row.items()} for row in rows]).save(
            HERE / f"{scene.name}.webp", quality=QUALITY, method=6
        )
        print(f"| {scene.name} | {' | '.join(scores)} |")


def video(film: Path, work: Path) -> None:
    """Write a strip of a film: rows of the small input, the models and the original; columns of frames."""
    cut = ("-ss", str(START), "-i", str(film), "-frames:v", str(FRAMES))
    ffmpeg(*cut, "-an", "-c:v", "libx264", "-qp", "0", str(work / "original.mkv"))
    ffmpeg(*cut, *SMALL, str(work / "small.mp4"))
    models = {name: f"{name}.mkv" for name in ("dagan-x4-real", "dagan-x4-fast")}
    for model, name in models.items():
        dagan("upscale", work / "small.mp4", "-s", SCALE, "-n", model, "-o", work / name, "-c", "ffv1")
    shown = {"input": "small.mp4", **models, "original": "original.mkv"}
    frames = {name: decoded(work / name) for name in shown.values()}
    size = frames["original.mkv"][0].size
    frames["small.mp4"] = [one.resize(size, Image.Resampling.NEAREST) for one in frames["small.mp4"]]
    box = (*FILM_CROP, FILM_CROP[0] + SIDE, FILM_CROP[1] + SIDE)
    rows = [
        {f"{title}, frame {number}": frames[name][number].crop(box) for number in SHOWN}
        for title, name in shown.items()
    ]
    sheet(rows).save(HERE / "film.webp", quality=QUALITY, method=6)
    small = decoded(work / "small.mp4")
    plain = [picture(bicubic(tensor(one), *size[::-1])) for one in small]
    compared = {"bicubic": plain} | {model: frames[name] for model, name in models.items()}
    for title, results in compared.items():
        pairs = zip(results, frames["original.mkv"], strict=True)
        print(f"film, {title}, each frame:", ", ".join(score(one, original) for one, original in pairs))


def sheet(rows: list[dict[str, Image.Image]]) -> Image.Image:
    """Arrange rows of crops with their titles."""
    width = max(len(row) for row in rows) * (SIDE + GAP) - GAP
    page = Image.new("RGB", (width, len(rows) * (SIDE + HEAD) + (len(rows) - 1) * GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for row, crops in enumerate(rows):
        top = row * (SIDE + HEAD + GAP)
        for column, (title, crop) in enumerate(crops.items()):
            pen.text((column * (SIDE + GAP) + 1, top + 1), title, font=font, fill="black")
            page.paste(crop, (column * (SIDE + GAP), top + HEAD))
    return page


def score(result: Image.Image, original: Image.Image) -> str:
    """Return "PSNR / SSIM" on Y, as `dagan eval` measures them."""
    a, b = tensor(result), tensor(original)
    return f"{psnr_y(a, b, SCALE):.2f} / {ssim_y(a, b, SCALE):.3f}"


def tensor(image: Image.Image) -> Tensor:
    """Return (1, 3, H, W) in [0, 255]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()


def picture(x: Tensor) -> Image.Image:
    """Return whole values (1, 3, H, W) in [0, 255] as an image."""
    return Image.fromarray(x[0].byte().permute(1, 2, 0).numpy())


def opened_as_rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def decoded(path: Path) -> list[Image.Image]:
    """Return the first FRAMES frames of a video."""
    reader = imageio_ffmpeg.read_frames(path)
    size = next(reader)["size"]
    return [Image.frombytes("RGB", size, next(reader)) for _ in range(FRAMES)]


def dagan(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "dagan_cli", *map(str, arguments)], check=True)


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
