"""Flicker and the motion it follows: known shifts, known noise, cuts, and what must not count."""

from __future__ import annotations

from math import pi, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.metrics.flicker import Change, change, flicker
from dagan_cli.metrics.motion import BLOCK, find_motion

SIZE = (144, 208)
MARGIN = 80


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Luma like that of a photograph: as much contrast at each scale from 1 to 32 pixels, mean 120, deviation 40."""
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(height, width)
    for halvings in range(6):
        shape = (1, 1, max(2, height >> halvings), max(2, width >> halvings))
        layer = torch.randn(shape, generator=random)
        total += F.interpolate(layer, (height, width), mode="bicubic", align_corners=False)[0, 0]
    return (total - total.mean()) / total.std() * 40 + 120


def panned(down: int, right: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two frames of a camera that moves over a texture by whole pixels."""
    height, width = SIZE
    whole = texture(height + 2 * MARGIN, width + 2 * MARGIN, seed)
    places = (MARGIN, MARGIN), (MARGIN + down, MARGIN + right)
    before, now = (whole[top : top + height, left : left + width] for top, left in places)
    return before, now


def noises(sigma: float) -> tuple[Tensor, Tensor]:
    return sigma * torch.randn(SIZE), sigma * torch.randn(SIZE)


@pytest.mark.parametrize("pan", [(0, 0), (1, 0), (-3, 7), (13, -21), (-30, 32)])
def test_whole_pixels_of_motion_are_found_exactly(pan):
    motion = find_motion(*panned(*pan))
    exact = (motion.quarters == 4 * torch.tensor(pan)).all(-1)
    # Blocks into which new content comes have nothing to find.
    rows, columns = (abs(each) // BLOCK + 1 if each else 0 for each in pan)
    inner = exact[rows : len(exact) - rows, columns : exact.shape[1] - columns]
    assert inner.all()


def test_a_frame_moved_along_the_motion_is_the_next_one_where_it_was_in_view():
    before, now = panned(5, -9)
    motion = find_motion(before, now)
    inside = motion.inside()
    assert inside.float().mean() > 0.9
    assert torch.equal(motion.warp(before)[16:-16, 16:-16], now[16:-16, 16:-16])
    assert not inside[-1].any()  # its content was below the frame


@pytest.mark.parametrize("quarters", [(0, 2), (1, 0), (-3, 5)])
def test_fractions_of_a_pixel_are_found_and_interpolated(quarters):
    """On waves of at most a quarter of the sampling rate, which a shift of any length moves exactly."""
    waves = [(*(torch.rand(2) - 0.5).tolist(), float(torch.rand(()))) for _ in range(40)]  # cycles per pixel, phase

    def frame(down: float, right: float) -> Tensor:
        y, x = torch.arange(SIZE[0])[:, None] + down, torch.arange(SIZE[1]) + right
        return 120 + 8 * torch.stack([torch.cos(pi * (v * y + u * x + phase)) for v, u, phase in waves]).sum(0)

    before, now = frame(0, 0), frame(quarters[0] / 4, quarters[1] / 4)
    motion = find_motion(before, now)
    assert (motion.quarters == torch.tensor(quarters)).all(-1).float().mean() > 0.8
    left = (now - motion.warp(before))[16:-16, 16:-16].abs().mean()
    assert left < 0.1 * (now - before).abs().mean()  # the filters have 8 taps


def test_what_is_still_stays_even_under_noise():
    (before, now), (a, b) = panned(0, 0), noises(3)
    moved = find_motion(before + a, now + b).quarters
    assert (moved == 0).all(-1).float().mean() > 0.9
    assert (find_motion(torch.full(SIZE, 50.0), torch.full(SIZE, 50.0)).quarters == 0).all()


@pytest.mark.parametrize("pan", [(0, 0), (4, -6)])
def test_noise_of_each_frame_flickers_as_its_distribution_says(pan):
    """For independent Gaussian noise n of deviation s, n(t) - n(t-1) has the deviation s sqrt(2), and its mean
    absolute value is s sqrt(2) sqrt(2 / pi) = 2 s / sqrt(pi)."""
    along = change(*panned(*pan))
    found = []
    for sigma in (0.5, 1, 2, 4, 8):
        value = flicker(*noises(sigma), along)
        assert value == pytest.approx(2 * sigma / sqrt(pi), rel=0.03)  # 30,000 samples: 3 deviations are 1.3 %
        found.append(value)
    assert found == sorted(found)


def test_the_reference_itself_does_not_flicker():
    nothing = torch.zeros(SIZE)
    assert flicker(nothing, nothing, change(*panned(3, 5))) == 0


def test_an_error_that_stands_still_in_a_still_scene_does_not_count():
    error = 5 * texture(*SIZE, seed=7) / 120
    assert flicker(error, error, change(*panned(0, 0))) == 0


def test_an_error_that_moves_with_the_content_does_not_count_and_one_that_stands_does():
    along = change(*panned(4, -6))
    a, b = (each * 0.1 for each in panned(4, -6, seed=7))
    moving, standing = flicker(a, b, along), flicker(a, a, along)
    assert moving is not None
    assert standing is not None
    assert moving < 0.02
    assert standing > 50 * moving


def test_it_is_the_change_of_the_result_less_that_of_the_reference():
    """By the second form of its definition, which follows from the first as warping is linear."""
    before, now = panned(4, -6)
    a, b = noises(2)
    along = change(before, now)
    found = flicker(a, b, along)
    warp = along.motion.warp
    by_definition = ((now + b) - warp(before + a)) - (now - warp(before))
    assert found == pytest.approx(by_definition.abs()[along.reliable].mean().item(), rel=1e-4)


def test_a_cut_has_no_value():
    (before, _), (now, _) = panned(0, 0), panned(0, 0, seed=1)
    along = change(before, now)
    assert along.share < 0.5
    assert flicker(*noises(1), along) is None


def test_an_object_that_appears_is_left_out():
    before, now = (each.clone() for each in panned(0, 0))
    now[40:80, 60:120] = texture(40, 60, seed=3).flip(0) * 0.5 + 100
    along = change(before, now)
    share = 1 - 40 * 60 / (SIZE[0] * SIZE[1])
    assert along.share == pytest.approx(share, abs=0.05)
    error = torch.zeros(SIZE)
    error[45:75, 65:115] = 100  # the result has the object a frame later
    assert flicker(torch.zeros(SIZE), error, along) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 5), (8, 250)])
def test_frames_of_any_size_have_a_motion(size):
    frame = 255 * torch.rand(size)
    along = change(frame, frame)
    assert isinstance(along, Change)
    assert along.share == 1
    assert flicker(torch.zeros(size), torch.ones(size), along) == 1
