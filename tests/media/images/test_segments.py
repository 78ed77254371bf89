"""What JPEG files carry next to the image: clips and gain maps behind it, extended XMP, Photoshop's resources."""

from __future__ import annotations

import io
import re
import struct
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image

from dagan_cli.media.images import PictureInfo, plan_output
from dagan_cli.media.images.blocks import photoshop, xmp
from dagan_cli.media.images.blocks.segments import read_segments
from dagan_cli.media.images.gif import application_data
from tests.support.images import info_of, opened, photo, pillow, saved, written
from tests.support.tiny import ffmpeg

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
CAMERA = "http://ns.google.com/photos/1.0/camera/"
DC = "http://purl.org/dc/elements/1.1/"
NOTE = "http://ns.adobe.com/xmp/note/"


def packet(attributes: str, children: str = "") -> bytes:
    spaces = f'xmlns:GCamera="{CAMERA}" xmlns:dc="{DC}" xmlns:xmpNote="{NOTE}" xmlns:other="http://example.org/a>b/"'
    rdf = f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" {spaces} {attributes}>{children}</rdf:Description>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</rdf:RDF></x:xmpmeta>'.encode()


def properties(data: bytes) -> dict[str, str | None]:
    """All properties of a packet by ElementTree: "{namespace}name" -> text."""
    found: dict[str, str | None] = {}
    for each in ElementTree.fromstring(data).iter(f"{{{RDF}}}Description"):
        found |= {name: text for name, text in each.attrib.items() if not name.startswith(f"{{{RDF}}}")}
        found |= {child.tag: "".join(child.itertext()) for child in each}
    return found


def segment(number: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, 0xE0 + number, len(data) + 2) + data


def jpeg(*segments: bytes, behind: bytes = b"", **options) -> bytes:
    data = saved(pillow(photo((16, 24, 3))), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:] + behind


def xmp_segment(data: bytes) -> bytes:
    return segment(1, b"http://ns.adobe.com/xap/1.0/\0" + data)


def extension(data: bytes, step: int = 100, guid: bytes = b"") -> list[bytes]:
    """The extension segments of this packet, `step` bytes each."""
    guid = guid or md5(data).hexdigest().upper().encode()
    heading = b"http://ns.adobe.com/xmp/extension/\0" + guid
    return [
        segment(1, heading + struct.pack(">II", len(data), at) + data[at : at + step])
        for at in range(0, len(data), step)
    ]


def linked(data: bytes, attributes: str = "") -> bytes:
    return xmp_segment(packet(f'xmpNote:HasExtendedXMP="{md5(data).hexdigest().upper()}" {attributes}'))


def words(info: PictureInfo) -> str:
    return " | ".join(info.warnings)


# --- behind the image


@pytest.mark.slow
def test_the_clip_of_a_motion_photo_is_named_and_promised_no_more(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=32x32:rate=5:duration=1", "-c:v", "libx264", tmp_path / "clip.mp4")
    clip = (tmp_path / "clip.mp4").read_bytes()
    promise = f'GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="{len(clip)}" dc:source="a &gt; b"'
    child = "<GCamera:MotionPhotoVersion>1</GCamera:MotionPhotoVersion><dc:format>image/jpeg</dc:format>"
    info, frames = opened(jpeg(xmp_segment(packet(promise, child)), behind=clip))
    assert f"the clip of a motion photo was left out: {len(clip):,} bytes behind the image" in words(info)
    assert "MotionPhoto" in words(info)
    for name in ("jpeg", "png", "webp", "tiff"):
        data = written(frames, info, name)
        assert b"MotionPhoto" not in data
        assert b"MicroVideo" not in data
        assert clip not in data
    kept = Image.open(io.BytesIO(written(frames, info, "jpeg"))).info["xmp"]
    assert properties(kept) == {f"{{{DC}}}source": "a > b", f"{{{DC}}}format": "image/jpeg"}


def gain_map_file() -> bytes:
    """As phones write it: a directory of items in the XMP, and the gain map behind the image."""
    inner = saved(pillow(photo((4, 6, 1))), "JPEG", xmp=b"<x hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'/>")
    spaces = (
        'xmlns:C="http://ns.google.com/photos/1.0/container/" xmlns:I="http://ns.google.com/photos/1.0/container/item/"'
    )
    items = f'<rdf:li rdf:parseType="Resource"><C:Item I:Semantic="GainMap" I:Length="{len(inner)}"/></rdf:li>'
    folder = f"<C:Directory {spaces}><rdf:Seq>{items}</rdf:Seq></C:Directory>"
    head = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" dc:source="me"'
    return jpeg(xmp_segment(packet(head, folder)), behind=inner)


def test_a_gain_map_is_named_and_promised_no_more():
    info, frames = opened(gain_map_file())
    assert "a gain map for HDR screens was left out" in words(info)
    kept = Image.open(io.BytesIO(written(frames, info, "jpeg"))).info["xmp"]
    assert properties(kept) == {f"{{{DC}}}source": "me"}
    assert b"Directory" not in kept


def test_other_data_behind_the_image_is_named_but_not_padding():
    assert "other data was left out: 9 bytes behind the image" in words(opened(jpeg(behind=b"some text"))[0])
    for padding in (b"", bytes(500), b"\r\n", b"\xff" * 7):
        assert opened(jpeg(behind=padding))[0].warnings == ()


def test_the_end_of_the_image_is_found_after_several_scans_and_restarts():
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for options in ({"progressive": True}, {"restart_marker_blocks": 1}):
        info, _ = opened(saved(pillow(noise), "JPEG", quality=95, **options) + b"behind")
        assert "6 bytes behind the image" in words(info)


def test_segments_that_nothing_reads_are_named():
    info, _ = opened(jpeg(segment(11, b"JP\0\1\0\0\0\1\0\0\0\x20jumb"), segment(7, b"vendor")))
    assert "its segments APP11 (content credentials), APP7 were left out" in words(info)


def test_xmp_without_promises_is_kept_byte_for_byte():
    data = packet('dc:source="x"') + b"  <?xpacket end='w'?>"
    assert opened(jpeg(xmp_segment(data)))[0].xmp == data


# --- extended XMP


def test_extended_xmp_is_joined():
    more = packet(f'dc:subject="{"long " * 80}"', "<dc:rights>mine</dc:rights>")
    info, frames = opened(jpeg(linked(more, 'dc:source="x"'), *reversed(extension(more))))
    assert info.warnings == ()
    for name in ("jpeg", "png", "tiff", "webp"):
        again, _ = opened(written(frames, info, name))
        assert again.xmp
        assert properties(again.xmp) == {
            f"{{{DC}}}source": "x",
            f"{{{DC}}}subject": "long " * 80,
            f"{{{DC}}}rights": "mine",
        }


def test_extended_xmp_is_joined_to_an_empty_description():
    more = packet('dc:rights="mine"').replace(b"></rdf:Description>", b"/>")
    main = packet(f'xmpNote:HasExtendedXMP="{md5(more).hexdigest()}" dc:source="x"').replace(
        b"></rdf:Description>", b"/>"
    )
    info, _ = opened(jpeg(xmp_segment(main), *extension(more)))
    assert info.xmp
    assert properties(info.xmp) == {f"{{{DC}}}source": "x", f"{{{DC}}}rights": "mine"}


def test_an_empty_property_about_a_clip_is_cut_out_alone():
    child = '<GCamera:MotionPhoto rdf:resource="a/>b"/><dc:format>x</dc:format>'
    info, _ = opened(jpeg(xmp_segment(packet("", child))))
    assert info.xmp
    assert properties(info.xmp) == {f"{{{DC}}}format": "x"}


def test_long_xmp_is_written_to_a_jpeg_as_an_extension():
    array = photo((16, 24, 3))
    long = packet(f'dc:subject="{"long " * 40_000}"')
    output = plan_output(info_of(array, xmp=long), None, (24, 16), format="jpeg")
    assert output.warnings == ()
    data = written([array], info_of(array, xmp=long), "jpeg")
    main = Image.open(io.BytesIO(data)).info["xmp"]
    guid = re.search(rb'HasExtendedXMP="(\w+)"', main)
    assert guid
    heading = b"http://ns.adobe.com/xmp/extension/\0" + guid[1]
    whole, at = b"", 2
    while data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + size]
        if body.startswith(heading):
            total, place = struct.unpack_from(">II", body, len(heading))
            assert (total, place) == (len(long), len(whole))
            whole += body[len(heading) + 8 :]
        at += 2 + size
    assert whole == long
    assert md5(whole).hexdigest().upper().encode() == guid[1]
    assert opened(data)[0].xmp == long


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda parts: parts[:-1], "is incomplete"),
        (lambda parts: parts[1:], "is incomplete"),
        (lambda parts: [*parts, parts[0]], "overlaps"),
        (lambda parts: [], "is missing"),
        (
            lambda parts: [part.replace(b"extension/\0", b"extension/\0" + b"0" * 32) for part in parts],
            "another packet",
        ),
        (lambda parts: [part[:71] + b"\xff\xff\xff\xff" + part[75:] for part in parts], "is incomplete"),
    ],
)
def test_extended_xmp_that_does_not_fit_together_is_left_out_and_named(change, problem):
    more = packet(f'dc:subject="{"long " * 80}"')
    info, _ = opened(jpeg(linked(more, 'dc:source="x"'), *change(extension(more))))
    assert problem in words(info)
    assert info.xmp
    assert properties(info.xmp) == {f"{{{DC}}}source": "x"}


def test_hostile_xmp_that_promises_something_is_left_out():
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'"><!ENTITY b "' + b"&a;" * 1000 + b'">]><x>&b; MotionPhoto</x>'
    )
    for data in (bomb, b"<x>MotionPhoto", b"<x>" * 5000 + b"MotionPhoto", packet('GCamera:MotionPhoto="1"')[:-3]):
        info, _ = opened(jpeg(xmp_segment(data)))
        assert info.xmp is None
        assert "damaged" in words(info)


@pytest.mark.slow
def test_damaged_segments_and_packets_raise_nothing():
    random = np.random.default_rng(2)
    more = packet(f'dc:subject="{"long " * 20}"')
    for data in (gain_map_file(), jpeg(linked(more, 'dc:source="x"'), *extension(more))):
        for _ in range(300):
            broken = bytearray(data)
            for at in random.integers(2, len(data), 3):
                broken[at] = random.integers(0, 256)
            found = read_segments(io.BytesIO(bytes(broken)))
            for text in found.starting_with(1, b"http://ns.adobe.com/xap/1.0/\0"):
                with suppress(xmp.Damaged):
                    xmp.joined(text, found.starting_with(1, b"http://ns.adobe.com/xmp/extension/\0"))
                with suppress(xmp.Damaged):
                    xmp.without_promises(text)


# --- Photoshop's resources


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    title = bytes([len(name)]) + name
    title += bytes(len(title) % 2)
    return b"8BIM" + struct.pack(">H", number) + title + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)


def path_record(selector: int, *points: tuple[float, float]) -> bytes:
    """A record of a path with three points (down, across), relative to the image."""
    numbers = [round(part * (1 << 24)) for point in points for part in point]
    return struct.pack(">h6i", selector, *numbers) if points else struct.pack(">h24x", selector)


PATH = path_record(6) + path_record(1, (0.25, 0.5), (0.25, 0.5), (0.125, 0.75))
RESOURCES = (
    resource(1028, b"\x1c\x02\x78\x00\x05Hello")
    + resource(1034, b"\1")
    + resource(1035, b"http://example.org/")
    + resource(2000, PATH, b"Path 1")
    + resource(2999, b"\x06Path 1\0\0\0\0")
    + resource(1036, b"an old thumbnail")
)
KEPT = resource(1034, b"\1") + resource(1035, b"http://example.org/") + resource(2000, PATH, b"Path 1")
KEPT += resource(2999, b"\x06Path 1\0\0\0\0")


def test_clipping_path_copyright_and_url_are_kept_in_jpeg_and_tiff_and_named_elsewhere():
    info, frames = opened(jpeg(segment(13, b"Photoshop 3.0\0" + RESOURCES)))
    again = written(frames, info, "jpeg")
    assert segment(13, b"Photoshop 3.0\0" + resource(1028, b"\x1c\x02\x78\x00\x05Hello") + KEPT) in again
    assert Image.open(io.BytesIO(again)).info["photoshop"][1035] == b"http://example.org/"
    page = tifffile.TiffFile(io.BytesIO(written(frames, info, "tiff"))).pages[0].aspage()
    assert page.tags[34377].value == KEPT
    from_tiff, frames = opened(written(frames, info, "tiff"))
    assert segment(13, b"Photoshop 3.0\0" + resource(1028, info.iptc or b"") + KEPT) in written(
        frames, from_tiff, "jpeg"
    )
    for name in ("png", "webp", "avif", "gif", "bmp"):
        warning = " | ".join(plan_output(info, None, (24, 16), format=name).warnings)
        assert "(a clipping path, the copyright flag, a URL, the name of the clipping path)" in warning


def test_a_path_turns_with_the_image():
    """Orientation 6: stored rows run from top to bottom as columns from right to left."""
    exif = Image.Exif()
    exif[0x0112] = 6
    info, _ = opened(jpeg(segment(13, b"Photoshop 3.0\0" + resource(2000, PATH)), exif=exif))
    turned = path_record(6) + path_record(1, (0.5, 0.75), (0.5, 0.75), (0.75, 0.875))
    assert info.photoshop == resource(2000, turned)


def test_resources_in_several_segments_are_one_block():
    """And more than one segment holds is written in several, which Pillow joins too."""
    block = resource(1035, b"u" * 70_000) + resource(1034, b"\1")
    pieces = [block[at : at + 40_000] for at in range(0, len(block), 40_000)]
    info, frames = opened(jpeg(*(segment(13, b"Photoshop 3.0\0" + piece) for piece in pieces)))
    assert info.photoshop == block
    again = written(frames, info, "jpeg")
    assert opened(again)[0].photoshop == block
    assert b"".join(read_segments(io.BytesIO(again)).starting_with(13, b"Photoshop 3.0\0")) == block


def test_settings_of_printing_alone_are_worth_no_warning():
    info, _ = opened(jpeg(segment(13, b"Photoshop 3.0\0" + resource(1037, b"\0\0\0\x1e") + resource(1011, bytes(9)))))
    assert plan_output(info, None, (24, 16), format="png").warnings == ()


def test_damaged_resources_end_the_list():
    for cut in range(len(RESOURCES)):
        whole = photoshop.read_resources(RESOURCES[:cut])
        assert RESOURCES.startswith(photoshop.block_of(whole))
    assert photoshop.read_resources(b"8BIM\x04\x04\0\0\xff\xff\xff\xff") == []


# --- XMP in a GIF


def gif_with_xmp(data: bytes) -> bytes:
    gif = saved(pillow(photo((8, 8, 1))), "GIF")
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    at = 13 + (6 << (gif[10] & 7))
    return gif[:at] + b"!\xff\x0bXMP DataXMP" + data + trailer + gif[at:]


def test_xmp_of_a_gif_is_kept(tmp_path: Path):
    data = packet(f'dc:source="{"x" * 300}"')
    info, frames = opened(gif_with_xmp(data))
    assert info.xmp == data
    assert opened(written(frames, info, "png"))[0].xmp == data
    again = written(frames, info, "gif")
    assert b"!\xff\x0bXMP DataXMP" + data + b"\x01\xff\xfe" in again
    with Image.open(io.BytesIO(again)) as image:  # the packet disturbs no other reader
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frames[0][..., :3])
    (tmp_path / "a.gif").write_bytes(again)
    ffmpeg("-i", tmp_path / "a.gif", "-frames:v", "1", tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_a_gif_that_ends_within_its_packet_is_not_read_beyond():
    data = gif_with_xmp(packet('dc:source="x"'))
    for cut in range(13, len(data), 7):
        assert set(application_data(io.BytesIO(data[:cut]))) <= {"xmp"}
