"""Noise is measured as it was added; texture is not taken for noise."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dagan_cli.analysis.noise import Noise, noise_of
from dagan_cli.analysis.patches import Patches, patches_of
from tests.support.sources import blurred, noisy, photograph


def noise(image: Image.Image | np.ndarray) -> Noise:
    patches = patches_of(np.asarray(image))
    assert patches is not None
    found = noise_of(patches)
    assert found is not None
    return found


@pytest.mark.parametrize("sigma", [2, 5, 15])
@pytest.mark.parametrize("seed", range(3))
def test_white_noise_is_measured_as_it_was_added(sigma, seed):
    found = noise(noisy(photograph(seed), sigma))
    assert found.sigma == pytest.approx(sigma, rel=0.15)
    assert not found.grain


def test_noise_of_each_channel_is_that_of_luma():
    image = np.full((128, 128, 3), 120) + np.random.default_rng(0).normal(0, 10, (128, 128, 3))
    expected = 10 * np.sqrt(0.299**2 + 0.587**2 + 0.114**2)
    assert noise(np.rint(image).astype(np.uint8)).sigma == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_grain_is_told_from_white_noise(seed):
    found = noise(noisy(photograph(seed, 320, 256), 5, grain=True))
    assert found.grain
    assert found.sigma == pytest.approx(5, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_clean_images_have_none(seed):
    image = photograph(seed)
    for clean in (image, blurred(image, 1), image.resize((128, 96), Image.Resampling.BICUBIC)):
        assert noise(clean).sigma < 0.5
        assert not noise(clean).grain


def test_texture_everywhere_is_not_noise():
    """Blades of grass, of all brightnesses, over the whole image."""
    random = np.random.default_rng(0)
    image = Image.new("RGB", (512, 512))
    draw = ImageDraw.Draw(image)
    for x, y, across, level in random.integers((0, 0, -12, 40), (512, 512, 13, 220), (9000, 4)).tolist():
        draw.line((x, y, x + across, y - 40), fill=(level // 2, level, level // 3), width=4)
    grass = noise(image.resize((256, 256), Image.Resampling.BICUBIC))
    assert grass.sigma < 2
    assert not grass.grain


def test_blown_highlights_do_not_hide_noise():
    pixels = np.asarray(noisy(Image.new("L", (160, 160), 100).convert("RGB"), 6)).copy()
    pixels[:60] = 255
    assert noise(pixels).sigma == pytest.approx(6, rel=0.15)


def test_sixteen_bits_and_floats_have_the_noise_of_eight():
    pixels = np.asarray(noisy(photograph(), 5))
    eight = noise(pixels).sigma
    assert noise(pixels.astype(np.uint16) * 257).sigma == pytest.approx(eight, abs=0.05)
    assert noise(pixels.astype(np.float32) / np.float32(255)).sigma == pytest.approx(eight, abs=0.05)


def test_the_extremes_of_luma_do_not_overflow():
    checkers = (np.indices((1, 64, 64)).sum(0) % 2 * 4080).astype(np.int16)
    assert noise_of(Patches(checkers)) == Noise(127.5, False)


def test_few_pixels_say_nothing():
    patches = patches_of(np.asarray(photograph(width=48, height=48)))
    assert patches is not None
    assert noise_of(patches) is None
