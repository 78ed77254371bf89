"""Colour by H.273 code points stays with the samples, in the form that each format has."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image, ImageCms, PngImagePlugin

from dagan_cli.media.images import PictureInfo, plan_output
from dagan_cli.media.images.blocks import boxes
from dagan_cli.media.images.blocks.code_points import CodePoints, profile_of
from tests.support.images import info_of, opened, photo, pillow, saved, written
from tests.support.tiny import ffmpeg

HDR = ("bt2020", "smpte2084", "bt2020nc")
P3 = ("smpte432", "iec61966-2-1", "bt709")


def avif(path: Path, primaries: str, transfer: str, matrix: str, pix_fmt: str = "yuv444p") -> Path:
    """An AVIF by libaom and FFmpeg, with these colours and no ICC profile."""
    colours = f"setparams=color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}:range=tv"
    source = f"testsrc2=size=64x48:rate=1:duration=1,format={pix_fmt},{colours}"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        source,
        "-frames:v",
        "1",
        "-c:v",
        "libaom-av1",
        "-still-picture",
        "1",
        "-cpu-used",
        "8",
        path,
    )
    return path


def seen_by_ffmpeg(data: bytes, path: Path) -> str:
    """Primaries and transfer as another FFmpeg reads them from the AV1 header: "bt2020/smpte2084"."""
    path.write_bytes(data)
    log = subprocess.run([get_ffmpeg_exe(), "-hide_banner", "-i", path], capture_output=True, text=True).stderr
    found = re.search(r"\((?:pc|tv), [\w-]+/([\w-]+/[\w-]+)\)", log)
    assert found, log
    return found[1]


def nclx(data: bytes) -> tuple[int, int]:
    """The code points of the only `colr` box."""
    (at,) = (found.end() for found in re.finditer(b"colrnclx", data))
    return struct.unpack_from(">HH", data, at)


def chunk(data: bytes, kind: bytes) -> bytes | None:
    at = 8
    while at < len(data):
        size, found = struct.unpack_from(">I4s", data, at)
        if found == kind:
            assert zlib.crc32(data[at + 4 : at + 8 + size]) == struct.unpack_from(">I", data, at + 8 + size)[0]
            return data[at + 8 : at + 8 + size]
        at += 12 + size
    return None


def cicp_tag(icc: bytes) -> bytes:
    (count,) = struct.unpack_from(">I", icc, 128)
    tags = dict(struct.unpack_from(">4sI", icc, 132 + 12 * n) for n in range(count))
    at = tags[b"cicp"]
    assert icc[at : at + 8] == b"cicp\0\0\0\0"
    return icc[at + 8 : at + 12]


def from_avif(path: Path) -> tuple[PictureInfo, list[np.ndarray]]:
    info, frames = opened(path)
    assert info.icc is None
    return info, frames


@pytest.mark.slow
@pytest.mark.parametrize(("colours", "points"), [(HDR, (9, 16)), (P3, (12, 13))])
def test_the_colours_of_an_avif_stay_with_its_samples(tmp_path, colours, points):
    info, frames = from_avif(avif(tmp_path / "in.avif", *colours))
    again = written(frames, info, "avif")
    assert nclx(again) == points
    assert seen_by_ffmpeg(again, tmp_path / "out.avif").endswith("/".join(colours[:2]))
    png = written(frames, info, "png")
    assert chunk(png, b"cICP") == bytes([*points, 0, 1])
    assert chunk(png, b"iCCP") is None
    for name in ("jpeg", "webp", "tiff"):
        assert plan_output(info, None, (64, 48), format=name).warnings == ()
        icc = Image.open(io.BytesIO(written(frames, info, name))).info["icc_profile"]
        assert cicp_tag(icc) == bytes([*points, 0, 1])
    for name in ("bmp", "gif", "ppm", "tga"):
        words = " ".join(plan_output(info, None, (64, 48), format=name).warnings)
        assert "without colour code points" in words


@pytest.mark.slow
def test_every_image_of_an_animated_avif_keeps_its_colours(tmp_path):
    array = photo((48, 64, 3))
    info = info_of(array, frames=2, durations=(100.0, 200.0), colour=CodePoints(9, 18))
    data = written([array, array[::-1].copy()], info, "avif")
    assert {struct.unpack_from(">HH", data, found.end()) for found in re.finditer(b"colrnclx", data)} == {(9, 18)}
    assert seen_by_ffmpeg(data, tmp_path / "out.avif").endswith("bt2020/arib-std-b67")
    again, frames = opened(data)
    assert (again.frames, again.colour, len(frames)) == (2, CodePoints(9, 18), 2)


def test_code_points_change_no_sample():
    array = photo((48, 64, 3))
    plain, coloured = (written([array], info_of(array, colour=colour), "avif") for colour in (None, CodePoints(9, 16)))
    assert len(plain) == len(coloured)
    seen = [np.asarray(Image.open(io.BytesIO(data))) for data in (plain, coloured)]
    np.testing.assert_array_equal(seen[0], seen[1])


def test_an_avif_without_colr_box_has_the_colours_of_its_stream():
    array = photo((48, 64, 3))
    data = written([array], info_of(array, colour=CodePoints(12, 13)), "avif")
    assert opened(data.replace(b"colrnclx", b"freenclx"))[0].colour == CodePoints(12, 13)


def png_with(array: np.ndarray, **chunks: bytes) -> bytes:
    extra = PngImagePlugin.PngInfo()
    for kind, data in chunks.items():
        extra.add(kind.encode(), data)
    return saved(pillow(array), "PNG", pnginfo=extra)


def test_the_colours_of_a_png_stay_with_its_samples(tmp_path):
    info, frames = opened(png_with(photo((48, 64, 3)), cICP=bytes([9, 16, 0, 1])))
    assert chunk(written(frames, info, "png"), b"cICP") == bytes([9, 16, 0, 1])
    data = written(frames, info, "avif")
    assert nclx(data) == (9, 16)
    assert seen_by_ffmpeg(data, tmp_path / "out.avif").endswith("bt2020/smpte2084")
    icc = Image.open(io.BytesIO(written(frames, info, "jpeg"))).info["icc_profile"]
    assert cicp_tag(icc) == bytes([9, 16, 0, 1])


def test_a_profile_next_to_code_points_is_kept_and_the_loss_is_named():
    """In a PNG the code points outrank the profile; in an AVIF the profile outranks the code points."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    array = photo((48, 64, 3))
    info = info_of(array, icc=profile, colour=CodePoints(9, 16))
    output = plan_output(info, None, (64, 48), format="jpeg")
    assert output.info.icc == profile
    assert "give way to its colour profile" in output.warnings[0]
    from_avif = info_of(array, format="AVIF", icc=profile, colour=CodePoints(9, 16))
    output = plan_output(from_avif, None, (64, 48), format="png")
    assert (output.info.icc, output.info.colour, output.warnings) == (profile, None, ())


def test_narrow_range_is_kept_in_png_and_named_elsewhere():
    info, frames = opened(png_with(photo((9, 13, 3)), cICP=bytes([9, 16, 0, 0])))
    assert chunk(written(frames, info, "png"), b"cICP") == bytes([9, 16, 0, 0])
    for name in ("avif", "jpeg"):
        assert "code points" in plan_output(info, None, (13, 9), format=name).warnings[0]


def test_light_levels_are_kept_in_png_and_named_elsewhere():
    light = struct.pack(">II", 10_000_000, 4_000_000)  # 1000 and 400 cd/m2
    data = saved(pillow(photo((9, 13, 3))), "PNG")
    extra = struct.pack(">I", 8) + b"cLLI" + light + struct.pack(">I", zlib.crc32(b"cLLI" + light))
    info, frames = opened(data[:33] + extra + data[33:])
    assert chunk(written(frames, info, "png"), b"cLLI") == light
    assert "light levels" in plan_output(info, None, (13, 9), format="avif").warnings[0]


def test_the_profile_of_display_p3_has_its_published_colorants_and_curve():
    """Colorants under D50 as in Apple's and the ICC's profiles of Display P3."""
    data = profile_of(CodePoints(12, 13))
    assert data
    profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(data)).profile
    assert profile.red_colorant[0] == pytest.approx((0.5151, 0.2412, -0.0011), abs=2e-4)
    assert profile.green_colorant[0] == pytest.approx((0.2920, 0.6922, 0.0419), abs=2e-4)
    assert profile.blue_colorant[0] == pytest.approx((0.1571, 0.0666, 0.7841), abs=2e-4)


@pytest.mark.parametrize("transfer", [1, 4, 5, 7, 8, 13, 14, 16, 18])
def test_every_profile_is_read_by_lcms_and_srgb_is_the_identity(transfer):
    data = profile_of(CodePoints(1, transfer))
    assert data
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(data)), ImageCms.createProfile("sRGB")
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2))
    seen = np.asarray(ImageCms.applyTransform(ramp, ImageCms.buildTransform(own, srgb, "RGB", "RGB"))).astype(int)
    assert (np.diff(seen[0, :, 0]) >= 0).all()
    assert (np.ptp(seen, axis=2) <= 1).all()  # grey stays grey
    if transfer == 13:
        assert np.abs(seen[0, :, 0] - np.arange(256)).max() <= 1


def test_the_curve_of_pq_is_that_of_the_standard():
    """SMPTE ST 2084: 100 cd/m2 is coded as 0.5081, 1000 as 0.7518."""
    data = profile_of(CodePoints(9, 16))
    assert data
    tags = {data[at : at + 4]: struct.unpack_from(">II", data, at + 4) for at in range(132, 132 + 12 * 11, 12)}
    at, size = tags[b"rTRC"]
    curve = np.frombuffer(data, ">u2", (size - 12) // 2, at + 12) / 65535 * 10000
    for light, coded in ((100, 0.5081), (1000, 0.7518)):
        assert np.interp(coded, np.linspace(0, 1, len(curve)), curve) == pytest.approx(light, rel=0.005)


def test_unknown_code_points_have_no_profile_and_are_named():
    info = info_of(photo((9, 13, 3)), colour=CodePoints(9, 200))
    assert profile_of(CodePoints(9, 200)) is None
    assert "BT.2020 transfer 200" in plan_output(info, None, (13, 9), format="jpeg").warnings[0]


def test_damaged_boxes_raise_nothing_but_what_the_reader_expects():
    array = photo((48, 64, 3))
    data = bytearray(written([array], info_of(array, colour=CodePoints(9, 16)), "avif"))
    random = np.random.default_rng(5)
    for _ in range(400):
        broken = bytearray(data)
        for at in random.integers(0, 300, 3):
            broken[at] = random.integers(0, 256)
        for look in (boxes.colour_of, boxes.light_of, boxes.other_images):
            with suppress(struct.error, IndexError):
                look(bytes(broken))
