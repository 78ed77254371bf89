"""PNG: bit depth, transparency and palettes, read and written."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dagan_cli.errors import BadInput
from dagan_cli.media.images import open_picture, png_pixels
from tests.support.images import (
    SHAPES,
    exif_block,
    ffmpeg_decode,
    info_of,
    noise,
    opened,
    photo,
    pillow,
    saved,
    written,
)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_is_read_as_it_was_written(kind, depth):
    array = noise(*SHAPES[kind], dtype=f"u{depth // 8}")
    info, frames = opened(written([array], info_of(array), "png"))
    assert (info.format, info.channels, info.depth, info.frames) == ("PNG", array.shape[2], depth, 1)
    assert frames[0].dtype == array.dtype
    assert frames[0].flags.c_contiguous
    np.testing.assert_array_equal(frames[0], array)


@pytest.mark.parametrize(("kind", "pix_fmt"), [("grey", "gray16le"), ("RGB", "rgb48le"), ("RGBA", "rgba64le")])
def test_a_16_bit_png_holds_every_bit_for_ffmpeg(kind, pix_fmt):
    array = noise(*SHAPES[kind], dtype="u2")
    array[0] = 0x12FE  # low bytes that a reader of high bytes would lose
    np.testing.assert_array_equal(ffmpeg_decode(written([array], info_of(array), "png"), pix_fmt, array.shape), array)


@pytest.mark.slow
def test_a_16_bit_png_taller_than_a_band_is_whole():
    array = noise(700, 1100, 3, dtype="u2")  # more bytes than are compressed at a time
    assert array.nbytes > png_pixels._BAND
    np.testing.assert_array_equal(opened(written([array], info_of(array), "png"))[1][0], array)


def test_transparency_by_colour_becomes_alpha():
    array = noise(6, 7, 3)
    array[2, 3] = (10, 20, 30)
    _, (frame,) = opened(saved(pillow(array), "PNG", transparency=(10, 20, 30)))
    assert frame.shape == (6, 7, 4)
    assert frame[2, 3, 3] == 0
    assert (frame[..., 3] == 0).sum() == 1
    info, (grey,) = opened(saved(pillow(array[..., :1]), "PNG", transparency=10))
    assert info.channels == 2
    np.testing.assert_array_equal(grey[..., 1] == 0, array[..., 0] == 10)


def test_16_bit_transparency_by_colour_compares_all_16_bits():
    array = noise(6, 7, 3, dtype="u2")
    array[1, 1], array[1, 2] = (256, 512, 768), (256, 512, 769)
    data = written([array], info_of(array), "png")
    chunk = b"tRNS" + struct.pack(">HHH", 256, 512, 768)
    data = data[:33] + struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    info, (frame,) = opened(data)
    assert info.channels == 4
    assert frame[1, 1, 3] == 0
    assert frame[1, 2, 3] == 65535


def test_palettes_and_single_bits_become_full_samples():
    bits = noise(5, 9, 1) > 127
    info, (frame,) = opened(saved(Image.fromarray(bits[..., 0]), "PNG"))
    assert info.channels == 1
    np.testing.assert_array_equal(frame, bits * np.uint8(255))
    few = photo((8, 8, 3)) // 64 * 64
    info, (frame,) = opened(saved(pillow(few).quantize(), "PNG"))
    assert info.channels == 3
    np.testing.assert_array_equal(frame, few)


def with_chunk(data: bytes, kind: bytes, content: bytes, *, good: bool) -> bytes:
    check = zlib.crc32(kind + content) ^ (not good)
    return data[:33] + struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check) + data[33:]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize(
    ("kind", "content"), [(b"tEXt", b"Title\0me"), (b"gAMA", bytes(4)), (b"prVt", b"?" * 70_000), (b"eXIf", b"II*\0")]
)
def test_an_ancillary_chunk_with_a_wrong_checksum_is_left_out_and_named(dtype, kind, content):
    array = noise(5, 6, 3, dtype=dtype)
    plain = written([array], info_of(array), "png")
    info, (frame,) = opened(with_chunk(plain, kind, content, good=False))
    assert info.warnings == (f"its {kind.decode()} chunk has a wrong checksum and was left out",)
    assert (info.chunks, info.exif) == ((), None)
    np.testing.assert_array_equal(frame, array)
    assert opened(with_chunk(plain, b"tEXt", b"Title\0me", good=True))[0].warnings == ()


def test_a_header_with_a_wrong_checksum_is_refused():
    data = bytearray(saved(pillow(noise(5, 6, 3)), "PNG"))
    at = data.index(b"IHDR")
    data[at + 4 + int.from_bytes(data[at - 4 : at], "big")] ^= 1
    with pytest.raises(BadInput):
        opened(bytes(data))


def test_exif_data_behind_the_pixels_turns_the_image():
    array = noise(5, 6, 3)
    data = written([array], info_of(array), "png")
    block = exif_block(orientation=6)
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    _, (frame,) = opened(data[:-12] + chunk + data[-12:])
    np.testing.assert_array_equal(frame, np.rot90(array, -1))


def test_opening_a_png_decodes_nothing(monkeypatch):
    def load(_: object) -> None:
        raise AssertionError

    array = noise(5, 6, 3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with open_picture(written([array], info_of(array), "png")) as picture:
        assert (picture.info.width, picture.info.height) == (6, 5)
