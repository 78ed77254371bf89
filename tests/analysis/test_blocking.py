"""The quality of a JPEG is found in its pixels, wherever its grid is; what never was a JPEG has none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dagan_cli.analysis.blocking import Blocking, blocking_of
from dagan_cli.analysis.patches import patches_of
from tests.support.images import saved
from tests.support.sources import blurred, jpeg, noisy, photograph, reread


def blocking(image: Image.Image | np.ndarray, **options) -> Blocking:
    patches = patches_of(np.asarray(image))
    assert patches is not None
    return blocking_of(patches, **options)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("quality", [15, 40, 60, 75, 85, 95])
def test_the_quality_is_found_in_the_pixels(quality, seed):
    assert blocking(jpeg(photograph(seed), quality)).quality == pytest.approx(quality, abs=1)


def test_the_grid_may_be_anywhere():
    pixels = np.asarray(jpeg(photograph(), 60))
    assert blocking(pixels[3:, 5:]).quality == pytest.approx(60, abs=1)
    assert blocking(np.flipud(pixels[:-3])).quality == pytest.approx(60, abs=1)


def test_the_lower_of_two_qualities_is_found():
    assert blocking(jpeg(jpeg(photograph(), 40), 95)).quality == pytest.approx(40, abs=1)


def test_tables_that_are_no_standard_tables_have_an_equivalent_quality():
    step = 12  # of all frequencies; the standard table has about 58, so that its 12 are those of a quality near 90
    assert blocking(jpeg(photograph(), 75, qtables=[[step] * 64] * 2)).quality == pytest.approx(82, abs=12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_other_images_are_not_taken_for_a_jpeg(seed):
    image = photograph(seed)
    larger = image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)
    webp = reread(saved(image, "WEBP", quality=60))
    for other in (image, larger, webp, noisy(image, 5), blurred(image, 1)):
        assert blocking(other) == Blocking(0.0, None)


@pytest.mark.slow
def test_steps_at_the_borders_grow_as_the_quality_falls():
    steps = [blocking(jpeg(photograph(), quality)).step for quality in (95, 75, 50, 25)]
    assert steps == sorted(steps)
    assert steps[0] < 0.3
    assert steps[-1] > 1


def test_the_steps_of_a_known_grid_are_measured_without_a_search():
    image = jpeg(photograph(), 60)
    found = blocking(image, search=False, known=((0, 0), (0, 4)))
    assert found.quality is None
    assert found.step == pytest.approx(blocking(image).step)


def test_steps_of_a_made_grid_are_measured():
    """Flat blocks whose levels differ by 2: each border has a step of 2."""
    levels = np.add.outer(np.arange(32), np.arange(32)) % 2 * 2 + 100
    pixels = levels.repeat(8, 0).repeat(8, 1).astype(np.uint8)[..., None]
    assert blocking(pixels, search=False).step == pytest.approx(2, abs=0.02)
    shifted = np.roll(pixels, (3, 5), (0, 1))
    assert blocking(shifted, search=False).step == pytest.approx(2, abs=0.1)
