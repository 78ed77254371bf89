"""Pixels of a PNG: one stream for every reader, the same bytes from any number of threads, and about Pillow's size."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from dagan_cli.media.images import png_pixels
from dagan_cli.media.images.png_pixels import compressed, paeth
from tests.support.images import ffmpeg_decode, info_of, noise, opened, pillow, saved, written

PIX_FMT = {1: "gray", 2: "ya8", 3: "rgb24", 4: "rgba"}


def natural(side: int, channels: int, seed: int = 0) -> np.ndarray:
    """A picture with the spectrum of photographs, 1/f, enlarged fourfold as an upscaler does."""
    rng = np.random.default_rng(seed)
    small = side // 4
    frequency = np.hypot(np.fft.fftfreq(small)[:, None], np.fft.rfftfreq(small)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(channels, small, small))) / frequency
    spectrum[1:] = 0.7 * spectrum[:1] + 0.3 * spectrum[1:]  # channels are alike
    planes = np.fft.irfft2(spectrum, (small, small))
    planes = (planes - planes.mean()) / planes.std() * 45 + 128
    large = [
        Image.fromarray(plane.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC) for plane in planes
    ]
    return np.clip(np.rint(np.stack([np.asarray(plane) for plane in large], axis=2)), 0, 255).astype(np.uint8)


def drawn(side: int) -> np.ndarray:
    """A screen of text: a few glyphs on a flat ground, again and again."""
    rng = np.random.default_rng(1)
    glyphs = (rng.random((8, 16, 8)) < 0.4).astype(np.uint8) * 200
    rows = [np.concatenate([glyphs[i] for i in rng.integers(0, 8, side // 8)], axis=1) for _ in range(side // 16)]
    return np.repeat(255 - np.concatenate(rows)[..., None], 3, axis=2)


def slow_paeth(lines: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    """The filter as the specification words it, byte by byte."""
    out = np.zeros((len(lines), 1 + lines.shape[1]), np.uint8)
    out[:, 0] = 4
    for row, (line, up) in enumerate(zip(lines, [above, *lines], strict=False)):
        for i, value in enumerate(line.tolist()):
            a, c = (int(line[i - pixel]), int(up[i - pixel])) if i >= pixel else (0, 0)
            b = int(up[i])
            p = a + b - c
            guess = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            out[row, 1 + i] = (value - guess) % 256
    return out


@pytest.mark.parametrize("pixel", [1, 2, 3, 4, 6, 8])
def test_the_filter_is_paeth_s_also_where_blocks_of_it_meet(monkeypatch, pixel):
    monkeypatch.setattr(png_pixels, "_BLOCK", 3 * 24)  # three rows
    lines = noise(8, 24)
    lines[::2, ::3] = 7  # ties
    np.testing.assert_array_equal(
        paeth(lines, noise(1, 24, seed=1)[0], pixel), slow_paeth(lines, noise(1, 24, seed=1)[0], pixel)
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_any_number_of_threads_gives_the_same_bytes(monkeypatch, channels, dtype):
    monkeypatch.setattr(png_pixels, "_BAND", 20_000)
    frame = np.concatenate([natural(96, channels), noise(40, 96, channels), np.zeros((40, 96, channels), "u1")])
    frame = frame.astype(dtype) * np.array(1 if dtype == "u1" else 251, dtype)
    alone, *others = (b"".join(compressed(frame, threads)) for threads in (1, 2, 5, None))
    assert others == [alone] * 3
    assert len(zlib.decompress(alone)) == len(frame) * (1 + 96 * channels * frame.itemsize)  # checks Adler-32 too


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "make",
    [
        natural,
        lambda side, channels: drawn(side)[..., [0] * channels],
        lambda side, channels: noise(side, side, channels),
    ],
)
def test_a_png_of_several_bands_is_whole_for_pillow_and_ffmpeg(monkeypatch, make, channels):
    monkeypatch.setattr(png_pixels, "_BAND", 20_000)
    frame = make(128, channels)
    data = written([frame], info_of(frame), "png")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(frame.shape), frame)
    np.testing.assert_array_equal(ffmpeg_decode(data, PIX_FMT[channels], frame.shape), frame)


def test_an_animation_of_several_bands_is_whole(monkeypatch):
    monkeypatch.setattr(png_pixels, "_BAND", 5_000)
    frames = [natural(64, 3, seed) for seed in range(3)]
    info, found = opened(written(frames, info_of(frames[0], frames=3, durations=(40.0, 80.0, 40.0)), "png"))
    assert info.frames == 3
    np.testing.assert_array_equal(found, frames)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_result_is_as_small_as_pillow_writes_it(channels):
    frame = natural(768, channels)
    assert len(written([frame], info_of(frame), "png")) < 1.05 * len(saved(pillow(frame), "PNG"))


def test_a_screen_is_as_small_as_pillow_writes_it():
    frame = drawn(768)
    assert len(written([frame], info_of(frame), "png")) < 1.05 * len(saved(pillow(frame), "PNG"))


def test_of_a_large_frame_a_few_bands_are_in_memory(monkeypatch):
    monkeypatch.setattr(png_pixels, "_BAND", 10_000)
    made: list[int] = []
    deflated = png_pixels._deflated
    monkeypatch.setattr(
        png_pixels, "_deflated", lambda frame, rows, top: (made.append(top), deflated(frame, rows, top))[1]
    )
    pieces = compressed(noise(2000, 100, 1), threads=2)
    next(pieces)
    next(pieces)
    assert len(made) <= 7
    pieces.close()  # type: ignore[attr-defined]  # it is a generator
