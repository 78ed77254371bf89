"""Measure how much the results of models flicker on short films, halved and enlarged again.

usage: python docs/experiments/flicker/measure.py OUT MODEL... -- FILM[@SECONDS]...

Of each film, 16 frames from that second on are shrunk to 320 pixels of width and kept as reference. Inputs are half as
large, lossless or compressed by x264 at CRF 28. OUT, a new folder, receives all films. It prints a table: PSNR-Y in dB,
VMAF and flicker in 8-bit code values, of each model on each input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg

FRAMES = 16
INPUTS = {"clean": ("ffv1",), "web": ("libx264", "-crf", "28")}


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments], check=True)


def dagan(*arguments: str | Path | int) -> str:
    command = [sys.executable, "-m", "dagan_cli", *map(str, arguments), "--progress", "none"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def reference(film: str, out: Path) -> Path:
    path, _, start = film.rpartition("@") if "@" in Path(film).name else (film, "", "0")
    target = out / f"{Path(path).stem}.mkv"
    shrink = ("-vf", "scale=320:-4:flags=lanczos", "-pix_fmt", "yuv420p")
    ffmpeg("-ss", start, "-i", path, "-frames:v", str(FRAMES), *shrink, "-an", "-c:v", "ffv1", target)
    return target


def measured(reference: Path, kind: str, model: str) -> dict[str, float]:
    """Return the scores of a model on an input of one film."""
    small = reference.with_stem(f"{reference.stem}-{kind}")
    result = reference.with_stem(f"{reference.stem}-{kind}-{Path(model).stem}")
    if not small.exists():
        ffmpeg("-i", reference, "-vf", "scale=iw/2:ih/2:flags=bicubic", "-c:v", *INPUTS[kind], small)
    dagan("upscale", small, "-s", 2, "-n", model, "-c", "ffv1", "-o", result, "-y")
    return json.loads(dagan("compare", reference, result, "--json"))["means"][0]["scores"]


def main(out: Path, models: list[str], films: list[str]) -> None:
    out.mkdir(parents=True)
    print("| film, input |", " | ".join(models), "|")
    print("| --- |", " | ".join("---:" for _ in models), "|")
    for film in films:
        held = reference(film, out)
        for kind in INPUTS:
            cells = [cell(measured(held, kind, model)) for model in models]
            print(f"| {held.stem}, {kind} |", " | ".join(cells), "|", flush=True)


def cell(scores: dict[str, float]) -> str:
    return f"{scores['psnr_y']:.2f}, {scores['vmaf']:.1f}, {scores['flicker']:.2f}"


if __name__ == "__main__":
    if "--" not in sys.argv:
        sys.exit(__doc__)
    split = sys.argv.index("--")
    main(Path(sys.argv[1]), sys.argv[2:split], sys.argv[split + 1 :])
