"""Colour under transparency does not leak into visible pixels."""

import numpy as np
import pytest
from PIL import Image

from dagan_cli.engine.samples import bleed
from tests.support.images import noise, pillow


def test_bleeding_fills_invisible_pixels_from_their_neighbours_only():
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, :4], colour[:, 12:] = (200, 10, 10), (10, 10, 200)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:, :4] = alpha[:, 12:] = 255
    filled = bleed(colour, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], colour[alpha > 0])
    np.testing.assert_array_equal(filled[:, 4], colour[:, 3])
    np.testing.assert_array_equal(filled[:, 11], colour[:, 12])


def test_bleeding_makes_no_fringe_when_a_cut_out_is_scaled():
    picture = np.zeros((32, 32, 4), np.uint8)
    y, x = np.mgrid[:32, :32]
    picture[(y - 16) ** 2 + (x - 16) ** 2 < 100] = (240, 200, 100, 255)
    colour = bleed(picture[..., :3], picture[..., 3])
    big = np.asarray(pillow(colour).resize((128, 128), Image.Resampling.BICUBIC)).astype(int)
    alpha = np.asarray(pillow(picture[..., 3:]).resize((128, 128), Image.Resampling.BICUBIC))
    assert np.abs(big[alpha > 0] - (240, 200, 100)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 1), (33, 1, 3)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_bleeding_keeps_type_shape_and_what_is_all_or_nothing(shape, dtype):
    colour = (noise(*shape) / 255).astype(dtype)
    for alpha in (np.zeros(shape[:2]), np.ones(shape[:2])):
        filled = bleed(colour, alpha)
        assert filled.dtype == colour.dtype
        np.testing.assert_array_equal(filled, colour)
