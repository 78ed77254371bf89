"""Animations keep their frames, times and plays."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.support.images import (
    ffmpeg_decode,
    info_of,
    noise,
    opened,
    photo,
    pillow,
    saved,
    written,
)


@pytest.mark.parametrize(
    ("format", "options"),
    [("GIF", {"disposal": 2}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 100})],
)
def test_animations_keep_frames_times_and_plays(format, options):
    frames = [photo((12, 10, 3)) // 32 * 32 for _ in range(3)]
    for index, frame in enumerate(frames):
        frame[index * 3 : index * 3 + 3] = 255 - frame[index * 3 : index * 3 + 3]
    first, *others = [pillow(frame) for frame in frames]
    times = [100, 40, 250]
    data = saved(first, format, save_all=True, append_images=others, duration=times, loop=0, **options)
    info, read = opened(data)
    assert (info.frames, info.durations, info.plays) == (3, (100.0, 40.0, 250.0), 0)
    again, copies = opened(written(read, info, format))
    assert (again.frames, again.durations, again.plays) == (3, (100.0, 40.0, 250.0), 0)
    worst = max(np.abs(a.astype(int) - b).max() for a, b in zip(read, copies, strict=True))
    assert worst <= (24 if format == "AVIF" else 0)
    judge = Image.open(io.BytesIO(written(read, info, format)))
    assert getattr(judge, "n_frames", 1) == 3


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_equal_neighbouring_frames_are_not_merged(format):
    frame = photo((8, 8, 3)) // 64 * 64
    info = info_of(frame, frames=4, durations=(30.0, 30.0, 30.0, 30.0), plays=2)
    again, copies = opened(written([frame] * 4, info, format, lossless=format == "WEBP"))
    assert (again.frames, again.durations, again.plays) == (4, (30.0,) * 4, 2)
    np.testing.assert_array_equal(copies, [frame] * 4)


def test_a_16_bit_apng_is_written_whole():
    frames = [noise(4, 5, 3, dtype="u2", seed=seed) for seed in range(2)]
    info = info_of(frames[0], frames=2, durations=(1000 / 30, 70.0))
    data = written(frames, info, "png")
    np.testing.assert_array_equal(ffmpeg_decode(data, "rgb48le", (2, 4, 5, 3), "-f", "apng"), frames)
    assert opened(data)[0].durations == pytest.approx(info.durations, abs=0.01)
