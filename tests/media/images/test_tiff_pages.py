"""TIFF: which page is the picture, which pages and samples are left out, and where the picture lies on the map."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dagan_cli.errors import BadInput
from dagan_cli.media.images import encode_picture, plan_output
from tests.support.images import info_of, noise, opened, pillow, saved, written


def tiff(*pages: tuple[np.ndarray, dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for samples, options in pages:
            chosen: dict[str, Any] = {"metadata": None} | options
            writer.write(samples, **chosen)
    return buffer.getvalue()


RGB: dict[str, Any] = {"photometric": "rgb"}
COPY: dict[str, Any] = RGB | {"subfiletype": 1}


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("old", [False, True])
def test_the_page_in_full_resolution_is_the_picture_wherever_it_is(dtype, old):
    large, small = noise(12, 16, 3, dtype=dtype), noise(3, 4, 3, dtype=dtype)
    copy = RGB | {"extratags": [(255, 3, 1, 2, True)]} if old else COPY
    description = {"description": "the picture"}
    for pages in ([(small, copy), (large, RGB | description)], [(large, RGB | description), (small, copy)]):
        info, frames = opened(tiff(*pages))
        assert info.frames == 1
        np.testing.assert_array_equal(frames[0], large)
        assert "1 of 2 pages are reduced copies and were left out" in info.warnings
        assert info.exif
        assert b"the picture" in info.exif


def test_pages_in_full_resolution_stay_pages_between_their_copies():
    pages = [noise(12, 16, 3, seed=seed) for seed in range(2)]
    info, frames = opened(tiff(*((page, option) for page in pages for option in (RGB, COPY))))
    assert (info.frames, info.warnings) == (2, ("2 of 4 pages are reduced copies and were left out",))
    np.testing.assert_array_equal(frames, pages)


def test_a_file_of_nothing_but_copies_is_read_all_the_same():
    page = noise(3, 4, 3)
    np.testing.assert_array_equal(opened(tiff((page, COPY)))[1][0], page)


MASK = (np.ones((12, 16), bool), {"photometric": "mask", "subfiletype": 4})
OTHER_KINDS = {
    "a mask": MASK,
    "16-bit grey": (noise(12, 16, 1, dtype="u2")[..., 0], {}),
    "32-bit integers": (np.arange(192, dtype=np.uint32).reshape(12, 16), {}),
    "signed integers": (np.arange(192, dtype=np.int16).reshape(12, 16), {}),
    "complex numbers": (np.ones((12, 16), np.complex64), {}),
    "floats": (np.ones((12, 16, 3), np.float32), RGB),
}


@pytest.mark.parametrize("other", OTHER_KINDS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_page_that_cannot_be_enlarged_with_the_others_is_left_out(other, dtype):
    page = noise(12, 16, 3, dtype="u2").astype(dtype)
    if dtype == "f4" and other == "floats":
        return
    info, frames = opened(tiff((page, RGB), OTHER_KINDS[other]))
    assert info.warnings == ("1 of 2 pages differ in size or kind from the first and were left out",)
    np.testing.assert_array_equal(frames, [page])


def test_a_mask_of_the_same_kind_of_samples_is_no_page():
    page = noise(12, 16, 3)
    data = tiff((page, RGB), (page, RGB | {"subfiletype": 2}))
    entry = b"\xfe\0\x04\0\x01\0\0\0"  # NewSubfileType
    info, _ = opened(data.replace(entry + b"\2", entry + b"\4"))
    assert (info.frames, len(info.warnings)) == (1, 1)
    assert opened(data)[0].frames == 2


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_mask_or_unknown_thumbnail_in_front_of_the_picture_is_left_out(dtype):
    page = noise(12, 16, 3, dtype=dtype)
    for other in (MASK, (np.ones((3, 4), np.complex64), {"subfiletype": 1})):
        info, frames = opened(tiff(other, (page, RGB), (page[::-1].copy(), RGB)))
        assert len(info.warnings) == 1
        np.testing.assert_array_equal(frames, [page, page[::-1]])


def test_integers_of_32_bits_alone_are_refused_by_name():
    with pytest.raises(BadInput, match="32 bits are not supported"):
        opened(tiff(OTHER_KINDS["32-bit integers"]))


def test_a_chain_of_pages_in_a_circle_ends():
    data = bytearray(tiff((noise(4, 4, 3), RGB)))
    first = int.from_bytes(data[4:8], "little")
    behind = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[behind : behind + 4] = data[4:8]
    assert opened(bytes(data))[0].frames == 1


# --- further samples


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_single_further_sample_of_an_unspecified_kind_is_alpha(dtype, colours, compression):
    array = noise(8, 9, colours + 1, dtype="u2").astype(dtype)
    options = RGB if colours == 3 else {"photometric": "minisblack", "planarconfig": "contig"}
    data = tiff((array, options | {"extrasamples": ["unspecified"], "compression": compression}))
    assert tifffile.TiffFile(io.BytesIO(data)).pages[0].aspage().extrasamples == (0,)
    info, (frame,) = opened(data)
    assert (info.channels, info.warnings) == (colours + 1, ())
    np.testing.assert_array_equal(frame, array)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize(("samples", "photometric"), [(5, "rgb"), (6, "rgb"), (5, "minisblack")])
def test_more_samples_than_colour_and_alpha_are_named(dtype, samples, photometric):
    array = noise(8, 9, samples, dtype="u2").astype(dtype)
    colours = 3 if photometric == "rgb" else 1
    extra = ["unspecified"] * (samples - colours)
    info, (frame,) = opened(
        tiff((array, {"photometric": photometric, "planarconfig": "contig", "extrasamples": extra}))
    )
    assert info.warnings == (f"{samples - colours} extra channels, neither colour nor alpha, were left out",)
    np.testing.assert_array_equal(frame, array[..., :colours])


def test_alpha_among_more_samples_is_alpha():
    array = noise(8, 9, 5)
    info, (frame,) = opened(tiff((array, RGB | {"extrasamples": ["unassalpha", "unspecified"]})))
    assert "1 extra channels" in info.warnings[0]
    np.testing.assert_array_equal(frame, array[..., :4])


def test_alpha_of_8_bits_is_read_as_before():
    array = noise(8, 9, 4)
    np.testing.assert_array_equal(opened(saved(pillow(array), "TIFF", compression="tiff_lzw"))[1][0], array)
    opaque = np.full((8, 9, 4), (10, 20, 30, 128), np.uint8)
    _, (frame,) = opened(tiff((opaque, RGB | {"extrasamples": ["assocalpha"]})))
    assert np.abs(frame[0, 0].astype(int) - (20, 40, 60, 128)).max() <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("channels", [2, 4])
def test_it_is_alpha_in_every_common_compression(compression, channels):
    array = noise(8, 9, channels)
    data = bytearray(saved(pillow(array), "TIFF", compression=compression))
    entry = data.index(b"\x52\x01\x03\x00\x01\x00\x00\x00\x02")  # ExtraSamples: unassociated alpha
    data[entry + 8] = 0
    info, (frame,) = opened(bytes(data))
    assert info.warnings == ()
    np.testing.assert_array_equal(frame, array)


# --- on the map


KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 1)
POINT_KEYS = (*KEYS[:-1], 2)
SCALE, TIE, MATRIX = 33550, 33922, 34264


def geo_tiff(*tags: tuple, dtype: str = "u1") -> bytes:
    return tiff((noise(6, 8, 3, dtype=dtype), RGB | {"extratags": list(tags)}))


def enlarged(data: bytes, across: int, down: int, format: str = "tiff") -> dict[int, Any]:
    """The tags of the enlarged file, by tifffile."""
    info, (frame,) = opened(data)
    size = (info.width * across, info.height * down)
    buffer = io.BytesIO()
    encode_picture(buffer, plan_output(info, None, size, format=format), [frame.repeat(down, 0).repeat(across, 1)])
    buffer.seek(0)
    page = tifffile.TiffFile(buffer).pages[0].aspage()
    return {tag.code: tag.value for tag in page.tags}


def on_map(tags: dict[int, Any], column: float, row: float) -> tuple[float, float]:
    """Where the edge between pixels is that has `column` pixels left of it, and `row` above: GeoTIFF 1.1, annex C."""
    keys = tags[34735]
    if keys[-1] == 2:  # pixel (0, 0) is the centre of the first pixel
        column, row = column - 0.5, row - 0.5
    if MATRIX in tags:
        a, b, _, d, e, f, _, h = tags[MATRIX][:8]
        return a * column + b * row + d, e * column + f * row + h
    i, j, _, x, y, _ = tags[TIE]
    return x + (column - i) * tags[SCALE][0], y - (row - j) * tags[SCALE][1]


@pytest.mark.parametrize("keys", [KEYS, POINT_KEYS])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize(
    "placed",
    [
        [(SCALE, 12, 3, (10.0, 5.0, 2.0), True), (TIE, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True)],
        [(SCALE, 12, 3, (10.0, 5.0, 0.0), True), (TIE, 12, 6, (3.0, 2.5, 0.0, 5e5, 4e6, 7.0), True)],
        [(MATRIX, 12, 16, (10.0, 1.0, 0.0, 5e5, 2.0, -5.0, 0.0, 4e6, *[0.0] * 7, 1.0), True)],
    ],
)
def test_the_enlarged_picture_covers_the_same_area(placed, keys, dtype):
    data = geo_tiff(*placed, (34735, 3, len(keys), keys, True), dtype=dtype)
    before = {tag.code: tag.value for tag in tifffile.TiffFile(io.BytesIO(data)).pages[0].aspage().tags}
    after = enlarged(data, 4, 3)
    for column, row in ((0, 0), (8, 0), (0, 6), (8, 6), (2, 5)):
        assert on_map(after, column * 4, row * 3) == pytest.approx(on_map(before, column, row), rel=1e-12)


def test_other_tags_of_the_map_stay_as_they_are():
    numbers = (6378137.0, 298.257223563)
    nodata, names = b"-999", b'<GDALMetadata><Item name="x">1</Item></GDALMetadata>'
    tags = [
        (TIE, 12, 12, (0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 8.0, 6.0, 1.0, 4.0, 5.0, 6.0), True),
        (34735, 3, 12, KEYS, True),
        (34736, 12, 2, numbers, True),
        (34737, 2, 6, b"WGS84|", True),
        (42112, 2, len(names), names, True),
        (42113, 2, len(nodata), nodata, True),
    ]
    after = enlarged(geo_tiff(*tags), 2, 2)
    assert after[TIE] == (0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 16.0, 12.0, 1.0, 4.0, 5.0, 6.0)
    assert (tuple(after[34735]), after[34736], after[34737]) == (KEYS, numbers, "WGS84|")
    assert after[42112].encode() == names
    assert str(after[42113]) == "-999"


def test_what_cannot_hold_the_place_on_the_map_says_so():
    info, _ = opened(geo_tiff((SCALE, 12, 3, (10.0, 10.0, 0.0), True), (34735, 3, 12, KEYS, True)))
    for name in ("png", "jpeg", "webp", "avif"):
        assert "place the image on the map" in " ".join(plan_output(info, None, (8, 6), format=name).warnings)
    assert plan_output(info, None, (8, 6), format="tiff").warnings == ()


def test_damaged_and_turned_places_are_left_out_and_named():
    info, _ = opened(geo_tiff((SCALE, 12, 2, (10.0, 10.0), True), (34735, 3, 12, KEYS, True)))
    assert [tag for tag, _ in info.geo] == [34735]
    assert "GeoTIFF tag 33550 is damaged" in info.warnings[0]
    info, _ = opened(geo_tiff((SCALE, 12, 3, (10.0, 10.0, 0.0), True), (274, 3, 1, 6, True)))
    assert info.geo == ()
    assert "stored turned" in info.warnings[0]
    info, _ = opened(geo_tiff((50844, 12, 2, (1.0, 2.0), True)))
    assert "camera model" in info.warnings[0]


def test_an_ordinary_tiff_has_no_place_on_the_map():
    array = noise(6, 8, 3)
    info, _ = opened(written([array], info_of(array), "tiff"))
    assert (info.geo, info.warnings) == ((), ())
    with Image.open(io.BytesIO(written([array], info, "tiff"))) as image:
        assert not {SCALE, TIE, MATRIX, 34735} & set(getattr(image, "tag_v2", {}))
