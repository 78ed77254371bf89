"""Grain that a network took is added back: at the level that was taken, chosen by the content of the frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dagan_cli.engine.grain import lost_grain, restore_grain, seed_of

BLACK, WHITE = 0.0, 1.0


def clean(height: int, width: int) -> Tensor:
    """(1, 3, H, W) without grain: soft shades, and a quarter of it in fine stripes."""
    y, x = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 6, width), indexing="ij")
    shades = 0.5 + 0.12 * torch.sin(x) * torch.cos(y)
    stripes = 0.08 * torch.sin(torch.arange(width) * 2.0).expand(height, width)
    stripes[height // 2 :], stripes[:, width // 2 :] = 0, 0
    return (shades + stripes).expand(1, 3, -1, -1).contiguous()


def grain(height: int, width: int, level: float, blur: int) -> Tensor:
    """(H, W) noise of this standard deviation, in code values of 8 bits; each is the mean of `blur` x `blur` draws."""
    draws = torch.from_numpy(np.random.default_rng(7).standard_normal((height + blur - 1, width + blur - 1)))
    means = torch.nn.functional.avg_pool2d(draws[None, None], blur, 1)[0, 0]
    return (means / means.std() * level / 255).float()


def as_8_bits(frames: Tensor) -> Tensor:
    return (frames * 255).round().clamp(0, 255).to(torch.uint8)


def added(source: Tensor, result: Tensor, amount: float = 1.0, seed: int = 1) -> Tensor:
    """What is added to a result, in code values of 8 bits."""
    return (restore_grain(source, result.clone(), amount, [seed]) - result) * 255


@pytest.mark.parametrize("blur", [1, 3])
@pytest.mark.parametrize("level", [2, 4, 8])
@pytest.mark.parametrize("scale", [2, 3.5])
def test_grain_has_the_level_of_what_was_taken_whatever_its_kind(level, blur, scale):
    source = clean(224, 256)
    result = interpolate(source, scale_factor=scale, mode="bicubic")
    noisy = as_8_bits(source + grain(224, 256, level, blur))
    assert added(noisy, result).mean(1).std().item() == pytest.approx(level, rel=0.15)
    assert added(noisy, result, 0.5).mean(1).std().item() == pytest.approx(level / 2, rel=0.15)


def test_grain_that_the_network_kept_is_not_added_again():
    source = clean(224, 256)
    noise = grain(224, 256, 8, 3)
    result = interpolate(source + 0.75 * noise, scale_factor=2, mode="bicubic")
    assert added(as_8_bits(source + noise), result).std().item() == pytest.approx(2, rel=0.25)


def test_a_source_without_grain_gets_none_though_detail_was_lost():
    source = clean(224, 256)
    blurred = torch.nn.functional.avg_pool2d(source, 5, 1, 2, count_include_pad=False)  # takes the stripes
    result = interpolate(blurred, scale_factor=2, mode="bicubic")
    assert added(as_8_bits(source), result).abs().max() < 1


def test_dark_parts_have_the_grain_of_dark_parts():
    source = torch.full((1, 3, 256, 256), 0.2)
    source[..., 128:] = 0.7
    noise = grain(256, 256, 1, 1)
    noise[:, :128] *= 6
    noise[:, 128:] *= 2
    one = added(as_8_bits(source + noise), source.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert one[..., :224].std().item() == pytest.approx(6, rel=0.15)
    assert one[..., 288:].std().item() == pytest.approx(2, rel=0.15)


def test_only_the_brightness_changes_and_its_mean_stays():
    source = clean(128, 128)
    one = added(source + grain(128, 128, 8, 1), source)
    torch.testing.assert_close(one[:, 0], one[:, 2], atol=1e-4, rtol=0)
    assert abs(one.mean().item()) < 0.1


def test_black_bars_and_white_stay_what_they_are():
    source = clean(160, 128)
    source[..., :32, :], source[..., -32:, :] = BLACK, WHITE
    noise = grain(160, 128, 8, 1)
    noise[:32], noise[-32:] = 0, 0
    result = source.repeat_interleave(2, -1).repeat_interleave(2, -2)
    one = added(as_8_bits(source + noise), result)
    assert one[..., 64:-64, :].std() > 5
    assert not one[..., :64, :].any()
    assert not one[..., -64:, :].any()


@pytest.mark.parametrize("value", [BLACK, WHITE, 0.5])
def test_a_flat_frame_gets_no_grain(value):
    assert not added(torch.full((1, 3, 40, 40), value), torch.full((1, 3, 80, 80), value)).any()


def test_noise_around_black_leaves_nothing_darker_than_black():
    source = torch.zeros(1, 3, 128, 128) + 4 / 255
    noisy = as_8_bits(source + grain(128, 128, 4, 1))
    made = restore_grain(noisy, source.clone(), 1.0, [3])
    assert made.std() > 0
    assert (made < -4 / 255).float().mean() < 0.01
    assert abs(made.mean() - source.mean()) < 0.2 / 255


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (15, 17), (40, 33)])
@pytest.mark.parametrize("scale", [0.5, 1, 2.7, 4])
def test_every_size_gets_finite_grain(size, scale):
    source = torch.rand(1, 3, *size)
    result = torch.full((1, 3, *(max(1, round(side * scale)) for side in size)), 0.5)
    assert restore_grain(source, result, 1.0, [9]).isfinite().all()


def test_equal_frames_get_equal_grain_whatever_else_is_computed_with_them():
    source = torch.cat([clean(64, 96) + grain(64, 96, 8, 1), torch.rand(1, 3, 64, 96)])
    result = interpolate(source, scale_factor=2, mode="area").contiguous()
    both = restore_grain(source, result.clone(), 0.7, [5, 6])
    alone = restore_grain(source[:1], result[:1].clone(), 0.7, [5])
    assert torch.equal(both[:1], alone)
    assert not torch.equal(restore_grain(source[:1], result[:1].clone(), 0.7, [7]), alone)


def test_the_grain_of_another_frame_is_other_grain():
    source = clean(128, 128) + grain(128, 128, 8, 1)
    one, other = (added(source, clean(128, 128), seed=seed).flatten() for seed in (1, 1 << 20 | 9))
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.1


def test_grain_is_as_large_as_in_the_source_when_enlarged_and_has_no_seams():
    """Neighbours at the distance of a source pixel are alike a little; the template wraps around within 1100 pixels."""
    source = clean(280, 280) + grain(280, 280, 8, 1)
    one = added(source, interpolate(clean(280, 280), scale_factor=4, mode="bicubic"), seed=700 << 12 | 900 << 2)[0, 0]
    one = one / one.std()
    assert (one[:, :-1] * one[:, 1:]).mean() > 0.8
    assert 0.05 < (one[:, :-4] * one[:, 4:]).mean() < 0.4
    steps = (one[:, 1:] - one[:, :-1]).std(0)
    assert steps.max() < 1.5 * steps.median()


def test_the_seed_is_that_of_all_samples_however_they_lie_in_memory():
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert seed_of([plane]) == seed_of([np.asfortranarray(plane)])
    assert seed_of([plane, plane]) != seed_of([plane])
    other = plane.copy()
    other[2, 3] += 1
    assert seed_of([plane, other]) != seed_of([plane, plane])


def test_the_level_is_that_of_each_block():
    source = torch.full((3, 64, 128), 0.5)
    noisy = source + grain(64, 128, 8, 1)
    noisy[..., 64:] = 0.5
    levels = lost_grain(noisy, source) * 255
    assert levels.shape == (4, 8)
    assert levels[:, -2:].max() == 0
