"""JPEG XL: every sample that the plugin gives, turned once, with profile and metadata; and what is not read."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image, ImageCms

from dagan_cli.errors import BadInput
from dagan_cli.inspection.verify import verify
from dagan_cli.media.images import open_picture
from dagan_cli.media.images.decoders import jpegxl
from tests.support.images import noise, opened, photo, pillow, saved, written

ROOT = Path(__file__).parents[4]
FORMATS = {(1, 1): "gray", (2, 1): "ya8", (3, 1): "rgb24", (4, 1): "rgba"}
FORMATS |= {(1, 2): "gray16le", (2, 2): "ya16le", (3, 2): "rgb48le", (4, 2): "rgba64le", (3, 4): "rgbf32le"}


@pytest.fixture
def plugin() -> Any:
    return pytest.importorskip("pillow_jxl")


def jxl(samples: np.ndarray, *options: str, encoder: str = "libjxl") -> bytes:
    """Samples (H, W, C), or frames of them, coded without loss by FFmpeg."""
    height, width, channels = samples.shape[-3:]
    raw = ("-f", "rawvideo", "-pix_fmt", FORMATS[channels, samples.itemsize], "-s", f"{width}x{height}", "-i", "-")
    out = ("-c:v", encoder, "-distance", "0", *options, "-f", "image2pipe", "-")
    return subprocess.run(
        [get_ffmpeg_exe(), "-v", "error", *raw, *out], input=samples.tobytes(), capture_output=True, check=True
    ).stdout


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxed(codestream: bytes, *boxes: bytes) -> bytes:
    return box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(boxes) + box(b"jxlc", codestream)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "kind"), [(1, "u1"), (2, "u1"), (3, "u1"), (4, "u1"), (1, "u2"), (2, "u2")])
def test_every_sample_is_kept(plugin, channels, kind):
    samples = noise(9, 14, channels, dtype=kind)
    info, (frame,) = opened(jxl(samples))
    assert (info.format, info.channels, info.depth, info.warnings) == ("JPEG XL", channels, 8 * samples.itemsize, ())
    assert info.lossless
    np.testing.assert_array_equal(frame, samples)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_colours_with_more_bits_are_read_with_8_and_a_notice(plugin, kind):
    samples = noise(9, 14, 3, dtype="u2") if kind == "u2" else (noise(9, 14, 3) / 255).astype("f4")
    info, (frame,) = opened(jxl(samples))
    assert (info.depth, info.warnings) == (8, ("it was read with 8 bits per sample",))
    assert np.abs(frame / 255 - samples / (65535 if kind == "u2" else 1)).max() < 1 / 255


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (40, 32), (9, 14), (300, 300), (600, 800), (9, 16), (5000, 2)])
def test_the_size_is_known_before_anything_is_decoded(size):
    header = jpegxl.read_header(io.BytesIO(jxl(noise(*size, 3))))
    assert (header.height, header.width, header.bits, header.extras) == (*size, 8, ())
    assert jpegxl.read_header(io.BytesIO(jxl(noise(*size, 4, dtype="u2")))).extras == (0,)


def test_a_jpeg_xl_above_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(jpegxl, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(BadInput, match="50x40 pixels; the limit"):
        open_picture(jxl(noise(40, 50, 3)), limit_pixels=1999)


@pytest.mark.slow
def test_profile_exif_and_xmp_are_kept_and_it_is_turned_once(plugin, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Ace"  # the orientation of the codestream counts, which is 1
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">me</x:xmpmeta>'
    samples = noise(9, 14, 3)
    data = boxed(jxl(samples), box(b"Exif", bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")), box(b"xml ", xmp))
    info, (frame,) = opened(data)
    np.testing.assert_array_equal(frame, samples)
    assert info.exif
    kept = Image.Exif()
    kept.load(info.exif)
    assert (kept[0x0112], kept[0x010F], info.xmp) == (1, "Ace", xmp)
    assert info.icc
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(info.icc)))
    (tmp_path / "in.jxl").write_bytes(data)
    (tmp_path / "out.png").write_bytes(written([frame], info, "png"))
    assert not verify(tmp_path / "in.jxl", tmp_path / "out.png").failed


@pytest.mark.slow
def test_boxes_that_are_not_read_are_named(plugin):
    data = boxed(jxl(noise(9, 14, 3)), box(b"jhgm", b"\0"), box(b"what", b""))
    assert opened(data)[0].warnings == ("a gain map for HDR screens was left out", "box 'what' was left out")
    packed = saved(pillow(noise(9, 14, 3)), "JXL", xmp=b"<x/>", use_container=True, compress_metadata=True)
    assert opened(packed)[0].warnings == ("compressed XMP data was left out",)


@pytest.mark.slow
def test_a_jpeg_inside_is_restored_with_all_that_it_holds(plugin, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = tmp_path / "in.jpg"
    jpeg.write_bytes(saved(pillow(photo((32, 48, 3))), "JPEG", exif=exif.tobytes(), comment=b"mine", dpi=(300, 300)))
    with Image.open(jpeg) as image, pytest.warns(UserWarning, match="JPEG reconstruction"):
        image.save(tmp_path / "in.jxl", lossless=True)
    expected, (frame,) = opened(jpeg)
    info, (same,) = opened(tmp_path / "in.jxl")
    np.testing.assert_array_equal(same, frame)
    assert (info.width, info.height, info.format) == (32, 48, "JPEG XL")
    assert (info.exif, info.comment, info.dpi) == (expected.exif, b"mine", (300, 300))
    unrestored = (tmp_path / "in.jxl").read_bytes().replace(b"jbrd", b"free")  # then the codestream is turned
    info, (turned,) = opened(unrestored)
    assert turned.shape == frame.shape
    assert np.abs(turned.astype(int) - frame).max() <= 3


@pytest.mark.slow
def test_an_animation_is_refused_as_the_plugin_gives_its_last_frame():
    frames = np.stack([noise(9, 14, 3, seed=seed) for seed in range(3)])
    with pytest.raises(BadInput, match="animated JPEG XL") as caught:
        opened(jxl(frames, encoder="libjxl_anim"))
    assert "convert it" in caught.value.hint


@pytest.mark.slow
def test_damaged_files_are_refused_or_have_the_shape_that_they_declare(plugin):
    random = np.random.default_rng(3)
    for data in (jxl(noise(9, 14, 3)), boxed(jxl(noise(9, 14, 2, dtype="u2")), box(b"xml ", b"<a/>"))):
        for part in (0.02, 0.3, 0.9):
            with pytest.raises(BadInput):
                opened(data[: int(len(data) * part)])
        for _ in range(60):
            broken = bytearray(data)
            for place in random.integers(0, min(len(data), 120), 3):
                broken[place] = random.integers(0, 256)
            try:
                with open_picture(bytes(broken), limit_pixels=1 << 20) as picture:
                    info, frames = picture.info, list(picture.frames)
            except BadInput:
                continue
            assert all(frame.shape == (info.height, info.width, info.channels) for frame in frames)


@pytest.mark.slow
def test_without_the_plugin_the_error_says_what_to_install(tmp_path):
    packages, folder = tmp_path / "packages", tmp_path / "images"
    packages.mkdir()
    folder.mkdir()
    for each in Path(np.__file__).parents[1].iterdir():
        if not each.name.startswith("pillow_jxl"):
            (packages / each.name).symlink_to(each)
    (folder / "a.jxl").write_bytes(jxl(noise(9, 14, 3)))
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(packages)!r}]; from dagan_cli.__main__ import main; main()"
    command = [sys.executable, "-ISc", code, "upscale", folder / "a.jxl", "-s", "2", "-n", "bicubic"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    *_, error, hint = ran.stderr.splitlines()
    assert error.endswith("a.jxl is a JPEG XL file; the plugin that reads it is not installed")
    assert "pip install 'dagan[jxl]'" in hint
    assert [path.name for path in folder.iterdir()] == ["a.jxl"]
