"""Metadata of an image survives, and fits its new size."""

import io
import struct

import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from dagan_cli.media.images import (
    encode_picture,
    plan_output,
    tiff,
)
from tests.support.images import (
    exif_block,
    info_of,
    noise,
    opened,
    photo,
    pillow,
    saved,
    written,
)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff", "avif"])
def test_profile_exif_xmp_and_resolution_are_kept(name, depth):
    array = photo((9, 13, 3)).astype(f"u{depth // 8}")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    info = info_of(array, icc=profile, exif=exif_block(), xmp=b"<x:xmpmeta>me</x:xmpmeta>", dpi=(300.0, 300.0))
    again, _ = opened(written([array], info, name))
    assert (again.icc, again.xmp) == (profile, info.xmp)
    assert again.exif
    assert b"Ace" in again.exif
    seen = Image.Exif()
    seen.load(again.exif)
    assert seen.get_ifd(0x8769)[0xA002] == 13
    if name in ("png", "jpeg", "tiff"):
        assert again.dpi == pytest.approx((300, 300), abs=0.01)
    if name == "png":
        judge = Image.open(io.BytesIO(written([array], info, name)))
        assert judge.info["icc_profile"] == profile
        assert judge.getexif()[0x010F] == "Ace"
        assert judge.info["XML:com.adobe.xmp"] == "<x:xmpmeta>me</x:xmpmeta>"


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_speaks_of_the_new_size_and_loses_its_thumbnail(order):
    array = photo((9, 13, 3))
    data = saved(pillow(array), "JPEG", exif=b"Exif\0\0" + exif_block(6, order))
    info, (frame,) = opened(data)
    big = frame.repeat(4, axis=0).repeat(4, axis=1)
    output = plan_output(info, None, (36, 52), format="jpeg")
    buffer = io.BytesIO()
    encode_picture(buffer, output, [big])
    exif = Image.open(buffer).getexif()
    assert exif[0x0112] == 1
    assert exif[0x010F] == "Ace"
    assert exif.get_ifd(0x8769)[0xA002] == 36
    assert exif.get_ifd(0x8769)[0x927C] == b"a note!!"
    assert not exif.get_ifd(1)


def test_exif_and_gps_survive_in_a_big_tiff_too():
    exif = Image.Exif()
    exif[0x010F] = "Ace"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    for size in (100, 5_000_000_000):
        buffer = io.BytesIO()
        fields = {"icc": None, "xmp": None, "iptc": b"\x1c\x02\0\0\0", "photoshop": None, "geo": (), "dpi": None}
        tiff.write_tiff(buffer, [noise(5, 5, 3)], expected_bytes=size, exif=block, **fields)
        buffer.seek(0)
        page = tifffile.TiffFile(buffer).pages[0].aspage()
        assert page.parent.is_bigtiff == (size > 1000)
        tags = tiff.read_tags(buffer)
        assert (tags[0x010F], tags[0x8769][0x9003], tags[0x8825][1]) == ("Ace", "2024:01:02 03:04:05", "N")


def test_xmp_no_longer_says_how_to_turn():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" tiff:Make="Ace"/></x:xmpmeta>'
    info, (frame,) = opened(saved(pillow(photo((8, 16, 3))), "JPEG", xmp=xmp))
    assert frame.shape == (16, 8, 3)
    assert info.xmp
    assert b"Orientation" not in info.xmp
    assert b"Ace" in info.xmp


def test_png_colour_tags_and_texts_are_kept_in_png():
    texts = PngImagePlugin.PngInfo()
    texts.add(b"gAMA", struct.pack(">I", 100000))
    texts.add_text("parameters", "a prompt", zip=True)
    for array in (noise(5, 5, 3), noise(5, 5, 3, dtype="u2")):
        info, _ = opened(saved(pillow(noise(5, 5, 3)), "PNG", pnginfo=texts))
        info = info_of(array, chunks=info.chunks)
        judge = Image.open(io.BytesIO(written([array], info, "png")))
        assert judge.info["gamma"] == 1.0
        assert judge.info["parameters"] == "a prompt"


def test_iptc_and_comments_are_kept_in_jpeg():
    array = photo((9, 13, 3))
    info = info_of(array, iptc=b"\x1c\x02\x78\x00\x05Hello", comment=b"by me")
    data = written([array], info, "jpeg")
    judge = Image.open(io.BytesIO(data))
    assert judge.info["photoshop"][0x0404] == info.iptc
    assert judge.info["comment"] == b"by me"
    again, _ = opened(data)
    assert (again.iptc, again.comment) == (info.iptc, info.comment)
