from itertools import pairwise

import numpy as np
import pytest

from dagan_cli.engine.tiles import Plan, Span, Tiling, left_over, plan, plan_axis, weights
from dagan_cli.errors import BadOption

TILINGS = [
    Tiling(size=16),
    Tiling(size=16, halo=1),
    Tiling(size=24, halo=8, fade=8),
    Tiling(size=32, halo=9, fade=4, grid=8),
    Tiling(size=64, halo=16, fade=8, grid=8),
    Tiling(size=20, halo=9, fade=9),
    Tiling(size=32, halo=8, fade=4, grid=8, multiple=1),
    Tiling(size=48, halo=9, grid=16, multiple=4),
]
LENGTHS = [1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100, 257, 540]


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_weights_of_all_spans_add_up_to_one_everywhere(length, tiling):
    total = sum(weights(span, 0, length, 4) for span in plan_axis(length, tiling))
    np.testing.assert_allclose(total, np.ones(4 * length), atol=1e-6)


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("length", LENGTHS)
def test_spans_have_one_size_start_on_the_grid_and_keep_a_rim(length, tiling):
    spans = plan_axis(length, tiling)
    sides = {span.stop - span.start for span in spans}
    multiple = tiling.multiple or tiling.grid
    assert len(sides) == 1
    assert sides.pop() <= tiling.size + tiling.grid - multiple
    for span in spans:
        assert span.start % tiling.grid == 0
        assert span.stop % multiple == 0
        assert span.start <= span.a < span.b <= min(span.stop, length)
        assert span.a == 0 or span.a - span.start >= tiling.halo - tiling.fade
        assert span.b == length or span.stop - span.b >= tiling.halo - tiling.fade
    assert spans[-1].stop - length < multiple


@pytest.mark.parametrize("length", LENGTHS)
def test_without_a_fade_each_pixel_is_kept_once(length):
    spans = plan_axis(length, Tiling(size=24, halo=4, grid=8))
    assert [span.a for span in spans] == [0, *[span.b for span in spans[:-1]]]
    assert spans[-1].b == length


def test_a_span_is_zero_outside_of_what_it_keeps():
    span = Span(start=8, stop=40, a=16, b=32, rise=4, fall=4)
    values = weights(span, 0, 48, 1)
    assert not values[:16].any()
    assert not values[32:].any()
    assert (values[20:28] == 1).all()


def test_tiles_are_no_larger_than_their_number_needs():
    assert plan(1080, 1920, Tiling(size=1024, halo=16)).overhead < 1.05  # not 2: two rows of 556, not of 1024


def test_tiles_are_spread_evenly():
    starts = [span.start for span in plan_axis(540, Tiling(size=256, halo=16))]
    gaps = [b - a for a, b in pairwise(starts)]
    assert max(gaps) - min(gaps) <= 1


def test_a_plan_is_the_product_of_its_axes():
    p = plan(40, 30, Tiling(size=16))
    assert isinstance(p, Plan)
    assert len(p.tiles) == len(p.ys) * len(p.xs) == 6
    assert p.area == p.sides[0] * p.sides[1]


def test_a_second_tiling_fills_exactly_what_the_first_left():
    first, second = plan(50, 70, Tiling(size=32, halo=8, fade=4)), plan(50, 70, Tiling(size=16, halo=4, fade=2))
    done = first.tiles[:3]
    total = np.sum([np.outer(weights(y, 0, 50, 2), weights(x, 0, 70, 2)) for y, x in done], axis=0)
    for y, x in second.tiles:
        own = np.outer(weights(y, y.a, y.b, 2), weights(x, x.a, x.b, 2))
        total[2 * y.a : 2 * y.b, 2 * x.a : 2 * x.b] += own * left_over(y, x, [done], 2)
    np.testing.assert_allclose(total, np.ones((100, 140)), atol=1e-6)


@pytest.mark.parametrize(
    "nonsense",
    [{"size": 16, "halo": 8}, {"size": 16, "halo": 2, "fade": 3}, {"size": 20, "grid": 8}, {"size": 16, "halo": -1}],
)
def test_a_tiling_that_leaves_nothing_is_refused(nonsense):
    with pytest.raises(BadOption):
        Tiling(**nonsense)
