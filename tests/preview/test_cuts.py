"""What is cut around a place is enough, starts on the grid, and maps to the pixels of the whole result."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dagan_cli.preview.cuts import crop_for, cut_for, margin_for
from dagan_cli.preview.places import Box

DRAWN = np.random.default_rng(0)


@pytest.mark.parametrize("grid", [1, 8, 16, 48])
@pytest.mark.parametrize("factor", [Fraction(4), Fraction(2), Fraction(3, 2), Fraction(15, 4)])
def test_the_margin_is_on_all_sides_that_are_no_edge_and_the_shown_part_is_that_of_the_whole(grid, factor):
    for _ in range(200):
        width, height = (int(side) for side in DRAWN.integers(1, 700, 2))
        w, h = min(width, 112), min(height, 80)
        left, top = ((int(DRAWN.integers(0, most + 1))) // 16 * 16 for most in (width - w, height - h))
        result = round(width * factor), round(height * factor)
        box = Box(left, top, w, h)
        cut = cut_for(box, (width, height), result, 32, grid)
        read, keep = cut.read, cut.keep
        for start, length, whole, a, b in (
            (left, w, width, read.left, read.left + read.width),
            (top, h, height, read.top, read.top + read.height),
        ):
            assert a % grid == 0
            assert 0 <= a <= max(0, start - 32)
            assert b == whole or b >= start + length + 32
            assert b <= whole
        assert (read.width, read.height) == (round(cut.scaled[0] / factor), round(cut.scaled[1] / factor))
        if grid * factor == int(grid * factor) and result == (width * factor, height * factor):
            assert read.left * factor + keep.left == left * factor
            assert read.top * factor + keep.top == top * factor
        assert keep.left + keep.width <= cut.scaled[0]
        assert keep.top + keep.height <= cut.scaled[1]


def test_all_parts_inside_have_one_size_as_each_size_is_compiled():
    sizes = set()
    for left in range(0, 640 - 112 - 48, 16):
        cut = cut_for(Box(left, 64, 112, 80), (640, 360), (2560, 1440), 32, 16)
        sizes.add((cut.read.width, cut.read.height))
    assert len(sizes) == 1


def test_results_that_are_shown_are_not_larger_than_a_page_can_hold():
    assert crop_for((160, 128), 4) == (160, 128)
    assert crop_for((160, 128), 0.5) == (160, 128)
    assert crop_for((160, 128), 8) == (80, 64)
    assert crop_for((160, 128), 64) == (16, 16)


@pytest.mark.parametrize(("field", "margin"), [(9, 9), (0, 0), (64, 64), (65, 32), (None, 32)])
def test_a_network_sees_its_receptive_field_unless_that_is_too_much(field, margin):
    assert margin_for(field, 32) == margin
