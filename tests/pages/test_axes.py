"""Ticks are round, numbers are brief, and thinning loses no peak."""

from __future__ import annotations

import numpy as np
import pytest

from dagan_cli.pages.axes import nice, number, thin


def test_thinning_loses_no_peak():
    x, y = np.arange(10_000.0), np.sin(np.arange(10_000.0))
    y[6789], y[1234] = 50.0, -50.0
    kept, values = thin((x, y), 200)
    assert len(kept) <= 202
    assert (values.max(), values.min()) == (50.0, -50.0)
    assert (kept[0], kept[-1]) == (0, 9999)
    assert (np.diff(kept) > 0).all()


def test_round_numbers_are_those_a_person_would_choose():
    assert nice(0, 6000, 6) == [0, 2000, 4000, 6000]
    assert nice(0.2, 1.1, 5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1.2e-5, "1.2e-5"),
        (1e-4, "1e-4"),
        (15000, "15k"),
        (2e6, "2M"),
        (-0.5, "-0.5"),
        (999, "999"),
    ],
)
def test_numbers_are_told_in_few_characters(value, told):
    assert number(value) == told
