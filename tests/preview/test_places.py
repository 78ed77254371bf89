"""The places that a preview shows: found by detail, middle luma and darkness, and by nothing random."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dagan_cli.preview.places import DARK, DETAIL, FACE, MIDDLE, WHOLE, Box, cells_of, find_places

CROP = (160, 128)


def smooth(height: int, width: int, low: float, high: float, coarse: int) -> np.ndarray:
    """Luma that changes slowly: random values every `coarse` pixels, linear between them."""
    grid = np.random.default_rng(height + width).uniform(low, high, (height // coarse + 2, width // coarse + 2))
    y, x = np.arange(height) / coarse, np.arange(width) / coarse
    rows = np.stack([np.interp(x, np.arange(grid.shape[1]), line) for line in grid])
    columns = [np.interp(y, np.arange(grid.shape[0]), rows[:, column]) for column in range(width)]
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A bright plain picture, 960x720, with black bars, a texture, a face-like patch, and something in the dark."""
    luma = np.full((720, 960), 235.0)
    luma[80:240, 96:288] = np.random.default_rng(1).uniform(100, 250, (160, 192))  # a texture
    luma[320:416, 704:800] = smooth(96, 96, 100, 175, 12)  # 96 pixels: more than a tenth of the height
    luma[448:640, 64:320] = smooth(192, 256, 8, 40, 6)  # dark, with structure
    luma[:64] = luma[-64:] = 0
    return luma.round().astype(np.uint8)


def inside(box: Box, left: int, top: int, right: int, bottom: int) -> float:
    """Share of a box that lies within a region."""
    across = min(right, box.left + box.width) - max(left, box.left)
    down = min(bottom, box.top + box.height) - max(top, box.top)
    return max(0, across) * max(0, down) / (box.width * box.height)


def test_each_kind_of_place_is_found_where_it_is(scene):
    places = {place.why: place.box for place in find_places([cells_of(scene)], CROP)}
    assert list(places) == [DETAIL, FACE, DARK]
    assert inside(places[DETAIL], 96, 80, 288, 240) > 0.95
    face = places[FACE]  # the patch is in the middle of the place
    assert abs(face.left + face.width / 2 - 752) <= 32
    assert abs(face.top + face.height / 2 - 368) <= 32
    assert inside(places[DARK], 64, 448, 320, 640) > 0.95


def test_places_start_at_multiples_of_a_cell_and_are_inside(scene):
    part = scene[:701, :933]
    for place in find_places([cells_of(part)], CROP):
        box = place.box
        assert (box.left % 16, box.top % 16, box.width, box.height) == (0, 0, *CROP)
        assert box.left + box.width <= 933
        assert box.top + box.height <= 701


def test_the_same_pixels_always_give_the_same_places(scene):
    once = find_places([cells_of(scene)], CROP)
    assert (
        once == find_places([cells_of(scene.copy())], CROP) == find_places([cells_of(np.asfortranarray(scene))], CROP)
    )


def test_black_bars_are_not_the_darkest_part(scene):
    dark = next(place.box for place in find_places([cells_of(scene)], CROP) if place.why == DARK)
    assert scene[dark.top : dark.top + dark.height, dark.left : dark.left + dark.width].mean() > 5


def test_places_hardly_overlap():
    luma = np.random.default_rng(3).integers(0, 256, (400, 500)).astype(np.uint8)
    boxes = [place.box for place in find_places([cells_of(luma)], CROP)]
    assert len(boxes) >= 2
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            shared = inside(one, other.left, other.top, other.left + other.width, other.top + other.height)
            assert shared <= 0.25


def test_a_small_image_is_shown_whole():
    luma = np.random.default_rng(3).integers(0, 256, (90, 120)).astype(np.uint8)
    (place,) = find_places([cells_of(luma)], CROP)
    assert (place.why, place.box) == (WHOLE, Box(0, 0, 120, 90))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 5), (17, 401), (129, 160)])
def test_any_shape_has_a_place_inside(height, width):
    luma = np.random.default_rng(3).integers(0, 256, (height, width)).astype(np.uint8)
    places = find_places([cells_of(luma)], CROP)
    assert places
    for place in places:
        assert (place.box.width, place.box.height) == (min(width, CROP[0]), min(height, CROP[1]))
        assert place.box.left + place.box.width <= width
        assert place.box.top + place.box.height <= height


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_picture_of_one_colour_has_one_place_in_its_middle(value):
    (place,) = find_places([cells_of(np.full((720, 960), value, np.uint8))], CROP)
    assert place.why == MIDDLE
    assert abs(place.box.left + 80 - 480) < 16
    assert abs(place.box.top + 64 - 360) < 16


def test_cells_are_the_same_however_large_the_image_is():
    """It is measured in bands of rows, 1024 pixels each."""
    luma = np.random.default_rng(5).integers(0, 256, (1100, 40)).astype(np.uint8)
    whole, part = cells_of(luma), cells_of(luma[1008:])
    np.testing.assert_array_equal(whole.detail[63:], part.detail)
    np.testing.assert_array_equal(whole.luma[63:], part.luma)
    own = luma[1008:1024, :16].astype(float)
    assert whole.luma[63, 0] == pytest.approx(own.mean())
    steps = np.abs(np.diff(luma[1008:1025, :17].astype(float), axis=0))[:, :16].mean()
    steps += np.abs(np.diff(luma[1008:1024, :17].astype(float), axis=1)).mean()
    assert whole.detail[63, 0] == pytest.approx(steps)


def test_the_places_of_a_film_are_far_apart_if_it_is_long_enough(scene):
    """All frames are the same, so that only the distance tells them apart."""
    cells = [cells_of(scene)] * 9
    times = [float(second) for second in range(9)]
    far = sorted(times[place.frame] for place in find_places(cells, CROP, times, (4.0, 1.0, 0.0)))
    assert [later - earlier for earlier, later in pairwise(far)] == [4.0, 4.0]
    near = find_places(cells[:2], CROP, [0.0, 0.2], (4.0, 1.0, 0.0))
    assert [place.why for place in near] == [DETAIL, FACE, DARK]
