"""The samples of a picture through an upscaler and back, with their type, depth and transparency."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.engine.samples import nearest, through
from tests.support.tiny import noise


def same(frames: Tensor) -> Tensor:
    """An upscaler by 1: floats in [0, 1] of whatever it is given."""
    return frames / 255 if frames.dtype == torch.uint8 else frames.clone()


def doubled(frames: Tensor) -> Tensor:
    """Doubles by mixing neighbours, as networks do."""
    return F.interpolate(same(frames), scale_factor=2, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_what_an_identity_gives_back_is_what_it_was_given(dtype, channels):
    pixels = np.maximum(noise(300, 7, channels, dtype=dtype), 1)  # higher than one band of rows; no hidden colour
    out = through(pixels, same)
    assert out.dtype == pixels.dtype
    assert (out == pixels).all()


@pytest.mark.parametrize("size", [(7, 300), (28, 1200), (10, 421), (3, 11)])
@pytest.mark.parametrize(("channels", "dtype"), [(3, "u1"), (4, "u1"), (1, "u2"), (2, "f4")])
def test_nearest_takes_the_pixel_that_holds_the_centre_of_each_and_changes_none(size, channels, dtype):
    pixels = noise(300, 7, channels).astype(dtype)
    if dtype == "f4":
        pixels[0, 0], pixels[5, 5] = np.nan, 1e9
    y, x = ([(2 * i + 1) * old // (2 * new) for i in range(new)] for old, new in zip((300, 7), size[::-1], strict=True))
    out = nearest(pixels, size)
    assert out.dtype == pixels.dtype
    np.testing.assert_array_equal(out, pixels[np.ix_(y, x)])


def test_every_16_bit_value_survives():
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert (through(pixels, same) == pixels).all()


def test_an_upscaler_is_given_three_channels_of_bytes_or_of_floats_in_0_to_1():
    seen = []

    def watch(frames: Tensor) -> Tensor:
        seen.append(frames)
        return same(frames)

    through(noise(4, 5, 4), watch)  # colour, then alpha as a grey picture
    through(noise(4, 5, 1, dtype="u2"), watch)
    assert [(frames.shape, frames.dtype) for frames in seen] == [
        ((1, 3, 4, 5), torch.uint8),
        ((1, 3, 4, 5), torch.uint8),
        ((1, 3, 4, 5), torch.float32),
    ]
    assert 0 <= seen[2].min() <= seen[2].max() <= 1


def test_values_are_rounded_and_held_within_their_range():
    pixels = np.full((2, 2, 3), 100, np.uint8)
    assert (through(pixels, lambda x: same(x) + 0.4 / 255) == 100).all()
    assert (through(pixels, lambda x: same(x) + 0.6 / 255) == 101).all()
    assert (through(pixels, lambda x: same(x) + 1) == 255).all()
    assert (through(pixels, lambda x: same(x) - 1) == 0).all()


def test_floats_above_1_come_back_above_1():
    pixels = np.array([0.0, 0.25, 1.0, 7.5], np.float32).reshape(2, 2, 1)
    np.testing.assert_allclose(through(pixels, same), pixels, rtol=1e-6)


def test_colour_under_transparency_does_not_leak_into_the_edge():
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[4:12, 4:12] = (255, 0, 0, 255)
    out = through(pixels, doubled)
    visible = out[..., 3] > 0
    assert visible.sum() > 16 * 16  # the edge has become softer
    assert (out[visible][:, :3] == (255, 0, 0)).all()


def test_where_no_pixels_are_mixed_hidden_colour_stays():
    pixels = noise(6, 6, 4)
    pixels[::2, :, 3] = 0
    assert (nearest(pixels, (6, 6)) == pixels).all()
    assert (through(pixels, same) != pixels).any()


@pytest.mark.parametrize("alpha", [0, 77, 255])
def test_alpha_that_is_the_same_everywhere_stays_exactly_that_and_costs_nothing(alpha):
    pixels = noise(5, 5, 2)
    pixels[..., 1] = alpha
    calls = []

    def count(frames: Tensor) -> Tensor:
        calls.append(frames)
        return doubled(frames)

    assert (through(pixels, count)[..., 1] == alpha).all()
    assert len(calls) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_that_are_not_finite_keep_their_place_and_spread_no_further(channels):
    pixels = noise(6, 7, channels, dtype="u2").astype(np.float32) / 65535
    pixels[2, 3, 0], pixels[4, 6, -1], pixels[0, 0, 0] = np.nan, np.inf, -np.inf
    gaps = ~np.isfinite(pixels).all(axis=2)
    out = through(pixels, doubled)
    assert (np.isfinite(out).all(axis=2) == ~gaps.repeat(2, axis=0).repeat(2, axis=1)).all()
    assert np.isnan(out[4:6, 6:8, 0]).all()
    assert out[0, 0, 0] == -np.inf
    np.testing.assert_array_equal(nearest(pixels, (7, 6)), pixels)


def test_an_image_without_any_finite_pixel_stays_as_it_is():
    pixels = np.full((2, 3, 1), np.nan, np.float32)
    assert np.isnan(through(pixels, doubled)).all()
