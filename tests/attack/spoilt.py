"""Mutate images and clips, and run `dagan probe` and `dagan upscale` on each, all in one process.

    python -m tests.attack.spoilt images|clips SEED FIRST COUNT FOLDER

It prints a JSON line before each mutant and one after it, so that another process sees which of them ended or stopped
this one. A mutant must end with a documented exit code, say in two lines what is wrong, and leave nothing but a result.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import io
import json
import os
import random
import shutil
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image, ImageCms

from dagan_cli.commands.app import run_command
from dagan_cli.media.sniff import is_picture, looks_like_video
from tests.attack.mutants import damaged
from tests.media.images.decoders.test_heif import coded, heic
from tests.support.clips import clip_with_times
from tests.support.images import info_of, noise, photo, pillow, saved, written
from tests.support.tiny import clip, ffmpeg

LONGEST = 60.0  # seconds for one mutant
LIMIT = "4"  # megapixels; a mutant that declares more is refused rather than enlarged for minutes
ENDS = {0, 1, 3}  # done, or the only input is not usable
EDGE = 1024  # bytes at the start and the end of a file, where its structure mostly is

Chance = random.Random


# --- originals


def images() -> dict[str, bytes]:
    """Small files of every format that is read, with metadata."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Ace", 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">me</x:xmpmeta>'
    rgb, rgba, deep = (noise(24, 32, n, dtype=kind) for n, kind in ((3, "u1"), (4, "u1"), (3, "u2")))
    smooth = pillow(photo((48, 64, 3)))
    told: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    film = [pillow(noise(16, 20, 3, seed=seed)) for seed in range(3)]
    moves: dict[str, Any] = {"save_all": True, "append_images": film[1:], "duration": 80}
    found = {
        "a.jpg": saved(smooth, "JPEG", xmp=xmp, comment=b"mine", **told),
        "progressive.jpg": saved(smooth, "JPEG", progressive=True),
        "cmyk.jpg": saved(smooth.convert("CMYK"), "JPEG"),
        "a.png": saved(pillow(rgba), "PNG", **told),
        "deep.png": written([deep], info_of(deep, depth=16, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0"), "png"),
        "palette.png": saved(smooth.quantize(16), "PNG", transparency=3),
        "moving.png": saved(film[0], "PNG", **moves),
        "a.webp": saved(smooth, "WEBP", xmp=xmp, **told),
        "lossless.webp": saved(pillow(rgba), "WEBP", lossless=True),
        "moving.webp": saved(film[0], "WEBP", **moves),
        "a.tif": saved(pillow(rgb), "TIFF", compression="tiff_lzw", **told),
        "deflate.tif": written([deep, deep], info_of(deep, depth=16, format="TIFF", frames=2), "tiff"),
        "fax.tif": saved(smooth.convert("1"), "TIFF", compression="group4"),
        "a.gif": saved(film[0], "GIF", comment=b"mine", **moves),
        "a.avif": saved(smooth, "AVIF", **told),
        "moving.avif": saved(film[0], "AVIF", **moves),
        "a.jp2": saved(smooth, "JPEG2000"),
        "a.j2k": saved(pillow(rgb), "JPEG2000", no_jp2=True),
        "a.pfm": b"PF\n32 24\n-1.0\n" + (rgb / 255).astype("<f4").tobytes(),
        "a.ppm": saved(pillow(rgb), "PPM"),
        "deep.pgm": b"P5\n32 24\n65535\n" + noise(24, 32, dtype="u2").astype(">u2").tobytes(),
        "a.bmp": saved(pillow(rgb), "BMP"),
        "palette.bmp": saved(smooth.quantize(16), "BMP"),
        "a.tga": saved(pillow(rgba), "TGA", compression="tga_rle"),
        "a.qoi": b"qoif" + struct.pack(">IIBB", 32, 24, 3, 0) + _qoi(rgb) + bytes(7) + b"\1",
    }
    for name, options in (("float.tif", {}), ("tiled.tif", {"tile": (16, 16), "compression": "zlib"})):
        with io.BytesIO() as buffer:
            data = (rgb / 255).astype("f4") if name == "float.tif" else deep
            tifffile.imwrite(buffer, data, photometric="rgb", **options)
            found[name] = buffer.getvalue()
    return found


def _qoi(rgb: np.ndarray) -> bytes:
    return b"".join(b"\xfe" + bytes(pixel) for pixel in rgb.reshape(-1, 3))


def made_by_ffmpeg(folder: Path) -> dict[str, bytes]:
    """Images that need an encoder of FFmpeg."""
    found = {}
    for bits in (8, 10):
        found[f"{bits}.heic"] = heic([coded(folder, bits)], turn=1, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<a/>")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x24", "-frames:v", "1", "-pix_fmt", "rgb48", folder / "deep.jp2")
    found["deep.jp2"] = (folder / "deep.jp2").read_bytes()
    if importlib.util.find_spec("pillow_jxl"):
        for name, pix_fmt in (("a.jxl", "rgba"), ("deep.jxl", "gray16le")):
            ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x24", "-frames:v", "1", "-pix_fmt", pix_fmt, folder / name)
            found[name] = (folder / name).read_bytes()
    return found


def clips(folder: Path) -> dict[str, bytes]:
    """Short clips in every container, with sound, subtitles, chapters and metadata."""
    (folder / "a.srt").write_text("1\n00:00:00,000 --> 00:00:00,300\nHello\n")
    chapters = ";FFMETADATA1\ntitle=Mine\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
    (folder / "chapters.txt").write_text(chapters)
    x264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
    more = ("-i", str(folder / "a.srt"), "-i", str(folder / "chapters.txt"), "-map_metadata", "3", "-t", "0.4")
    more += ("-map", "0", "-map", "1", "-map", "2")
    paths = [
        clip(folder / "a.mp4", *more, *x264, "-c:s", "mov_text", "-bf", "2"),
        clip(folder / "fragmented.mp4", *x264, "-movflags", "frag_keyframe+empty_moov"),
        clip(folder / "a.mkv", *more, *x264, "-c:s", "srt"),
        clip(folder / "lossless.mkv", "-c:v", "ffv1", "-c:a", "flac"),
        clip(folder / "hevc.mkv", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-an"),
        clip(folder / "a.ts", *x264),
        clip(folder / "mpeg2.ts", "-c:v", "mpeg2video", "-c:a", "mp2"),
        clip(folder / "a.avi", "-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"),
        clip(folder / "mjpeg.avi", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-an"),
        clip(folder / "a.webm", "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
        clip(folder / "vp9.webm", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-an"),
        clip(folder / "a.mov", *x264),
        clip(folder / "prores.mov", "-c:v", "prores_ks", "-c:a", "pcm_s16le"),
        clip(folder / "a.mpg", "-c:v", "mpeg1video", "-c:a", "mp2"),
        clip(folder / "a.flv", "-c:v", "flv1", "-an"),
        clip(folder / "a.y4m", "-an", "-pix_fmt", "yuv420p"),
        clip_with_times(folder / "uneven.mkv", [0, 40, 41, 110, 300]),
    ]
    return {path.name: path.read_bytes() for path in paths}


def of_reports(kind: str) -> dict[str, bytes]:
    """Files that users reported, if DAGAN_TEST_DATA has them."""
    folder = Path(os.environ.get("DAGAN_TEST_DATA", "")) / "reports"
    known = is_picture if kind == "images" else looks_like_video
    return {f"reported-{p.name}": p.read_bytes() for p in sorted(folder.glob("*.*")) if known(p)}


def originals(kind: str, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    made = images() | made_by_ffmpeg(folder) if kind == "images" else clips(folder)
    return made | of_reports(kind)


# --- mutants


def mutant(chance: Chance, data: bytes) -> tuple[bytes, str]:
    """The start, the end or any part of a file is damaged; or the file is cut."""
    place = chance.choice(("start", "start", "end", "any", "any", "cut"))
    if place == "cut":
        return data[: chance.randrange(len(data))], "cut"
    if place == "start":
        part, how = damaged(chance, data[:EDGE])
        return part + data[EDGE:], f"{how} at the start"
    if place == "end":
        part, how = damaged(chance, data[-EDGE:])
        return data[:-EDGE] + part, f"{how} at the end"
    return damaged(chance, data)


def run(arguments: list[object], log: Path) -> tuple[Any, str]:
    """Exit code, or the name of what was raised, and all that was printed, also by libraries."""
    with log.open("w") as file:
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        code: Any
        try:
            code = run_command([str(argument) for argument in arguments])
        except BaseException as error:
            code = f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for old, number in zip(kept, (1, 2), strict=True):
                os.dup2(old, number)
                os.close(old)
    return code, log.read_text(errors="replace")


def faults(verb: str, code: Any, text: str, source: Path) -> list[str]:
    """What is wrong with an end, and with what it left next to the source and in `out`."""
    found = [] if code in ENDS else [f"ends with {code}"]
    if "Traceback" in text:
        found.append("prints a traceback")
    errors = sum(line.startswith("error: ") for line in text.splitlines())
    if code in ENDS and code != 0 and (not errors or text.count("  try: ") < errors):
        found.append("does not say what is wrong and what to do")
    if len(text) > 20_000:
        found.append(f"prints {len(text):,} characters")
    names = {path.name for path in (source.parent / "out").iterdir()}
    results = [name for name in names if not (name.endswith(".made") and len(names) == 2)]  # a record
    due = verb == "upscale" and (code == 0 or (code == 1 and "is incomplete" in text))
    if len(results) != due or any(name.startswith(".") for name in results):
        found.append(f"leaves {results}")
    stray = {path.name for path in source.parent.iterdir()} - {source.name, "out"}
    return found + ([f"leaves {stray}"] if stray else [])


def tried(what: str, source: Path, log: Path, options: tuple[str, ...]) -> dict[str, Any]:
    """Run both commands: their exit codes, what is wrong, and the seconds."""
    began = time.perf_counter()
    result: dict[str, Any] = {"what": what, "codes": [], "wrong": []}
    for verb, choices in (
        ("probe", ()),
        ("upscale", ("-s", "2", "-n", "bicubic", "-o", source.parent / "out", *options)),
    ):
        code, text = run([verb, source, *choices], log)
        result["codes"].append(code)
        result["wrong"] += [f"{verb} {fault}: {text[-600:]}" for fault in faults(verb, code, text, source)]
    return result | {"seconds": round(time.perf_counter() - began, 3)}


def main(kind: str, seed: int, first: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    kept = originals(kind, folder / "originals")
    names = sorted(kept)
    options = ("--max-megapixels", LIMIT, *(("--preset", "ultrafast") if kind == "clips" else ()))
    bench, wrong = folder / "bench", folder / "wrong"
    wrong.mkdir(exist_ok=True)
    with (folder / "stacks").open("a") as stacks, (folder / "results.jsonl").open("a") as results:
        for number in range(first, first + count):
            chance = Chance(f"{seed} {kind} {number}")
            name = names[number % len(names)]
            data, how = mutant(chance, kept[name])
            shutil.rmtree(bench, ignore_errors=True)
            (bench / "out").mkdir(parents=True)
            (bench / name).write_bytes(data)
            what = f"{kind} {number}: {name}, {how}"
            print(json.dumps({"began": number, "what": what}), flush=True)
            faulthandler.dump_traceback_later(LONGEST - 5, file=stacks)  # shows where it hangs
            line = json.dumps(tried(what, bench / name, folder / "log", options))
            faulthandler.cancel_dump_traceback_later()
            print(line, flush=True)
            results.write(f"{line}\n")
            results.flush()
            if json.loads(line)["wrong"]:
                (wrong / f"{number}-{name}").write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
