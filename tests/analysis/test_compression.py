"""The quality that a file declares is the one that its encoder was asked for, or that of a JPEG as bad."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dagan_cli.analysis.compression import bits_per_pixel, declared_quality, quantiser_quality, rate_quality
from dagan_cli.analysis.patches import patches_of
from dagan_cli.media.images import open_picture
from tests.support.images import saved
from tests.support.sources import jpeg_as_bad, photograph, reread


def declared(data: bytes) -> int | None:
    with open_picture(data) as picture:
        return declared_quality(data, picture.info)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}], ids=str)
@pytest.mark.parametrize("quality", [1, 13, 49, 50, 51, 75, 92, 100])
def test_a_jpeg_has_the_quality_that_its_encoder_was_given(quality, options):
    image = photograph(width=40, height=24)
    assert declared(saved(image, "JPEG", quality=quality, **options)) == quality
    assert declared(saved(image.convert("L"), "JPEG", quality=quality)) == quality


def test_other_tables_have_the_quality_of_the_standard_tables_that_are_as_coarse():
    image = photograph(width=40, height=24)
    standard = Image.open(BytesIO(saved(image, "JPEG", quality=60))).quantization[0]  # type: ignore[attr-defined]
    uneven = [max(1, step + (-1) ** place * step // 3) for place, step in enumerate(standard)]
    assert declared(saved(image, "JPEG", qtables=[uneven, uneven])) == pytest.approx(60, abs=3)
    flat = declared(saved(image, "JPEG", qtables=[[5] * 64, [5] * 64]))
    assert flat is not None
    assert 85 < flat < 98


@pytest.mark.parametrize("quality", [60, 90])
def test_a_webp_has_the_quality_of_the_jpeg_that_is_as_bad(quality):
    image = photograph()
    data = saved(image, "WEBP", quality=quality)
    assert declared(data) == pytest.approx(jpeg_as_bad(image, reread(data)), abs=10)


def test_a_webp_is_read_in_every_container():
    image = photograph(width=40, height=24)
    plain = declared(saved(image, "WEBP", quality=60))
    assert declared(saved(image, "WEBP", quality=60, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")) == plain
    frames = {"save_all": True, "append_images": [photograph(1, 40, 24)], "duration": 50}
    assert declared(saved(image, "WEBP", quality=60, **frames)) is not None
    assert declared(saved(image, "WEBP", lossless=True)) is None
    assert declared(saved(image, "PNG")) is None


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_damaged_file_declares_nothing_or_something_but_never_fails(form):
    data = saved(photograph(width=40, height=24), form, quality=60)
    with open_picture(data) as picture:
        info = picture.info
    random = np.random.default_rng(0)
    for end in range(min(len(data), 700)):
        declared_quality(data[:end], info)
        spoilt = bytearray(data[:700])
        spoilt[end % len(spoilt)] = int(random.integers(256))
        found = declared_quality(bytes(spoilt), info)
        assert found is None or 1 <= found <= 100


def test_a_file_that_is_gone_declares_nothing(tmp_path):
    with open_picture(saved(photograph(width=40, height=24), "JPEG")) as picture:
        assert declared_quality(tmp_path / "none.jpg", picture.info) is None
        assert bits_per_pixel(tmp_path / "none.jpg", picture.info) is None


@pytest.mark.slow
def test_an_avif_has_about_the_quality_of_the_jpeg_that_is_as_bad():
    image = photograph()
    for quality, tolerance in ((50, 30), (80, 10)):  # fewer bits say less of how they were spent
        data = saved(image, "AVIF", quality=quality)
        with open_picture(data) as picture:
            bits, seen = bits_per_pixel(data, picture.info), patches_of(next(picture.frames))
        assert bits is not None
        assert seen is not None
        assert bits < len(data) * 8 / image.width / image.height  # without the container
        expected = jpeg_as_bad(image, reread(data))
        assert rate_quality("avif", bits, seen.activity) == pytest.approx(expected, abs=tolerance)


def test_more_bits_are_a_higher_quality_and_more_activity_needs_them():
    qualities = [rate_quality("hevc", bits, 8) or 0 for bits in (0.1, 0.3, 1, 3)]
    assert qualities == sorted(set(qualities))
    assert (rate_quality("hevc", 0.5, 4) or 0) > (rate_quality("hevc", 0.5, 16) or 0)
    assert (rate_quality("hevc", 0.5, 8) or 0) > (rate_quality("mjpeg", 0.5, 8) or 0)
    assert rate_quality("hevc", 0, 8) is None
    assert rate_quality("hevc", 1, 0) is None
    assert quantiser_quality("prores", 5) is None
