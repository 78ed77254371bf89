"""Curves are drawn where their axes say, with gaps where there is no value."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from dagan_cli.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, chart
from dagan_cli.pages.viewer import Curve


def drawn(seconds: Sequence[float], *values: Sequence[float | None]) -> Chart:
    made = chart(Curve("PSNR-Y, dB", seconds, values), [f"column {i}" for i in range(len(values))])
    assert made
    return made


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_a_value_is_where_its_axes_have_it():
    made = drawn([0, 1, 2], [30, 32, 31])
    rows = {float(label): y for y, label in made.rows}
    ticks = {float(label.removesuffix(" s")): x for x, label in made.ticks}
    for (x, y), second, value in zip(points(made.lines[0][2]), (0, 1, 2), (30, 32, 31), strict=True):
        assert x == pytest.approx(ticks[second], abs=0.1)
        assert y == pytest.approx(rows[value], abs=0.1)
    assert (made.first, made.last) == (0, 2)
    assert (ticks[0], ticks[2]) == (LEFT, WIDTH - RIGHT)


def test_a_line_is_interrupted_where_there_is_no_value():
    first, second = drawn([0, 1, 2, 3, 4], [1, 2, None, 4, 5], [None, 2, None, None, 3]).lines
    assert first[2].count("M") == 2
    assert len(points(first[2])) == 4
    assert second[2].count("h2") == 2  # single values are dots


def test_a_column_without_values_has_no_line_and_keeps_the_colours_of_the_others():
    lines = drawn([0, 1], [None, None], [1, 2]).lines
    assert [(kind, bool(path)) for kind, _, path in lines] == [(0, False), (1, True)]


@pytest.mark.parametrize("values", [[None, None], [float("nan"), float("inf")]])
def test_a_curve_without_any_value_is_not_drawn(values):
    assert chart(Curve("t", [0, 1], [values]), ["a"]) is None


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [7.0]])
def test_a_constant_curve_is_flat_within_the_axes(values):
    path = drawn([3.0, 4.0][: len(values)], values).lines[0][2]
    assert all(TOP < y < HEIGHT - BOTTOM for _, y in points(path))


def test_a_long_curve_keeps_its_peak_in_few_points():
    values = [30.0] * 20_000
    values[12_345] = 10.0
    made = drawn([i / 24 for i in range(20_000)], values)
    found = points(made.lines[0][2])
    assert len(found) < 500
    lowest = max(y for _, y in found)
    row = {float(label): y for y, label in made.rows}
    assert lowest == pytest.approx(row[10.0], abs=0.2)
    assert np.argmax([y for _, y in found]) not in (0, len(found) - 1)
