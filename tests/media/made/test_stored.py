"""Every written format carries the record or has it beside; what the source carried stays, and other programs agree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from dagan_cli.media import images
from dagan_cli.media.images.blocks.xmp import plain, record_in, with_record, without_record
from dagan_cli.media.images.formats import FORMATS
from dagan_cli.media.images.info import PictureInfo
from dagan_cli.media.made.beside import path_beside
from dagan_cli.media.made.record import from_text, to_text
from dagan_cli.media.made.stored import read_record
from tests.support.tiny import left_over, noise

FIELDS = {"source": "12-ab", "--model": 'odd "name" <&>;=%\udcff é', "--scale": "2", "--ensemble": ""}
RECORD = to_text(FIELDS)
FOREIGN = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:rights>mine</dc:rights></r:Description></r:RDF>'
    b"</x:xmpmeta>   <?xpacket end='w'?>"
)
DAMAGED = b"<x:xmpmeta><rdf:RDF></x:xmpmeta>"
INSIDE = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF")


def written(path: Path, xmp: bytes | None = None, frames: int = 1, record: str = RECORD, **fields) -> Path:
    durations = (100.0,) * frames if frames > 1 else ()
    info = PictureInfo(
        format="PNG", width=12, height=8, channels=3, depth=8, xmp=xmp, frames=frames, durations=durations, **fields
    )
    output = images.plan_output(info, path, (12, 8), record=record)
    images.write_picture(path, output, [noise(8, 12, 3, seed=n) for n in range(frames)])
    return path


def test_a_record_is_text_that_needs_no_escapes_and_comes_back():
    assert re.fullmatch(r"[A-Za-z0-9/:,@%=;._~-]+", RECORD)
    assert from_text(RECORD) == FIELDS


@pytest.mark.parametrize("text", ["", "nonsense", "source", "--scale=2", "source=1;x", "\0" * 9])
def test_text_that_is_no_record_is_none(text):
    assert from_text(text) is None


@pytest.mark.parametrize("xmp", [None, FOREIGN, DAMAGED], ids=["no packet", "a packet", "a damaged packet"])
@pytest.mark.parametrize("suffix", [suffix for form in FORMATS for suffix in form.suffixes[:1]])
def test_every_format_has_its_record_and_keeps_the_packet(tmp_path, suffix, xmp):
    path = written(tmp_path / f"a{suffix}", xmp)
    assert read_record(path) == FIELDS
    with images.open_picture(path) as picture:
        form = picture.info.format
        assert picture.info.xmp == (xmp if form in INSIDE else None)
    assert path_beside(path).exists() == (form not in INSIDE or xmp is DAMAGED)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("kind", "depth"), [(np.uint8, 8), (np.uint16, 16), (np.float32, 32)])
def test_every_kind_of_tiff_has_it(tmp_path, kind, depth, channels):
    path = tmp_path / "a.tif"
    info = PictureInfo(format="TIFF", width=12, height=8, channels=channels, depth=depth, xmp=FOREIGN)
    output = images.plan_output(info, path, (12, 8), record=RECORD)
    images.write_picture(path, output, [noise(8, 12, channels).astype(kind)])
    assert read_record(path) == FIELDS
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".avif", ".tif"])
def test_animations_and_pages_have_it_too(tmp_path, suffix):
    assert read_record(written(tmp_path / f"a{suffix}", frames=3)) == FIELDS
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_another_program_sees_the_same_pixels_and_one_packet_with_both(tmp_path, suffix):
    with_it, without = written(tmp_path / f"a{suffix}", FOREIGN), written(tmp_path / f"b{suffix}", FOREIGN, record="")
    with Image.open(with_it) as one, Image.open(without) as other:
        assert (np.asarray(one) == np.asarray(other)).all()
        packet = one.info["xmp"]
    assert b"<dc:rights>mine</dc:rights>" in packet
    assert packet.count(b"<r:RDF") == 1
    assert b"urn:x-dagan:made/" in packet


def test_a_jpeg_whose_packet_needs_several_segments_keeps_all_of_it(tmp_path):
    long = FOREIGN.replace(b"mine", b"mine" * 40_000)
    path = written(tmp_path / "a.jpg", long)
    assert read_record(path) == FIELDS
    with images.open_picture(path) as picture:
        assert picture.info.xmp == plain(long)


def test_the_record_of_a_source_is_not_that_of_its_result(tmp_path):
    first = written(tmp_path / "a.png", FOREIGN)
    with images.open_picture(first) as picture:
        again = written(tmp_path / "b.png", picture.info.xmp, record="source=other")
    assert read_record(again) == {"source": "other"}
    assert again.read_bytes().count(b"urn:x-dagan:made/") == 1


@pytest.mark.parametrize(
    "form", ["<d:record>%s</d:record>", "<rdf:Description rdf:about=\"\" d:record='%s'/>"], ids=["element", "attribute"]
)
def test_a_packet_that_another_program_has_written_again_still_has_it(form):
    inner = form % RECORD
    outer = inner if "Description" in inner else f'<rdf:Description rdf:about="">{inner}</rdf:Description>'
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        f'xmlns:d="urn:x-dagan:made/">{outer}</rdf:RDF></x:xmpmeta>'
    ).encode()
    assert record_in(packet) == RECORD
    assert without_record(packet) == b""


def test_taking_the_record_away_leaves_the_bytes_that_were_there():
    assert without_record(with_record(FOREIGN, RECORD)) == FOREIGN
    assert without_record(with_record(b"", RECORD)) == b""
    assert with_record(with_record(FOREIGN, "source=old"), RECORD) == with_record(FOREIGN, RECORD)


def test_a_record_beside_says_nothing_about_another_file_of_that_name(tmp_path):
    path = written(tmp_path / "a.bmp")
    assert read_record(path) == FIELDS
    path.write_bytes(written(tmp_path / "b.bmp", frames=1, record="").read_bytes()[:-1] + b"?")
    assert read_record(path) is None


def test_the_record_beside_goes_when_the_file_is_replaced_without_one(tmp_path):
    path = written(tmp_path / "a.bmp")
    written(path, record="source=new")
    assert read_record(path) == {"source": "new"}
    written(path, record="")
    assert not path_beside(path).exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif", ".avif"])
def test_damage_is_no_record_and_no_error(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}")
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        assert read_record(path) in (None, FIELDS)
    path.unlink()
    assert read_record(path) is None
    path.mkdir()
    assert read_record(path) is None


def test_reading_it_decodes_no_pixel(tmp_path, monkeypatch):
    paths = [written(tmp_path / f"a{suffix}") for suffix in (".png", ".jpg", ".webp", ".tif", ".gif", ".avif")]

    def refuse(*_: object) -> None:
        raise AssertionError("it decodes")

    for kind in (Image.Image, ImageFile.ImageFile, *ImageFile.ImageFile.__subclasses__()):
        monkeypatch.setattr(kind, "load", refuse)
    assert [read_record(path) for path in paths] == [FIELDS] * len(paths)


def test_the_same_image_is_the_same_bytes(tmp_path):
    assert written(tmp_path / "a.png").read_bytes() == written(tmp_path / "b.png").read_bytes()
    texts = [path_beside(written(tmp_path / name)).read_bytes() for name in ("a.bmp", "b.bmp")]
    assert texts[0] == texts[1]
