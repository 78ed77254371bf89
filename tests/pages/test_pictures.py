"""Pictures on a page are exact, stored once, and bounded; what is left out or changed is said."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dagan_cli.pages.pictures import LARGEST_ERROR, Fitted, Picture, fit, thumbnail
from dagan_cli.pages.viewer import View
from tests.support.pages import flat, pattern

AMPLE = 10_000_000


def decoded(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture.data)).convert("RGB"))


def texture(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Return noise with the spectrum of photographs, which JPEG codes well and lossless formats do not."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.fft.fftfreq(side) for side in size), indexing="ij")
    spectrum = np.fft.fft2(rng.normal(size=size)) / np.maximum(np.hypot(x, y), 1 / max(size)) ** 1.5
    wave = np.fft.ifft2(spectrum).real
    grey = 128 + 40 * wave / wave.std()
    return np.repeat(grey[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("frame", [pattern(1), flat(7, (1, 1)), pattern(3, (5, 301)), texture(0, (96, 96))])
def test_pixels_come_back_exactly(frame):
    fitted = fit([View("a", [[frame]])], AMPLE)
    assert np.array_equal(decoded(fitted.pictures[0]), frame)
    assert fitted.sizes == [(frame.shape[1], frame.shape[0])]
    assert fitted.note == ""


def test_a_picture_wider_than_webp_can_hold_is_exact_too():
    frame = np.repeat(pattern(0, (1, 16384)), 2, axis=0)
    assert np.array_equal(decoded(fit([View("a", [[frame]])], AMPLE).pictures[0]), frame)


def test_the_same_pixels_are_stored_once_within_a_view_and_between_views():
    one, two = pattern(1), pattern(2)
    fitted = fit([View("a", [[one], [two], [one.copy()]]), View("b", [[two], [two], [one]])], AMPLE)
    assert len(fitted.pictures) == 2
    assert fitted.views == [[[0], [1], [0]], [[1], [1], [0]]]


def test_the_same_bytes_of_another_shape_are_another_picture():
    frame = pattern(1, (20, 30))
    fitted = fit([View("a", [[frame]]), View("b", [[frame.reshape(30, 20, 3)]])], AMPLE)
    assert [decoded(picture).shape for picture in fitted.pictures] == [(20, 30, 3), (30, 20, 3)]


def test_later_views_lose_their_pictures_first():
    views = [View(str(i), [[pattern(2 * i)], [pattern(2 * i + 1)]]) for i in range(6)]
    whole = fit(views, AMPLE)
    fitted = fit(views, whole.size // 2)
    assert 2 <= len(fitted.views) <= 3
    assert fitted.views == whole.views[: len(fitted.views)]
    assert len(fitted.pictures) == 2 * len(fitted.views) == 2 * len(fitted.thumbs)
    assert fitted.size <= whole.size // 2
    assert fitted.note == ""


def test_the_size_counts_base64_and_markup():
    fitted = fit([View("a", [[pattern(1), pattern(2)]])], AMPLE)
    assert fitted.size > sum(len(picture.uri()) for picture in (*fitted.pictures, *fitted.thumbs))


def inexact(room: float) -> tuple[np.ndarray, np.ndarray, Fitted]:
    one, two = texture(1, (160, 160)), texture(2, (160, 160))
    whole = fit([View("a", [[one], [two]])], AMPLE).size
    return one, two, fit([View("a", [[one], [two]])], int(whole * room))


@pytest.mark.slow
def test_a_first_view_that_is_slightly_too_large_is_a_jpeg_and_its_largest_error_is_measured_and_said():
    one, two, fitted = inexact(0.8)
    errors = [int(np.abs(decoded(p).astype(int) - f).max()) for p, f in zip(fitted.pictures, (one, two), strict=True)]
    assert {picture.kind for picture in fitted.pictures} == {"image/jpeg"}
    assert 0 < max(errors) <= LARGEST_ERROR
    assert f"by more than {max(errors)} of 255" in fitted.note
    for picture in fitted.pictures:
        assert Image.open(BytesIO(picture.data)).layer[1][1:3] == (1, 1)  # type: ignore[attr-defined]  # 4:4:4


@pytest.mark.slow
def test_a_first_view_that_is_far_too_large_is_a_lossless_crop_that_says_where_it_is_from():
    one, two, fitted = inexact(0.2)
    width, height = fitted.sizes[0]
    left, top = (160 - width) // 2, (160 - height) // 2
    for picture, frame in zip(fitted.pictures, (one, two), strict=True):
        assert np.array_equal(decoded(picture), frame[top : top + height, left : left + width])
    assert width * height > 160 * 160 / 12
    assert f"{width}x{height} pixels from {left}, {top} of 160x160" in fitted.note


def test_no_jpeg_is_used_whose_errors_would_be_seen():
    noise = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2)]
    room = int(0.45 * fit([View("a", [[each] for each in noise])], AMPLE).size)
    fitted = fit([View("a", [[each] for each in noise])], room)
    assert {picture.kind for picture in fitted.pictures} == {"image/webp"}
    assert fitted.sizes[0][0] < 64


def test_the_first_view_is_shown_however_little_room_there_is():
    fitted = fit([View("a", [[pattern(1)], [pattern(2)]])], -5)
    assert fitted.sizes == [(1, 1)]
    assert "1x1 pixels" in fitted.note


@pytest.mark.slow
def test_a_huge_view_is_judged_by_a_sample_and_not_encoded_whole(monkeypatch):
    encoded = []
    real = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, *a, **k: (encoded.append(self.size), real(self, *a, **k))[1])
    fitted = fit([View("a", [[pattern(0, (2000, 2000))]])], 500_000)
    assert max(width for width, _ in encoded) < 1000
    assert 100_000 < fitted.size <= 500_000


@pytest.mark.parametrize(
    "images",
    [[[pattern(0, (9, 9))], [pattern(0, (9, 8))]], [[np.zeros((9, 9, 4), np.uint8)]], [[np.zeros((9, 9, 3), float)]]],
)
def test_frames_of_other_shapes_and_types_are_refused(images):
    with pytest.raises(ValueError, match="frame"):
        fit([View("a", images)], AMPLE)


def test_a_thumbnail_is_small():
    thumb = thumbnail(pattern(0, (900, 1600)))
    assert decoded(thumb).shape == (90, 160, 3)
    assert thumb.size < 12_000
