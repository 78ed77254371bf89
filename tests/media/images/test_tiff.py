"""TIFF: deep samples, compressions, premultiplied alpha, pages."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support.images import (
    SHAPES,
    ffmpeg_tiff,
    info_of,
    noise,
    opened,
    pillow,
    saved,
    written,
)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_like_a_shallow_one(orientation):
    array = noise(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    _, (expected,) = opened(saved(pillow(array), "TIFF", exif=exif))
    buffer = io.BytesIO()
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(buffer, array * np.uint16(257), photometric="rgb", extratags=tags)
    _, (frame,) = opened(buffer.getvalue())
    np.testing.assert_array_equal(frame, expected * np.uint16(257))


@pytest.mark.parametrize("dtype", ["u2", "f2", "f4", "f8"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_deep_tiffs_keep_every_value(dtype, planes):
    array = noise(5, 7, 3, dtype="u2") if dtype == "u2" else np.linspace(-1, 3, 105).astype(dtype).reshape(5, 7, 3)
    data = array if planes == "contig" else np.moveaxis(array, 2, 0)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, data, photometric="rgb", planarconfig=planes, compression="zlib")
    info, (frame,) = opened(buffer.getvalue())
    assert info.depth == (16 if dtype == "u2" else 32)
    np.testing.assert_array_equal(frame, array.astype(frame.dtype))


@pytest.mark.parametrize("algorithm", ["raw", "packbits", "lzw", "deflate"])
def test_16_bit_tiffs_of_every_common_compression_are_read(algorithm):
    array = noise(20, 30, 3, dtype="u2")
    np.testing.assert_array_equal(opened(ffmpeg_tiff(array, algorithm))[1][0], array)


def test_premultiplied_alpha_is_undone():
    array = np.full((4, 4, 4), (1000, 2000, 3000, 32768), np.uint16)
    array[0, 0] = 0
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="rgb", extrasamples=["assocalpha"])
    _, (frame,) = opened(buffer.getvalue())
    np.testing.assert_array_equal(frame[1, 1], (2000, 4000, 6000, 32768))
    np.testing.assert_array_equal(frame[0, 0], 0)


def test_pages_are_frames_and_pages_of_another_size_are_named_as_lost():
    pages = [noise(5, 6, 3, seed=seed) for seed in range(3)]
    first, *others = [pillow(page) for page in pages]
    data = saved(first, "TIFF", save_all=True, append_images=[*others, pillow(noise(3, 3, 3))])
    info, frames = opened(data)
    assert info.frames == 3
    assert not info.durations
    assert any("1 of 4 pages" in warning for warning in info.warnings)
    np.testing.assert_array_equal(frames, pages)
    info, frames = opened(written(frames, info, "tiff"))
    np.testing.assert_array_equal(frames, pages)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_tiff_is_read_back_by_tifffile(kind, dtype):
    array = noise(*SHAPES[kind], dtype="u2")
    array = array.astype("f4") / 7 - 100 if dtype == "f4" else array.astype(dtype)
    data = written([array], info_of(array), "tiff")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)).reshape(array.shape), array)
    np.testing.assert_array_equal(opened(data)[1][0], array)
    if dtype == "u1":
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))).reshape(array.shape), array)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_description_that_declares_the_old_size_is_not_kept_and_any_other_is(dtype, caplog):
    array = noise(6, 8, 3, dtype="u2").astype(dtype)
    for text in (None, "a view of the lake"):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, photometric="rgb", description=text, metadata=None if text else {})
        info, frames = opened(buffer.getvalue())
        large = np.repeat(np.repeat(frames[0], 2, 0), 2, 1)
        with tifffile.TiffFile(io.BytesIO(written([large], info, "tiff"))) as file:
            assert file.pages[0].description == (text or "")  # type: ignore[union-attr]
            assert file.asarray().shape == (12, 16, 3)
    assert caplog.records == []  # tifffile warns of a shape that is wrong
