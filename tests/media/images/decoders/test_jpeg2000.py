"""JPEG 2000 keeps more than 8 bits, and the metadata in its boxes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dagan_cli.errors import BadInput
from tests.support.images import noise, opened, photo, pillow, saved
from tests.support.tiny import ffmpeg

SIZE = (48, 32)


def by_ffmpeg(path: Path, samples: np.ndarray, pix_fmt: str, encoder: str = "jpeg2000") -> Path:
    """A lossless file from these samples."""
    (path.parent / "in.raw").write_bytes(samples.tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", "48x32", "-i", path.parent / "in.raw")
    lossless = ("-pred", "1", "-format", path.suffix[1:]) if encoder == "jpeg2000" else ("-compression_level", "0")
    ffmpeg(*raw, "-c:v", encoder, *lossless, "-f", "image2", "-update", "1", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
@pytest.mark.parametrize(("pix_fmt", "channels"), [("rgb48le", 3), ("gray16le", 1)])
def test_16_bits_are_kept(tmp_path, suffix, pix_fmt, channels):
    array = noise(32, 48, channels, dtype="u2")
    info, (frame,) = opened(by_ffmpeg(tmp_path / f"a{suffix}", array, pix_fmt))
    assert (info.format, info.depth, info.channels, info.warnings) == ("JPEG2000", 16, channels, ())
    np.testing.assert_array_equal(frame, array)


@pytest.mark.slow
def test_16_bits_with_alpha_are_kept(tmp_path):
    array = noise(32, 48, 4, dtype="u2")
    info, (frame,) = opened(by_ffmpeg(tmp_path / "a.jp2", array, "rgba64le", "libopenjpeg"))
    assert (info.depth, info.channels, info.warnings) == (16, 4, ())
    np.testing.assert_array_equal(frame, array)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_other_depths_are_stretched_to_the_full_range(tmp_path, bits):
    most = 2**bits - 1
    array = (noise(32, 48, 1, dtype="u2") >> (16 - bits)).astype("<u2")
    array[0, :2, 0] = 0, most
    info, (frame,) = opened(by_ffmpeg(tmp_path / "a.jp2", array, f"gray{bits}le", "libopenjpeg"))
    assert info.depth == 16
    np.testing.assert_array_equal(frame, np.rint(array * (65535 / most)))


@pytest.mark.slow
def test_what_is_read_with_8_bits_says_so(tmp_path):
    array = noise(32, 48, 3, dtype="u2") >> 6
    path = by_ffmpeg(tmp_path / "a.jp2", array.transpose(2, 0, 1), "yuv444p10le", "libopenjpeg")
    info, _ = opened(path)
    assert (info.depth, info.warnings) == (8, ("it was read with 8 bits per sample",))


def test_8_bits_are_read_as_before():
    array = noise(32, 48, 3)
    info, (frame,) = opened(saved(pillow(array), "JPEG2000"))
    assert (info.depth, info.warnings) == (8, ())
    np.testing.assert_array_equal(frame, array)


def test_profile_exif_and_xmp_in_its_boxes_are_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Ace"
    data = saved(pillow(photo((32, 48, 3))), "JPEG2000")
    colr = struct.pack(">I4s", 15, b"colr") + b"\1"
    at = data.index(colr)
    data = data[:at] + struct.pack(">I4s", 11 + len(profile), b"colr") + b"\2\0\0" + profile + data[at + 15 :]
    head = data.index(b"jp2h") - 4
    size = int.from_bytes(data[head : head + 4], "big") - 4 + len(profile)
    data = data[:head] + struct.pack(">I", size) + data[head + 4 :]
    xmp = b"<x:xmpmeta>me</x:xmpmeta>"
    for uuid, content in (
        (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), xmp),
        (b"JpgTiffExif->JP2", exif.tobytes().removeprefix(b"Exif\0\0")),
    ):
        data += struct.pack(">I4s", 24 + len(content), b"uuid") + uuid + content
    info, _ = opened(data)
    assert (info.icc, info.xmp) == (profile, xmp)
    assert info.exif
    assert b"Ace" in info.exif


@pytest.mark.slow
def test_a_codestream_larger_than_its_header_says_is_refused(tmp_path):
    data = bytearray(by_ffmpeg(tmp_path / "a.jp2", noise(32, 48, 3, dtype="u2"), "rgb48le").read_bytes())
    at = data.index(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">II", data, at, 60_000, 60_000)
    with pytest.raises(BadInput):
        opened(bytes(data))
    random = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        for place in random.integers(0, 200, 3):
            broken[place] = random.integers(0, 256)
        try:
            opened(io.BytesIO(bytes(broken)).getvalue())
        except BadInput:
            continue
