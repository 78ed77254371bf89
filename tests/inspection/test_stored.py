"""`dagan verify` looks at the bytes of both images: losses are found that dagan's own readers do not see."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dagan_cli.inspection.checks import Check
from dagan_cli.inspection.stored.facts import Unclear
from dagan_cli.inspection.stored.look import look_at
from dagan_cli.inspection.verify import Verification, verify
from dagan_cli.media.images import encode_picture, open_picture, plan_output
from dagan_cli.media.images.blocks.code_points import CodePoints
from tests.support.images import info_of, noise, photo, pillow, saved, written
from tests.support.tiny import ffmpeg

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
SPACES = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
CLIP = b"\0\0\0\x18ftypmp42" + bytes(range(200))


def packet(attributes: str) -> bytes:
    rdf = f"<rdf:RDF {RDF}><rdf:Description {SPACES} {attributes}/></rdf:RDF>"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode()


def segment(number: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, 0xE0 + number, len(data) + 2) + data


def jpeg(*segments: bytes, behind: bytes = b"", size: int = 1) -> bytes:
    data = saved(pillow(photo((16, 24, 3)).repeat(size, 0).repeat(size, 1)), "JPEG", quality=95)
    return data[:2] + b"".join(segments) + data[2:] + behind


def enlarged(data: bytes, format: str) -> bytes:
    """What dagan writes for this file at twice the size."""
    with open_picture(data) as picture:
        size = (picture.info.width * 2, picture.info.height * 2)
        output = plan_output(picture.info, None, size, format=format)
        buffer = io.BytesIO()
        encode_picture(buffer, output, (frame.repeat(2, 0).repeat(2, 1) for frame in picture.frames))
    return buffer.getvalue()


def compared(folder: Path, before: bytes, after: bytes) -> Verification:
    (folder / "in").write_bytes(before)
    (folder / "out").write_bytes(after)
    return verify(folder / "in", folder / "out")


def row(found: Verification, what: str) -> Check:
    rows = {each.what: each for each in found.checks}
    assert what in rows, rows.keys()
    return rows[what]


def without_profile(data: bytes, format: str) -> bytes:
    """The same image by Pillow, without its colour profile."""
    with Image.open(io.BytesIO(data)) as image:
        return saved(Image.fromarray(np.asarray(image)), format)


# --- colour code points


@pytest.mark.parametrize("points", [CodePoints(9, 16), CodePoints(12, 13)])
@pytest.mark.parametrize("format", ["avif", "png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("source", ["avif", "png"])
def test_code_points_are_compared_in_whatever_form(tmp_path, source, format, points):
    array = photo((16, 24, 3))
    before = written([array], info_of(array, colour=points), source)
    words = f"primaries {points.primaries}, transfer {points.transfer}"
    good = compared(tmp_path, before, enlarged(before, format))
    assert not good.failed
    assert row(good, "colour code points") == Check("colour code points", words, words, "ok")
    bare = compared(tmp_path, before, without_profile(enlarged(before, format), format.upper()))
    found = row(bare, "colour code points")
    if format == "avif":  # Pillow declares sRGB
        assert (found.found, found.result) == ("primaries 1, transfer 13", "differs")
    else:
        assert (found.found, found.result) == ("missing", "lost")


def test_code_points_that_a_format_cannot_hold_are_a_note(tmp_path):
    array = photo((16, 24, 3))
    before = written([array], info_of(array, colour=CodePoints(9, 16)), "png")
    for format in ("bmp", "gif", "ppm"):
        found = row(compared(tmp_path, before, enlarged(before, format)), "colour code points")
        assert (found.result, found.found) == ("note", "missing")


# --- behind a JPEG, and XMP


def test_a_promised_clip_that_is_not_there_differs(tmp_path):
    promise = segment(1, b"http://ns.adobe.com/xap/1.0/\0" + packet('GCamera:MotionPhoto="1" dc:source="x"'))
    before = jpeg(promise, behind=CLIP)
    good = compared(tmp_path, before, enlarged(before, "jpeg"))
    assert not good.failed
    assert row(good, "clip behind the image").result == "note"
    assert row(good, "XMP properties").result == "ok"
    bad = compared(tmp_path, before, jpeg(promise, size=2))
    assert row(bad, "XMP about other data").result == "differs"


def test_lost_extended_xmp_is_found(tmp_path):
    more = packet(f'dc:subject="{"long " * 90}"')
    guid = b"0123456789ABCDEF" * 2
    main = segment(
        1,
        b"http://ns.adobe.com/xap/1.0/\0"
        + packet(f'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="{guid.decode()}" dc:source="x"'),
    )
    pieces = [
        segment(
            1, b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(more), at) + more[at : at + 200]
        )
        for at in range(0, len(more), 200)
    ]
    before = jpeg(main, *pieces)
    for format in ("jpeg", "png", "webp", "tiff", "gif", "avif"):
        found = row(compared(tmp_path, before, enlarged(before, format)), "XMP properties")
        assert (found.result, found.found) == ("ok", "2 kept"), (format, found)
    bad = row(compared(tmp_path, before, jpeg(main, size=2)), "XMP properties")
    assert (bad.result, bad.found) == ("differs", "without subject")
    assert row(compared(tmp_path, before, jpeg(size=2)), "XMP properties").result == "lost"
    assert row(compared(tmp_path, before, enlarged(before, "bmp")), "XMP properties").result == "note"


def test_long_xmp_in_an_extension_is_the_same_xmp(tmp_path):
    array = photo((16, 24, 3))
    long = b"<?xpacket begin=''?>" + packet(f'dc:subject="{"long " * 30_000}"') + b"<?xpacket end='w'?>"
    before = written([array], info_of(array, xmp=long), "png")
    assert not compared(tmp_path, before, enlarged(before, "jpeg")).failed


def test_hostile_xmp_is_not_checked(tmp_path):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    before = jpeg(segment(1, b"http://ns.adobe.com/xap/1.0/\0" + bomb))
    found = row(compared(tmp_path, before, jpeg(size=2)), "XMP properties")
    assert (found.result, found.found) == ("note", "not checked")


def test_lost_xmp_of_a_gif_is_found(tmp_path):
    array = photo((8, 8, 3))
    before = written([array], info_of(array, xmp=packet('dc:source="x"')), "gif")
    assert not compared(tmp_path, before, enlarged(before, "gif")).failed
    bare = saved(pillow(array.repeat(2, 0).repeat(2, 1)), "GIF")
    assert row(compared(tmp_path, before, bare), "XMP properties").result == "lost"


# --- Photoshop's resources


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


def test_lost_resources_are_found(tmp_path):
    block = resource(1034, b"\1") + resource(1035, b"http://example.org/") + resource(2000, bytes(26))
    before = jpeg(segment(13, b"Photoshop 3.0\0" + block))
    for format, result in (("jpeg", "ok"), ("tiff", "ok"), ("png", "note")):
        assert row(compared(tmp_path, before, enlarged(before, format)), "Photoshop resources").result == result
    assert row(compared(tmp_path, before, jpeg(size=2)), "Photoshop resources").result == "lost"
    part = jpeg(segment(13, b"Photoshop 3.0\0" + resource(1034, b"\1")), size=2)
    found = row(compared(tmp_path, before, part), "Photoshop resources")
    assert (found.result, found.found) == ("differs", "without 1035, 2000")


# --- TIFF


def tiff(*pages: tuple[np.ndarray, dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for samples, options in pages:
            writer.write(samples, photometric="rgb", metadata=None, **options)
    return buffer.getvalue()


def placed(size: int, scale: float) -> bytes:
    tags = [
        (33550, 12, 3, (scale, scale, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    ]
    return tiff((photo((12, 16, 3)).repeat(size, 0).repeat(size, 1), {"extratags": tags}))


def test_another_place_on_the_map_is_found(tmp_path):
    before = placed(1, 10.0)
    assert not compared(tmp_path, before, enlarged(before, "tiff")).failed
    assert row(compared(tmp_path, before, enlarged(before, "png")), "place on the map").result == "note"
    unscaled = compared(tmp_path, before, placed(2, 10.0))
    assert [each.what for each in unscaled.failed] == ["place on the map"]
    bare = tiff((photo((12, 16, 3)).repeat(2, 0).repeat(2, 1), {}))
    assert row(compared(tmp_path, before, bare), "place on the map").result == "lost"


def test_an_enlarged_thumbnail_is_not_the_picture(tmp_path):
    large = np.full((12, 16, 3), 100, np.uint8)
    before = tiff((large[:3, :4], {"subfiletype": 1}), (large, {}))
    assert not compared(tmp_path, before, enlarged(before, "tiff")).failed
    thumbnail = tiff((large[:6, :8], {}))
    found = row(compared(tmp_path, before, thumbnail), "page in full resolution")
    assert (found.result, "reduced copy of 4x3" in found.found) == ("differs", True)


def test_further_samples_are_noted(tmp_path):
    before = tiff((noise(12, 16, 5), {"extrasamples": ["unspecified"] * 2}))
    assert row(compared(tmp_path, before, enlarged(before, "tiff")), "further samples").result == "note"


# --- others


def test_a_damaged_chunk_is_noted(tmp_path):
    data = saved(pillow(photo((9, 13, 3))), "PNG")
    before = data[:33] + struct.pack(">I", 6) + b"tEXtTitle\0????" + data[33:]
    found = compared(tmp_path, before, enlarged(before, "png"))
    assert not found.failed
    assert row(found, "PNG chunk tEXt").result == "note"


@pytest.mark.slow
def test_bits_that_are_not_read_are_noted(tmp_path):
    source = "testsrc2=size=24x16:rate=1:duration=1,format=yuv444p10le"
    still = ("-frames:v", "1", "-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8")
    ffmpeg("-f", "lavfi", "-i", source, *still, tmp_path / "a.avif")
    before = (tmp_path / "a.avif").read_bytes()
    found = row(compared(tmp_path, before, enlarged(before, "png")), "bits of a sample in the file")
    assert (found.expected, found.result) == ("10", "note")


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp", "avif", "gif", "bmp", "tga", "ppm"])
def test_an_ordinary_image_has_no_row_about_its_bytes(tmp_path, format):
    array = photo((12, 16, 3))
    (tmp_path / f"in.{format}").write_bytes(saved(pillow(array), format.upper()))
    with open_picture(tmp_path / f"in.{format}") as picture:
        big = [frame.repeat(2, 0).repeat(2, 1) for frame in picture.frames]
        (tmp_path / f"out.{format}").write_bytes(written(big, picture.info, format))
    found = verify(tmp_path / f"in.{format}", tmp_path / f"out.{format}")
    new = {"colour code points"} if format == "avif" else set()
    assert {each.what for each in found.checks} <= {
        "size",
        "bits of a sample",
        "frames",
        "pictures",
        *new,
        "dots per inch",
    }
    assert {each.result for each in found.checks} == {"ok"}


@pytest.mark.slow
def test_damaged_bytes_are_unclear_and_nothing_else(tmp_path):
    random = np.random.default_rng(4)
    array = photo((16, 24, 3))
    rich = info_of(array, colour=CodePoints(9, 16), xmp=packet('dc:source="x"'))
    files = {name: written([array], rich, name) for name in ("jpeg", "png", "tiff", "webp", "avif", "gif")}
    files["tiff"] = placed(1, 10.0)
    files["jpeg2000"] = saved(pillow(array), "JPEG2000")
    for name, data in files.items():
        for _ in range(150):
            broken = bytearray(data)
            for at in random.integers(0, min(len(data), 600), 3):
                broken[at] = random.integers(0, 256)
            (tmp_path / "a").write_bytes(
                broken[: random.integers(1, len(data) + 1)] if random.random() < 0.3 else broken
            )
            try:
                look_at(tmp_path / "a", name.upper())
            except Unclear:
                continue
