"""Small files that declare much, and long ones: bounded memory, or refused before the work with what allows them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from PIL import Image

from dagan_cli.media import images
from tests.attack.conftest import FULL, Figure
from tests.conftest import Cli
from tests.support.tiny import command

full = pytest.mark.skipif(not FULL, reason="it takes minutes: make attack")
MIB = 1 << 20


def gif(path: Path, frames: int, side: int) -> Path:
    """A GIF of equal frames, as small as they get: every one repeats the bytes of the first."""
    buffer = io.BytesIO()
    image = Image.new("P", (side, side))
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(buffer, "GIF")
    data = buffer.getvalue()
    start = 13 + (6 << (data[10] & 7))
    body = data[start:-1].removeprefix(b"!\xf9\x04\0\0\0\0\0")
    with path.open("wb") as file:
        file.write(b"GIF89a" + data[6:start])
        for _ in range(frames):
            file.write(b"!\xf9\x04\0\x04\0\0\0" + body)
        file.write(b";")
    return path


def pages(path: Path, count: int, side: int) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for _ in range(count):
            page = np.zeros((side, side), np.uint8)
            writer.write(page, photometric="minisblack", compression="zlib", metadata=None, software=False)
    return path


def watched(*arguments: object) -> tuple[int, float, list[int], str]:
    """Run `dagan`; return its exit code, seconds, memory in MiB at 10, 50 and 95 % and at most, and what it said."""
    began = time.monotonic()
    with subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        seen, said = [], b""
        while process.poll() is None:
            seen.append(_anonymous(process.pid))
            said += process.stderr.read() or b""
            time.sleep(0.02)
        said += process.stderr.read() or b""
    working = [memory for memory in seen if memory] or [0]
    at = [working[min(len(working) - 1, int(share * len(working)))] for share in (0.1, 0.5, 0.95)]
    return process.returncode, time.monotonic() - began, [*at, max(working)], said.decode()


def _anonymous(pid: int) -> int:
    """Memory of a process without what is mapped from files, in MiB: the system can write those back and drop them."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) >> 10 if found else 0


# --- refused before the work


@pytest.mark.parametrize("make", [lambda path: gif(path, 50, 16000)] if FULL else [], ids=["GIF of 50 x 16000x16000"])
def test_a_small_file_of_many_large_frames_is_refused_before_one_is_decoded(cli: Cli, tmp_path, figure: Figure, make):
    source = make(tmp_path / "in.gif")
    began = time.monotonic()
    ran = cli(source, "-n", "nearest", "-s", 2)
    figure(
        f"refused, {source.stat().st_size / 1e6:.1f} MB GIF of 50 frames of 16000x16000: seconds",
        round(time.monotonic() - began, 2),
    )
    assert ran.code == 3
    assert "50 frames of 16000x16000" in ran.err
    assert "--max-megapixels" in ran.err


@pytest.mark.parametrize("name", ["many.gif", "many.tif", "large.png"])
def test_the_flag_that_is_named_allows_what_is_refused(cli: Cli, tmp_path, name):
    source = tmp_path / name
    if name == "large.png":
        Image.new("L", (40, 40)).save(source)
    else:
        (gif if name == "many.gif" else pages)(source, 20, 10)
    ran = cli(source, "-n", "nearest", "-s", 1, "--max-megapixels", 0.0001)
    assert ran.code == 3
    assert "--max-megapixels" in ran.err
    assert "20 frames of 10x10" in ran.err or "more than 0.0001 million pixels" in ran.err
    assert cli(source, "-n", "nearest", "-s", 1, "--max-megapixels", 0.01).code == 0


def test_an_encoder_that_needs_more_memory_than_there_is_is_not_started(cli: Cli, tmp_path, monkeypatch):
    source = tmp_path / "in.jpg"
    Image.new("RGB", (500, 500)).save(source)
    monkeypatch.setattr("dagan_cli.upscale.picture.free_host_memory", lambda: 10 * MIB)
    ran = cli(source, "-n", "nearest", "-s", 4)
    assert ran.code == 5
    assert "needs about 0.0 GB" in ran.err or "GB of memory" in ran.err
    assert "-f png" in ran.err
    assert cli(source, "-n", "nearest", "-s", 4, "-f", "png").code == 0


# --- bounded


def test_a_png_written_by_bands_holds_the_same_pixels(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    monkeypatch.setattr("dagan_cli.media.images.png_pixels._BAND", 5000)
    for channels in (1, 2, 3, 4):
        samples = np.concatenate([pixels, pixels], axis=2)[..., :channels]
        info = images.PictureInfo(format="PNG", width=200, height=300, channels=channels, depth=8)
        target = tmp_path / f"{channels}.png"
        images.write_picture(target, images.plan_output(info, target, (200, 300)), [samples])
        with Image.open(target) as image:
            assert (np.array(image).reshape(300, 200, channels) == samples).all()


@pytest.mark.parametrize("side", [16000] if FULL else [])
def test_a_large_flat_image_takes_bounded_memory(tmp_path, figure: Figure, side):
    source = tmp_path / "in.png"
    Image.new("L", (side, side), 128).save(source)
    code, seconds, memory, said = watched(source, "-n", "nearest", "-s", 2, "-o", tmp_path / "out.png")
    assert code == 0, said
    made = (2 * side) ** 2 / 1e6
    what = f"{source.stat().st_size // 1000} kB PNG of {side}x{side} to {made:.0f} megapixels"
    figure(
        f"{what}: seconds, MiB, bytes per pixel", f"{seconds:.0f}, {memory[-1]}, {memory[-1] * MIB / made / 1e6:.1f}"
    )
    assert memory[-1] * MIB < 20 * made * 1e6


@full
@pytest.mark.parametrize("kind", ["gif", "tif"])
def test_very_many_frames_take_memory_of_one(tmp_path, figure: Figure, kind):
    count = 100_000 if kind == "gif" else 10_000
    source = (gif if kind == "gif" else pages)(tmp_path / f"in.{kind}", count, 16)
    code, seconds, memory, said = watched(source, "-n", "nearest", "-s", 2, "-o", tmp_path / f"out.{kind}")
    assert code == 0, said
    figure(f"{count} frames of 16x16, {kind}: seconds; MiB at 10, 50, 95 %, most", f"{seconds:.0f}; {memory}")
    assert memory[-1] < memory[0] + 150


@full
def test_a_long_film_takes_the_memory_of_a_short_one(tmp_path, figure: Figure):
    source = tmp_path / "in.mkv"
    chance = np.random.default_rng(0)
    with av.open(str(source), "w") as out:
        video = out.add_stream("libx264", 25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        pts = 0
        for _ in range(20_000):
            frame = av.VideoFrame.from_ndarray(chance.integers(0, 256, (48, 32), dtype=np.uint8), "yuv420p")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            pts += int(chance.integers(20, 60))
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    code, seconds, memory, said = watched(source, "-n", "nearest", "-s", 2, "-o", tmp_path / "out.mkv")
    assert code == 0, said
    figure("20,000 frames of VFR film: seconds; MiB at 10, 50, 95 %, most", f"{seconds:.0f}; {memory}")
    assert memory[2] < memory[0] + 100


@full
def test_thousands_of_images_in_a_folder_take_the_memory_of_a_few(tmp_path, figure: Figure):
    folder = tmp_path / "in"
    folder.mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for number in range(3000):
        image.save(folder / f"{number:04d}.png")
    code, seconds, memory, said = watched(folder, "-n", "nearest", "-s", 2, "-o", tmp_path / "out")
    assert code == 0, said
    assert len(list((tmp_path / "out").iterdir())) == 3000
    figure("3,000 images in one folder: seconds; MiB at 10, 50, 95 %, most", f"{seconds:.0f}; {memory}")
    assert memory[2] < memory[0] + 60
