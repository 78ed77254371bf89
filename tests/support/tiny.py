"""Small things to work on: pictures, clips, and `dagan` itself in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

MOVING = "testsrc2=size=48x32:rate=25"
# Without its macroblock tree, x264 makes the same bytes of the same frames. With it, on CPUs with AVX-512 and for
# frames 96, 112 or 336 wide, one encode of a hundred differs (docs/workers.md).
STEADY = ("-e", "mbtree=0")


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    """Random samples over the whole range of the type."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def picture(path: Path, size: tuple[int, int] = (12, 8), mode: str = "RGB", seed: int = 0) -> Path:
    """A still of random samples: mode L, LA, RGB or RGBA, or I;16 for 16-bit grey. `size` is (width, height)."""
    channels = {"L": (), "I;16": ()}.get(mode, (len(mode),))
    samples = noise(size[1], size[0], *channels, dtype="u2" if mode == "I;16" else "u1", seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    """The samples of a still, as Pillow sees them."""
    with Image.open(path) as image:
        return np.array(image)


def ffmpeg(*arguments: str | Path) -> str:
    """Another FFmpeg than the one under test; returns its standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def clip(path: Path, *options: str, seconds: float = 0.4, source: str = MOVING) -> Path:
    """A moving test picture with a tone, in the codecs that `options` name."""
    inputs = ("-f", "lavfi", "-i", source, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100")
    chosen = options or ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
    ffmpeg(*inputs, "-t", str(seconds), *chosen, path)
    return path


def frames_of(path: Path) -> list[tuple[Fraction, str]]:
    """When each frame is shown, in seconds, and a hash of it as decoded: as the other FFmpeg sees it."""
    as_it_is = ("-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", "demux", "-c:v", "rawvideo")
    text = ffmpeg("-copyts", "-i", path, *as_it_is, "-f", "framemd5", "-")
    base = Fraction(re.findall(r"#tb 0: (\S+)", text)[0])
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return [(int(row[2]) * base, row[-1].strip()) for row in rows]


def sound_of(path: Path) -> str:
    """A hash of the sound as it is stored."""
    return ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "streamhash", "-hash", "md5", "-")


def left_over(folder: Path) -> list[Path]:
    """Files that a run was writing and did not take away."""
    return list(folder.rglob(".dagan-*"))


def dagan(*arguments: object, stdin: bytes = b"", **options) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a user does, and wait for its end."""
    return subprocess.run(command(*arguments), input=stdin, capture_output=True, check=False, timeout=60, **options)


def command(*arguments: object) -> Sequence[str | bytes]:
    """The command line as a process is started with it."""
    return [sys.executable, "-m", "dagan_cli", *(os.fsencode(a) if isinstance(a, Path) else str(a) for a in arguments)]
