"""Measure what `-n auto` rests on: how each model does on pictures degraded in many ways, and what is chosen for each.

python docs/experiments/auto/measure.py VAL lpips_alex.safetensors OUT --scale 4 --fit 10

VAL is a folder of pictures to hold against; of each, the centre 512 x 512 pixels are used. OUT receives the degraded
inputs and `scores.jsonl`, the scores of all models on each of them, and is continued if it exists. What is chosen is
looked up again each time, so that a change of the rule needs no new scores. It ends with a table of all pictures but
the first FIT, and with what the best of many limits would gain on those first ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image, ImageFilter

from dagan_cli.analysis.measure import Analysis, analyse_image, analyse_video
from dagan_cli.media import images
from dagan_cli.media.video.source import open_video
from dagan_cli.metrics.fidelity import psnr_y
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.upscale import auto
from dagan_cli.upscale.auto import model_for
from dagan_cli.upscale.frames import to_rgb
from dagan_cli.upscaler import ModelChoice, Upscaler

SIDE = 512  # pixels of an original
PAN = 8  # frames of a clip, each one pixel further; the sixth is scored, so that motion and references count
SCORED = 5
BETWEEN = (0.5,)  # blends that are measured beside the two ends


def original(path: Path) -> Image.Image:
    """Return the centre of a picture, of a large one after shrinking it."""
    image = Image.open(path).convert("RGB")
    if min(image.size) > 1.7 * SIDE:
        share = SIDE / min(image.size)
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    return image.crop((left, top, left + SIDE, top + SIDE))


def degrade(hr: Image.Image, folder: Path, scale: int, seed: int) -> None:
    """Write the inputs made of one original: files as a user would have them."""
    side = SIDE // scale
    small = hr.resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(small).astype(np.float32)
    rng = np.random.default_rng(seed)

    def noisy(sigma: float) -> Image.Image:
        return Image.fromarray((pixels + rng.normal(0, sigma, pixels.shape)).round().clip(0, 255).astype(np.uint8))

    small.save(folder / "clean.png")
    for quality in (95, 85, 75, 60, 40):
        small.save(folder / f"jpeg{quality}.jpg", quality=quality)
    small.save(folder / "webp60.webp", quality=60)
    for sigma in (5, 15):
        noisy(sigma).save(folder / f"noise{sigma}.png")
    noisy(5).save(folder / "noise5jpeg75.jpg", quality=75)
    for sigma in (1, 2):
        small.filter(ImageFilter.GaussianBlur(sigma)).save(folder / f"blur{sigma}.png")
    three_quarters = hr.resize((side * 3 // 4, side * 3 // 4), Image.Resampling.BICUBIC)
    three_quarters.resize((side, side), Image.Resampling.BICUBIC).save(folder / "enlarged.png")
    frames = np.stack([np.asarray(small)[:, left : left + side - PAN] for left in range(PAN)])
    for crf in (20, 28, 35):
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{side - PAN}x{side}", "-r", "25", "-i", "-"]
        colour = ["-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-color_primaries", "bt709"]
        coded = ["-color_trc", "bt709", "-c:v", "libx264", "-crf", str(crf), "-pix_fmt", "yuv420p"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *raw, *colour, *coded]
        subprocess.run([*command, str(folder / f"x264-{crf}.mp4")], input=frames.tobytes(), check=True)


def read(path: Path, hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an input (1, 3, h, w) and its original."""
    if path.suffix == ".mp4":
        with open_video(path) as video:
            (x,) = to_rgb([list(video.frames())[SCORED]], torch.device("cpu"), alpha=False)
        return x.clamp(0, 1), hr[..., SCORED * scale : (SCORED + x.shape[-1]) * scale]
    with images.open_picture(path) as picture:
        return as_tensor(picture.peek()), hr


def analysed(path: Path) -> tuple[Analysis, float]:
    """Return the analysis of an input, and the processor time that it took, in seconds per megapixel."""
    if path.suffix == ".mp4":
        started = process_time()
        analysis = analyse_video(path)
        with open_video(path) as video:
            return analysis, (process_time() - started) / (video.info.width * video.info.height / 1e6)
    with images.open_picture(path) as picture:
        pixels = picture.peek()
        started = process_time()
        analysis = analyse_image(path, pixels, picture.info)
        return analysis, (process_time() - started) / (pixels.shape[0] * pixels.shape[1] / 1e6)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def models(scale: int) -> dict[str, Upscaler]:
    """Return all that is measured, by the words that options use for it."""
    clean = f"dagan-x{scale}"
    choices = [ModelChoice(name) for name in (clean, f"{clean}-real", f"{clean}-psnr", "bicubic")]
    choices += [ModelChoice(clean, denoise=share, window="local") for share in BETWEEN]
    return {choice.words: Upscaler.of(choice, device="cpu") for choice in choices}


def scores(val: Path, metric: Lpips, out: Path, scale: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each degraded input; those that `out` has are read from it."""
    log = out / "scores.jsonl"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    yield from known
    done = {(row["picture"], row["input"]) for row in known}
    upscalers = models(scale)
    for seed, path in enumerate(sorted(val.iterdir())):
        folder = out / path.stem
        hr = original(path)
        if not folder.exists():
            folder.mkdir(parents=True)
            degrade(hr, folder, scale, seed)
        for each in sorted(folder.iterdir()):
            if (path.stem, each.stem) in done:
                continue
            x, target = read(each, as_tensor(np.asarray(hr)), scale)
            row: dict[str, Any] = {"picture": path.stem, "input": each.stem, "file": str(each.relative_to(out))}
            for name, upscaler in upscalers.items():
                started = process_time()
                y = upscaler.upscale_to(x, scale).clamp(0, 1).mul(255).round() / 255
                lpips = float(metric(y, target))
                row[name] = {"lpips": lpips, "psnr": psnr_y(255 * y, 255 * target, scale)}
                row[name]["seconds"] = process_time() - started
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            yield row


def table(rows: list[dict[str, Any]], scale: int) -> str:
    """Return the mean LPIPS and PSNR-Y by kind of input: each model, what is chosen, and the best for each picture."""
    ends = [f"dagan-x{scale}", f"dagan-x{scale}-real"]
    names = [name for name in models(scale) if name in rows[0]]
    lines = ["| input | " + " | ".join((*names, "**auto**", "better of two, per picture", "auto chose `-real`")) + " |"]
    lines.append("| --- |" + " ---: |" * (len(names) + 3))
    for kind in [*dict.fromkeys(row["input"] for row in rows), "all"]:
        some = [row for row in rows if kind in (row["input"], "all")]

        def mean(values: list[float]) -> float:
            return sum(values) / len(values)

        cells = [
            f"{mean([row[name]['lpips'] for row in some]):.3f}, {mean([row[name]['psnr'] for row in some]):.2f}"
            for name in names
        ]
        lpips, psnr = (mean([row[row["auto"]][score] for row in some]) for score in ("lpips", "psnr"))
        better = mean([min(row[end]["lpips"] for end in ends) for row in some])
        degraded = sum(row["auto"] == ends[1] for row in some)
        cells += [f"**{lpips:.3f}**, {psnr:.2f}", f"{better:.3f}", f"{degraded} of {len(some)}"]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gain_of_other_limits(rows: list[dict[str, Any]], scale: int) -> str:
    """Say by how much the mean LPIPS of what is chosen could fall with other limits than those of `auto`."""
    names = ("_NOISE", "_RESOLUTION", "_QUALITY", "_FILTERED_QUALITY")
    steps = (np.arange(1, 5, 0.5).tolist(), (0.8, 0.85, 0.9, 0.93, 0.95, 0.98), range(80, 96), range(74, 88, 2))
    present = tuple(getattr(auto, name) for name in names)

    def chosen(limits: Iterable[float]) -> float:
        for name, limit in zip(names, limits, strict=True):
            setattr(auto, name, limit)
        return sum(row[model_for(Analysis(**row["analysis"]), scale)]["lpips"] for row in rows) / len(rows)

    tried = {limits: chosen(limits) for limits in (*product(*steps), present)}
    chosen(present)  # sets them again
    best = min(tried, key=tried.__getitem__)
    return (
        f"{len(tried)} limits: {tried[present]:.4f} now, {tried[best]:.4f} with {dict(zip(names, best, strict=True))}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("val", type=Path)
    parser.add_argument("lpips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scale", type=int, choices=(2, 4), default=4)
    parser.add_argument("--fit", type=int, default=0, help="pictures, the first ones, that the limits were fitted to")
    given = parser.parse_args()
    rows = []
    given.out.mkdir(parents=True, exist_ok=True)
    for row in scores(given.val, Lpips.load(given.lpips), given.out, given.scale):
        rows.append(row)
        print(f"{len(rows)}: {row['picture']} {row['input']}", file=sys.stderr)
    for row in rows:
        analysis, row["seconds per megapixel"] = analysed(given.out / row["file"])
        row["analysis"], row["auto"] = asdict(analysis), model_for(analysis, given.scale)
    (given.out / "choices.json").write_text(json.dumps(rows))
    fitted = sorted({row["picture"] for row in rows})[: given.fit]
    some, others = ([row for row in rows if (row["picture"] in fitted) == inside] for inside in (True, False))
    for kind in (others, some):
        if kind:
            print(table(kind, given.scale))
    if some:
        print(gain_of_other_limits(some, given.scale))


if __name__ == "__main__":
    main()
