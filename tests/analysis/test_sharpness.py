"""Resolution falls with enlargement and blur, and not with what else happens to an image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dagan_cli.analysis.patches import patches_of
from dagan_cli.analysis.sharpness import resolution_of
from tests.support.sources import blurred, jpeg, noisy, photograph


def resolution(image: Image.Image | np.ndarray) -> float | None:
    patches = patches_of(np.asarray(image))
    assert patches is not None
    return resolution_of(patches)


def sharp(seed: int) -> Image.Image:
    return photograph(seed, texture=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_sharp_image_stays_sharp_with_noise_and_compression(seed):
    image = sharp(seed)
    for still in (image, noisy(image, 5), jpeg(image, 90), image.transpose(Image.Transpose.ROTATE_90)):
        assert resolution(still) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_an_enlarged_image_has_the_resolution_it_came_from(factor):
    image = sharp(0)
    larger = image.resize((factor * image.width, factor * image.height), Image.Resampling.BICUBIC)
    assert resolution(larger) == pytest.approx(1 / factor, rel=0.3)


def test_an_edge_that_a_gaussian_blurred_has_its_width():
    """A step that was blurred by sigma is sqrt(2 pi) sigma pixels wide, by its height over its slope."""
    step = np.repeat([[60.0, 180.0]], 64, 0).repeat(64, 1).repeat(2, 0)
    for sigma, expected in ((1, 0.41), (2, 0.21), (4, 0.1)):
        x = np.arange(-20, 21)
        kernel = np.exp(-(x**2) / 2 / sigma**2)
        row = np.convolve(np.pad(step[0], 20, "edge"), kernel / kernel.sum(), "valid")
        pixels = np.tile(np.rint(row).astype(np.uint8), (128, 1))[..., None]
        assert resolution(pixels) == pytest.approx(expected, abs=0.04)


@pytest.mark.slow
def test_more_blur_is_less_resolution():
    found = [resolution(blurred(sharp(1), sigma)) or 0 for sigma in (0.6, 1, 1.5, 2, 3)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.6
    assert found[-1] < 0.2


def test_without_edges_there_is_no_resolution():
    slope = np.tile(np.arange(128, dtype=np.uint8), (128, 1))[..., None]
    assert resolution(slope) is None
    assert resolution(np.full((64, 64, 3), 7, np.uint8)) is None
