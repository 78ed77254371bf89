"""Photographs, drawings and screens are told apart, and interlaced frames from stripes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dagan_cli.analysis.content import combing_of, content_of
from dagan_cli.analysis.patches import Patches, patches_of
from tests.support.sources import blurred, drawing, jpeg, noisy, photograph, screen


def patches(image: Image.Image | np.ndarray) -> Patches:
    found = patches_of(np.asarray(image))
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_photograph_stays_one(seed):
    image = photograph(seed)
    white = Image.new("RGB", (2 * image.width, 2 * image.height), "white")
    white.paste(image, (60, 60))
    for still in (image, jpeg(image, 40), noisy(image, 5), blurred(image, 2), white, jpeg(white, 75)):
        assert content_of(patches(still)) == "photo"


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_drawing_is_one_also_when_it_is_compressed_or_enlarged(seed):
    image = drawing(seed)
    for still in (image, jpeg(image, 85), image.resize((512, 384), Image.Resampling.BICUBIC)):
        assert content_of(patches(still)) == "drawing"


def test_a_screen_is_one_also_when_it_is_compressed():
    for still in (screen(), jpeg(screen(), 75)):
        assert content_of(patches(still)) == "screen"


def test_one_colour_is_no_content():
    assert content_of(patches(np.full((64, 64, 3), 9, np.uint8))) is None


def woven(first: Image.Image, second: Image.Image) -> np.ndarray:
    """A frame whose lines are of two images in turn."""
    pixels = np.array(first)
    pixels[1::2] = np.asarray(second)[1::2]
    return pixels


@pytest.mark.parametrize("seed", range(3))
def test_lines_of_two_times_are_seen(seed):
    image = photograph(seed, texture=0)
    moved = Image.fromarray(np.roll(np.asarray(image), 12, 1))
    assert combing_of(patches(woven(image, moved)))
    assert not combing_of(patches(image))
    assert not combing_of(patches(woven(image, image)))
    assert not combing_of(patches(np.swapaxes(woven(image, moved), 0, 1)))  # columns are not lines


def test_texture_and_noise_are_not_interlaced():
    random = np.random.default_rng(0)
    assert not combing_of(patches(random.integers(0, 256, (128, 128, 3), np.uint8)))
    assert not combing_of(patches(noisy(photograph(), 15)))
