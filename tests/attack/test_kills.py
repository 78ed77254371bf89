"""Killed at random moments: no half-written name, no lost frame, and the next run ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
from PIL import Image

from tests.attack.conftest import FULL, Figure
from tests.support import nursery
from tests.support.tiny import clip, left_over, noise, picture

KILLS = 11 if FULL else 1  # of each kind


def animation(path: Path) -> Path:
    """An animation, or a file of several pages."""
    frames = [Image.fromarray(noise(40, 40, 3, seed=number)) for number in range(12)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    return path


def moving(path: Path) -> Path:
    return clip(path, *({".mkv": ("-c:v", "ffv1", "-an"), ".mp4": ()}[path.suffix]), seconds=8)


def frames(path: Path) -> list[bytes]:
    """Every frame or page as decoded, with its time."""
    if path.suffix in (".mkv", ".mp4"):
        with av.open(str(path)) as video:
            return [f"{f.pts} ".encode() + f.to_ndarray().tobytes() for f in video.decode(video=0)]
    with Image.open(path) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append(f"{image.info.get('duration')} ".encode() + np.asarray(image.convert("RGB")).tobytes())
    return found


MAKERS = {
    ".png": lambda path: picture(path, (220, 220)),
    ".jpg": lambda path: picture(path, (220, 220)),
    ".tif": animation,
    ".gif": animation,
    ".webp": animation,
    ".avif": lambda path: picture(path, (160, 160)),
    ".mkv": moving,
    ".mp4": moving,
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", MAKERS)
def test_a_killed_run_leaves_nothing_half_written_and_the_next_one_completes_it(
    tmp_path, tiny_model, figure: Figure, suffix
):
    chance = Random(suffix)
    source = MAKERS[suffix](tmp_path / f"in{suffix}")
    options = [
        source,
        "-n",
        tiny_model,
        "-s",
        2,
        "--device",
        "cpu",
        "-t",
        48,
        *(["-c", "ffv1", "--grain", 0.7] if suffix == ".mkv" else []),
    ]
    whole, target = tmp_path / f"whole{suffix}", tmp_path / "out" / f"out{suffix}"
    process = nursery.start([*options, "-o", whole], tmp_path / "log")
    process.join(nursery.PATIENCE)
    assert process.exitcode == 0, (tmp_path / "log").read_text()
    expected, kills, changed, half = frames(whole), 0, 0, 0
    for _ in range(KILLS):
        process = nursery.start([*options, "-o", target], tmp_path / "log")
        kills += nursery.kill_at(process, lambda: bool(left_over(tmp_path / "out")), chance.uniform(0, 0.5))
        if target.exists():
            changed += frames(target) != expected
            target.unlink()
        half += sum(not path.name.startswith(".dagan-") for path in target.parent.iterdir())
    process = nursery.start([*options, "-o", target], tmp_path / "log")
    process.join(nursery.PATIENCE)
    assert process.exitcode == 0, (tmp_path / "log").read_text()
    changed += frames(target) != expected
    assert (changed, half) == (0, 0)
    assert left_over(tmp_path) == []
    named = f"kills, {suffix}: tried, while at work, results that differ, half-written names"
    figure(named, f"{KILLS}, {kills}, {changed}, {half}")
