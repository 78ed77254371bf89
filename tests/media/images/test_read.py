"""Images are read upright and through their colour profiles."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from dagan_cli.media.images import (
    output_suffix,
)
from tests.support.images import (
    noise,
    opened,
    photo,
    pillow,
    saved,
    written,
)


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once_and_then_forgotten(format, orientation, tmp_path):
    array = photo((8, 16, 3))
    array[:4, :4] = (250, 40, 40)  # no two turns look alike
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"TIFF": {}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {"lossless": True})
    data = saved(pillow(array), format, exif=exif, **options)
    upright = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if format != "TIFF":  # which Pillow turns itself
        turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
        image = Image.open(io.BytesIO(data)).convert("RGB")
        upright = np.asarray(image.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else image)
    info, (frame,) = opened(data)
    np.testing.assert_array_equal(frame, upright)
    assert (info.height, info.width) == frame.shape[:2]
    again, (second,) = opened(written([frame], info, "png"))
    np.testing.assert_array_equal(second, frame)
    assert (again.height, again.width) == frame.shape[:2]


def profile_of_one_grey() -> bytes:
    """A CMYK profile to which every ink is the same grey, L* = 50; its table follows ICC.1:2001 6.5.8."""
    table = b"mft1\0\0\0\0\4\3\2\0" + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table += bytes(range(256)) * 4 + bytes([128, 128, 128]) * 2**4 + bytes(range(256)) * 3
    head = struct.pack(">I4sI4s4s4s12x4s", 144 + len(table), b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    light = struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(68, b"\0") + light + bytes(48) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.slow
def test_cmyk_goes_through_its_profile_with_a_warning():
    ink = Image.new("CMYK", (8, 8), (200, 30, 10, 20))
    for format in ("TIFF", "JPEG"):
        info, (frame,) = opened(saved(ink, format, icc_profile=profile_of_one_grey()))
        assert info.warnings == ("CMYK was converted to sRGB with its profile",)
        assert info.icc is None
        assert np.abs(frame.astype(int) - 119).max() <= 2  # the sRGB code of L* = 50


def test_cmyk_without_a_profile_is_read_with_a_warning():
    ink = Image.new("CMYK", (8, 8), (200, 30, 10, 20))
    info, (plain,) = opened(saved(ink, "TIFF"))
    assert any("CMYK" in warning and "without a profile" in warning for warning in info.warnings)
    np.testing.assert_array_equal(plain, np.asarray(ink.convert("RGB")))
    assert info.icc is None


def test_the_first_picture_of_an_mpo_is_read_with_a_warning():
    first, second = photo((16, 16, 3)), noise(16, 16, 3)
    info, (frame,) = opened(saved(pillow(first), "MPO", save_all=True, append_images=[pillow(second)], quality=100))
    assert info.format == "JPEG"
    assert output_suffix(info, kept=".mpo") == ".jpg"
    assert any("2 images" in warning for warning in info.warnings)
    assert np.abs(frame.astype(int) - first).max() < 16
