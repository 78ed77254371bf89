"""HEIC: 8 and 10 bits, turned once, with colours and metadata, and with the main one of several images."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageCms

from dagan_cli.errors import BadInput
from dagan_cli.inspection.verify import verify
from dagan_cli.media.images import plan_output
from dagan_cli.media.images.blocks.code_points import CodePoints
from tests.support.images import noise, opened, written
from tests.support.tiny import ffmpeg

RGB_MATRIX = (1, 13, 0)  # BT.709, sRGB, samples are RGB


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


class Coded(NamedTuple):
    """An image coded by x265: its samples (H, W, 3), decoder configuration and data."""

    samples: np.ndarray
    configuration: bytes
    data: bytes


def coded(folder: Path, bits: int, seed: int = 0) -> Coded:
    """Random samples coded without loss, as RGB, by x265 and FFmpeg."""
    samples = noise(32, 48, 3, seed=seed) if bits == 8 else noise(32, 48, 3, dtype="u2", seed=seed) >> (16 - bits)
    planes = samples[..., [1, 2, 0]].transpose(2, 0, 1)
    (folder / "in.raw").write_bytes(np.ascontiguousarray(planes).tobytes())
    raw = (
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gbrp" if bits == 8 else f"gbrp{bits}le",
        "-s",
        "48x32",
        "-i",
        folder / "in.raw",
    )
    ffmpeg(*raw, "-c:v", "libx265", "-tag:v", "hvc1", "-x265-params", "lossless=1:log-level=error", folder / "a.mp4")
    data = (folder / "a.mp4").read_bytes()

    def content(kind: bytes) -> bytes:
        at = data.index(kind)
        return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]

    start = struct.unpack(">I", content(b"stco")[8:12])[0]
    size = struct.unpack(">I", content(b"stsz")[4:8])[0] or struct.unpack(">I", content(b"stsz")[12:16])[0]
    return Coded(samples, content(b"hvcC"), data[start : start + size])


def heic(
    images: list[Coded],
    *,
    primary: int = 1,
    colours: tuple[bytes, ...] = (),
    turn: int = 0,
    exif: bytes = b"",
    xmp: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A file of these images; `turn` is by how many quarters to turn them, counter-clockwise."""
    contents = [image.data for image in images]
    infos = [box(b"infe", struct.pack(">BxxxHH4sx", 2, n, 0, b"hvc1")) for n in range(1, len(images) + 1)]
    links = []
    for kind, text in ((b"Exif", exif and b"\0\0\0\0" + exif), (b"mime", xmp)):
        if text:
            number = len(contents) + 1
            media = b"application/rdf+xml\0" if kind == b"mime" else b""
            infos.append(box(b"infe", struct.pack(">BxxxHH4sx", 2, number, 0, kind), media))
            links.append(box(b"cdsc", struct.pack(">HHH", number, 1, primary)))
            contents.append(text)
    properties, associations = [], []
    nclx = box(b"colr", b"nclx", struct.pack(">HHHB", *RGB_MATRIX, 0x80))
    for number, image in enumerate(images, 1):
        height, width, _ = image.samples.shape
        bits = 8 if image.samples.dtype == np.uint8 else 10
        own = [
            box(b"hvcC", image.configuration),
            box(b"ispe", struct.pack(">III", 0, width, height)),
            box(b"pixi", struct.pack(">IBBBB", 0, 3, bits, bits, bits)),
            *(colours or (nclx,)),
            *([box(b"irot", bytes([turn]))] if turn else []),
        ]
        first = len(properties) + 1
        properties += own
        associations.append(struct.pack(">HB", number, len(own)) + bytes(range(first, first + len(own))))
    iprp = box(b"iprp", box(b"ipco", *properties), box(b"ipma", struct.pack(">II", 0, len(images)), *associations))

    def meta(start: int) -> bytes:
        places, at = [], start
        for number, content in enumerate(contents, 1):
            places.append(struct.pack(">HHHII", number, 0, 1, at, len(content)))
            at += len(content)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, primary)),
            box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(contents)), *places),
            box(b"iinf", struct.pack(">IH", 0, len(infos)), *infos),
            iprp,
            *([box(b"iref", bytes(4), *links)] if links else []),
        )

    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *contents) + behind


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10])
def test_every_sample_of_a_heic_is_kept(tmp_path, bits):
    image = coded(tmp_path, bits)
    info, (frame,) = opened(heic([image]))
    assert (info.format, info.depth, info.channels, info.warnings) == ("HEIC", 8 if bits == 8 else 16, 3, ())
    expected = image.samples if bits == 8 else np.rint(image.samples * (65535 / 1023))
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.slow
def test_a_heic_is_turned_once_though_its_exif_says_so_too(tmp_path):
    image = coded(tmp_path, 8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 8, "Ace"
    info, (frame,) = opened(heic([image], turn=1, exif=exif.tobytes()))
    assert (info.width, info.height) == (32, 48)
    np.testing.assert_array_equal(frame, np.rot90(image.samples))
    assert info.exif
    kept = Image.Exif()
    kept.load(info.exif)
    assert (kept[0x0112], kept[0x010F]) == (1, "Ace")


@pytest.mark.slow
def test_colours_and_xmp_of_a_heic_are_kept(tmp_path):
    image = coded(tmp_path, 8)
    matrix = box(b"colr", b"nclx", struct.pack(">HHHB", 12, 13, 0, 0x80))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">me</x:xmpmeta>'
    info, frames = opened(heic([image], colours=(matrix,), xmp=xmp))
    assert (info.colour, info.icc, info.xmp) == (CodePoints(12, 13), None, xmp)
    assert plan_output(info, None, (48, 32)).format == "PNG"
    (tmp_path / "in.heic").write_bytes(heic([image], colours=(matrix,), xmp=xmp))
    (tmp_path / "out.png").write_bytes(written(frames, info, "png"))
    found = verify(tmp_path / "in.heic", tmp_path / "out.png")
    assert not found.failed
    assert {"colour code points", "XMP data"} <= {row.what for row in found.checks}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert opened(heic([image], colours=(box(b"colr", b"prof", profile), matrix)))[0].icc == profile


@pytest.mark.slow
def test_the_main_image_of_several_is_read_and_the_others_are_named(tmp_path):
    images = [coded(tmp_path, 8, seed) for seed in (1, 2)]
    info, (frame,) = opened(heic(images, primary=2))
    np.testing.assert_array_equal(frame, images[1].samples)
    assert info.warnings == ("another image was left out: only the main image was read",)
    info, _ = opened(heic(images[:1], behind=box(b"mpvd", b"a clip")))
    assert info.warnings == ("the clip of a motion photo was left out: only the main image was read",)


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"application/rdf", b"mime\0", b"Exif"])
def test_an_item_whose_kind_is_no_text_is_refused_as_libheif_would_end_the_process(tmp_path, text):
    data = heic([coded(tmp_path, 8)], exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<a/>")
    assert data.count(text) == 1
    with pytest.raises(BadInput, match="boxes are damaged"):
        opened(data.replace(text, b"\xad" + text[1:]))


@pytest.mark.slow
def test_a_damaged_or_too_large_heic_is_refused(tmp_path):
    data = heic([coded(tmp_path, 8)])
    for part in (0.02, 0.3, 0.9):
        with pytest.raises(BadInput):
            opened(data[: int(len(data) * part)])
    at = data.index(b"ispe") + 8
    with pytest.raises(BadInput):
        opened(data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :])
    random = np.random.default_rng(3)
    for _ in range(60):
        broken = bytearray(data)
        for place in random.integers(0, 500, 3):
            broken[place] = random.integers(0, 256)
        try:
            info, frames = opened(bytes(broken))
        except BadInput:
            continue
        assert all(frame.shape == (info.height, info.width, info.channels) for frame in frames)
