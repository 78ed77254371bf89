"""Student's t, Holm's correction and the number of seeds, against published tables and simulation."""

from __future__ import annotations

from math import sqrt
from statistics import mean, stdev

import numpy as np
import pytest

from trainer.experiments.evidence import half_interval, holm, p_value, seeds_for, t_probability, t_quantile

# Two-sided quantiles of Student's t, as printed in statistical tables.
TABLE = {
    (0.05, 1): 12.706,
    (0.05, 2): 4.303,
    (0.05, 3): 3.182,
    (0.05, 9): 2.262,
    (0.05, 30): 2.042,
    (0.01, 2): 9.925,
    (0.01, 7): 3.499,
    (0.2, 5): 1.476,
    (0.001, 4): 8.610,
}


@pytest.mark.parametrize(("point", "t"), TABLE.items())
def test_quantiles_are_those_of_the_tables(point, t):
    probability, freedom = point
    assert t_quantile(probability, freedom) == pytest.approx(t, abs=6e-4)
    assert t_probability(-t, freedom) == pytest.approx(probability, rel=2e-3)


def test_no_difference_is_certain_and_an_infinite_one_impossible():
    assert t_probability(0, 4) == 1
    assert t_probability(1e9, 4) == pytest.approx(0, abs=1e-12)


def test_the_interval_ends_where_the_test_at_that_level_begins():
    found = [0.08, 0.04, -0.03, 0.05]
    half = half_interval(found)
    assert half == pytest.approx(3.182446 * stdev(found) / sqrt(4), rel=1e-6)
    assert half is not None
    at_the_end = [value - mean(found) + half for value in found]  # the same spread, with a mean of half the interval
    assert p_value(at_the_end) == pytest.approx(0.05, rel=1e-6)


def test_equal_differences_are_certain_and_one_alone_says_nothing():
    assert p_value([0.25, 0.25, 0.25]) == 0
    assert p_value([0.0, 0.0]) == 1
    assert (p_value([0.2]), half_interval([0.2])) == (None, None)


def test_of_several_the_smallest_counts_most_often():
    """0.01 x 4, 0.02 x 3, 0.03 x 2, and 0.04, which may not be below the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("difference", "deviation", "tests"), [(0.1, 0.1, 1), (0.1, 0.06, 1), (0.1, 0.1, 8)])
def test_that_many_seeds_see_a_true_difference_four_times_in_five(difference, deviation, tests):
    count = seeds_for(difference, deviation, tests)
    drawn = np.random.default_rng(0).normal(difference, deviation, (20_000, count))
    t = drawn.mean(1) / drawn.std(1, ddof=1) * sqrt(count)
    seen = (np.abs(t) > t_quantile(0.05 / tests, count - 1)).mean()
    assert 0.78 < seen < 0.88
