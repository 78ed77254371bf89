"""Pictures in and out, judged by Pillow, tifffile and FFmpeg's own decoder wherever one of them can tell."""

import io
import os
import resource
import signal
import struct
import subprocess
import zlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image, ImageCms, PngImagePlugin

from dagan_cli.errors import BadInput, BadOption, CannotWrite
from dagan_cli.media.images import (
    PictureInfo,
    encode_picture,
    gif,
    is_picture,
    open_picture,
    output_suffix,
    plan_output,
    png,
    tiff,
    write_picture,
)
from dagan_cli.upscale.samples import bleed

DATA = os.environ.get("DAGAN_TEST_DATA")
SHAPES = {"grey": (9, 13, 1), "grey with alpha": (9, 13, 2), "RGB": (9, 13, 3), "RGBA": (9, 13, 4)}


def noise(shape: tuple[int, ...], dtype: str = "u1", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def photo(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth in space, so that lossy formats keep it."""
    y, x, c = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return np.rint(255 * (0.25 + 0.5 * (x + y) / 2 + 0.2 * c)).astype(np.uint8)


def pillow(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def opened(data: bytes | Path) -> tuple[PictureInfo, list[np.ndarray]]:
    with open_picture(data) as picture:
        return picture.info, list(picture.frames)


def info_of(array: np.ndarray, **fields) -> PictureInfo:
    height, width, channels = array.shape
    return PictureInfo(
        **{"format": "PNG", "width": width, "height": height, "channels": channels, "depth": 8 * array.itemsize}
        | fields
    )


def written(frames: list[np.ndarray], info: PictureInfo, format: str, **choices) -> bytes:
    height, width, _ = frames[0].shape
    buffer = io.BytesIO()
    encode_picture(buffer, plan_output(info, None, (width, height), format=format, **choices), frames)
    return buffer.getvalue()


def ffmpeg_decode(data: bytes, pix_fmt: str, shape: tuple[int, ...], *options: str) -> np.ndarray:
    """The samples as an independent FFmpeg sees them."""
    command = [
        get_ffmpeg_exe(),
        "-v",
        "error",
        *options,
        "-i",
        "-",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        pix_fmt,
        "-",
    ]
    raw = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<u2").reshape(shape)


def ffmpeg_tiff(array: np.ndarray, algorithm: str) -> bytes:
    encoder = av.CodecContext.create("tiff", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *array.shape[1::-1], "rgb48le", Fraction(1)
    encoder.options = {"compression_algo": algorithm}
    frame = av.VideoFrame.from_ndarray(array, format="rgb48le")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def exif_block(orientation: int = 1, order: str = "<") -> bytes:
    """Orientation and maker; a sub-directory with PixelXDimension 13 and a maker note; a thumbnail's directory."""

    def directory(entries: list[tuple[int, int, int, bytes]], following: int) -> bytes:
        rows = b"".join(struct.pack(f"{order}HHL", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
        return struct.pack(f"{order}H", len(entries)) + rows + struct.pack(f"{order}L", following)

    def short(n: int) -> bytes:
        return struct.pack(f"{order}H", n)

    def long(n: int) -> bytes:
        return struct.pack(f"{order}L", n)

    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, 8)
    inner, thumbnail, note = 8 + 2 + 36 + 4, 8 + 2 + 36 + 4 + 2 + 24 + 4, 8 + 2 + 36 + 4 + 2 + 24 + 4 + 2 + 12 + 4
    first = [(0x0112, 3, 1, short(orientation)), (0x010F, 2, 4, b"Ace\0"), (0x8769, 4, 1, long(inner))]
    second = [(0xA002, 3, 1, short(13)), (0x927C, 7, 8, long(note))]
    third = [(0x0100, 4, 1, long(160))]
    return head + directory(first, thumbnail) + directory(second, 0) + directory(third, 0) + b"a note!!"


# Reading


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_is_read_as_it_was_written(kind, depth):
    array = noise(SHAPES[kind], f"u{depth // 8}")
    info, frames = opened(written([array], info_of(array), "png"))
    assert (info.format, info.channels, info.depth, info.frames) == ("PNG", array.shape[2], depth, 1)
    assert frames[0].dtype == array.dtype
    assert frames[0].flags.c_contiguous
    np.testing.assert_array_equal(frames[0], array)


@pytest.mark.parametrize(("kind", "pix_fmt"), [("grey", "gray16le"), ("RGB", "rgb48le"), ("RGBA", "rgba64le")])
def test_a_16_bit_png_holds_every_bit_for_ffmpeg(kind, pix_fmt):
    array = noise(SHAPES[kind], "u2")
    array[0] = 0x12FE  # low bytes that a reader of high bytes would lose
    np.testing.assert_array_equal(ffmpeg_decode(written([array], info_of(array), "png"), pix_fmt, array.shape), array)


def test_a_16_bit_png_taller_than_a_band_is_whole():
    array = noise((700, 1100, 3), "u2")  # more bytes than are filtered at a time
    assert array.nbytes > png._BAND
    np.testing.assert_array_equal(opened(written([array], info_of(array), "png"))[1][0], array)


def test_transparency_by_colour_becomes_alpha():
    array = noise((6, 7, 3))
    array[2, 3] = (10, 20, 30)
    _, (frame,) = opened(saved(pillow(array), "PNG", transparency=(10, 20, 30)))
    assert frame.shape == (6, 7, 4)
    assert frame[2, 3, 3] == 0
    assert (frame[..., 3] == 0).sum() == 1
    info, (grey,) = opened(saved(pillow(array[..., :1]), "PNG", transparency=10))
    assert info.channels == 2
    np.testing.assert_array_equal(grey[..., 1] == 0, array[..., 0] == 10)


def test_16_bit_transparency_by_colour_compares_all_16_bits():
    array = noise((6, 7, 3), "u2")
    array[1, 1], array[1, 2] = (256, 512, 768), (256, 512, 769)
    data = written([array], info_of(array), "png")
    chunk = b"tRNS" + struct.pack(">HHH", 256, 512, 768)
    data = data[:33] + struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    info, (frame,) = opened(data)
    assert info.channels == 4
    assert frame[1, 1, 3] == 0
    assert frame[1, 2, 3] == 65535


def test_palettes_and_single_bits_become_full_samples():
    bits = noise((5, 9, 1)) > 127
    info, (frame,) = opened(saved(Image.fromarray(bits[..., 0]), "PNG"))
    assert info.channels == 1
    np.testing.assert_array_equal(frame, bits * np.uint8(255))
    few = photo((8, 8, 3)) // 64 * 64
    info, (frame,) = opened(saved(pillow(few).quantize(), "PNG"))
    assert info.channels == 3
    np.testing.assert_array_equal(frame, few)


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_like_a_shallow_one(orientation):
    array = noise((4, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    _, (expected,) = opened(saved(pillow(array), "TIFF", exif=exif))
    buffer = io.BytesIO()
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(buffer, array * np.uint16(257), photometric="rgb", extratags=tags)
    _, (frame,) = opened(buffer.getvalue())
    np.testing.assert_array_equal(frame, expected * np.uint16(257))


@pytest.mark.parametrize("dtype", ["u2", "f2", "f4", "f8"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_deep_tiffs_keep_every_value(dtype, planes):
    array = noise((5, 7, 3), "u2") if dtype == "u2" else np.linspace(-1, 3, 105).astype(dtype).reshape(5, 7, 3)
    data = array if planes == "contig" else np.moveaxis(array, 2, 0)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, data, photometric="rgb", planarconfig=planes, compression="zlib")
    info, (frame,) = opened(buffer.getvalue())
    assert info.depth == (16 if dtype == "u2" else 32)
    np.testing.assert_array_equal(frame, array.astype(frame.dtype))


@pytest.mark.parametrize("algorithm", ["raw", "packbits", "lzw", "deflate"])
def test_16_bit_tiffs_of_every_common_compression_are_read(algorithm):
    array = noise((20, 30, 3), "u2")
    np.testing.assert_array_equal(opened(ffmpeg_tiff(array, algorithm))[1][0], array)


def test_premultiplied_alpha_is_undone():
    array = np.full((4, 4, 4), (1000, 2000, 3000, 32768), np.uint16)
    array[0, 0] = 0
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="rgb", extrasamples=["assocalpha"])
    _, (frame,) = opened(buffer.getvalue())
    np.testing.assert_array_equal(frame[1, 1], (2000, 4000, 6000, 32768))
    np.testing.assert_array_equal(frame[0, 0], 0)


def test_pages_are_frames_and_pages_of_another_size_are_named_as_lost():
    pages = [noise((5, 6, 3), seed=seed) for seed in range(3)]
    first, *others = [pillow(page) for page in pages]
    data = saved(first, "TIFF", save_all=True, append_images=[*others, pillow(noise((3, 3, 3)))])
    info, frames = opened(data)
    assert info.frames == 3
    assert not info.durations
    assert any("1 of 4 pages" in warning for warning in info.warnings)
    np.testing.assert_array_equal(frames, pages)
    info, frames = opened(written(frames, info, "tiff"))
    np.testing.assert_array_equal(frames, pages)


def test_16_bit_ppm_and_pgm_are_stretched_to_the_full_range():
    samples = np.array([[0, 1, 512, 1023]])
    for head, channels in ((b"P5", 1), (b"P6", 3)):
        array = samples.repeat(channels, axis=1).reshape(1, 4, channels)
        info, (frame,) = opened(head + b" # a comment\n4 1\n1023\n" + array.astype(">u2").tobytes())
        assert (info.format, info.depth, info.channels) == ("PPM", 16, channels)
        np.testing.assert_array_equal(frame, np.rint(array * (65535 / 1023)))
    _, (plain,) = opened(b"P2 4 1 1023 0 1 512 1023")
    np.testing.assert_array_equal(plain[..., 0], np.rint(samples * (65535 / 1023)))


@pytest.mark.parametrize("kind", ["grey", "RGB"])
def test_a_16_bit_ppm_is_read_by_ffmpeg(kind):
    array = noise(SHAPES[kind], "u2")
    data = written([array], info_of(array), "ppm")
    np.testing.assert_array_equal(ffmpeg_decode(data, "gray16le" if kind == "grey" else "rgb48le", array.shape), array)
    np.testing.assert_array_equal(opened(data)[1][0], array)


def profile_of_one_grey() -> bytes:
    """A CMYK profile to which every ink is the same grey, L* = 50; its table follows ICC.1:2001 6.5.8."""
    table = b"mft1\0\0\0\0\4\3\2\0" + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table += bytes(range(256)) * 4 + bytes([128, 128, 128]) * 2**4 + bytes(range(256)) * 3
    head = struct.pack(">I4sI4s4s4s12x4s", 144 + len(table), b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    light = struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(68, b"\0") + light + bytes(48) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def test_cmyk_goes_through_its_profile_with_a_warning():
    ink = Image.new("CMYK", (8, 8), (200, 30, 10, 20))
    for format in ("TIFF", "JPEG"):
        info, (frame,) = opened(saved(ink, format, icc_profile=profile_of_one_grey()))
        assert info.warnings == ("CMYK was converted to sRGB through its profile",)
        assert info.icc is None
        assert np.abs(frame.astype(int) - 119).max() <= 2  # the sRGB code of L* = 50


def test_cmyk_without_a_profile_is_read_with_a_warning():
    ink = Image.new("CMYK", (8, 8), (200, 30, 10, 20))
    info, (plain,) = opened(saved(ink, "TIFF"))
    assert any("CMYK" in warning and "without a profile" in warning for warning in info.warnings)
    np.testing.assert_array_equal(plain, np.asarray(ink.convert("RGB")))
    assert info.icc is None


def test_the_first_picture_of_an_mpo_is_read_with_a_warning():
    first, second = photo((16, 16, 3)), noise((16, 16, 3))
    info, (frame,) = opened(saved(pillow(first), "MPO", save_all=True, append_images=[pillow(second)], quality=100))
    assert info.format == "JPEG"
    assert output_suffix(info, kept=".mpo") == ".jpg"
    assert any("2 pictures" in warning for warning in info.warnings)
    assert np.abs(frame.astype(int) - first).max() < 16


@pytest.mark.parametrize(
    ("format", "options"),
    [("GIF", {"disposal": 2}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 100})],
)
def test_animations_keep_frames_times_and_plays(format, options):
    frames = [photo((12, 10, 3)) // 32 * 32 for _ in range(3)]
    for index, frame in enumerate(frames):
        frame[index * 3 : index * 3 + 3] = 255 - frame[index * 3 : index * 3 + 3]
    first, *others = [pillow(frame) for frame in frames]
    times = [100, 40, 250]
    data = saved(first, format, save_all=True, append_images=others, duration=times, loop=0, **options)
    info, read = opened(data)
    assert (info.frames, info.durations, info.plays) == (3, (100.0, 40.0, 250.0), 0)
    again, copies = opened(written(read, info, format))
    assert (again.frames, again.durations, again.plays) == (3, (100.0, 40.0, 250.0), 0)
    worst = max(np.abs(a.astype(int) - b).max() for a, b in zip(read, copies, strict=True))
    assert worst <= (24 if format == "AVIF" else 0)
    judge = Image.open(io.BytesIO(written(read, info, format)))
    assert getattr(judge, "n_frames", 1) == 3


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_equal_neighbouring_frames_are_not_merged(format):
    frame = photo((8, 8, 3)) // 64 * 64
    info = info_of(frame, frames=4, durations=(30.0, 30.0, 30.0, 30.0), plays=2)
    again, copies = opened(written([frame] * 4, info, format, lossless=format == "WEBP"))
    assert (again.frames, again.durations, again.plays) == (4, (30.0,) * 4, 2)
    np.testing.assert_array_equal(copies, [frame] * 4)


def test_a_16_bit_apng_is_written_whole():
    frames = [noise((4, 5, 3), "u2", seed) for seed in range(2)]
    info = info_of(frames[0], frames=2, durations=(1000 / 30, 70.0))
    data = written(frames, info, "png")
    np.testing.assert_array_equal(ffmpeg_decode(data, "rgb48le", (2, 4, 5, 3), "-f", "apng"), frames)
    assert opened(data)[0].durations == pytest.approx(info.durations, abs=0.01)


# Damage


def test_what_is_not_a_picture_is_refused_in_two_parts(tmp_path):
    cases = {
        "missing.png": (None, "no such file"),
        "empty.png": (b"", "empty"),
        "text.png": (b"just some text, named like a picture", "not a picture"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        "header.png": (saved(pillow(photo((9, 9, 3))), "PNG")[:20], "cannot read"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadInput, match=words) as failure:
            opened(path)
        assert name in str(failure.value)
        assert failure.value.hint


@pytest.mark.parametrize(
    "format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "16-bit PNG", "LZW TIFF"]
)
def test_a_file_cut_short_is_refused_wherever_it_is_cut(format):
    array = noise((40, 40, 3))
    if format == "16-bit PNG":
        data = written([noise((40, 40, 3), "u2")], info_of(noise((40, 40, 3), "u2")), "png")
    elif format == "LZW TIFF":
        data = ffmpeg_tiff(noise((40, 40, 3), "u2"), "lzw")
    else:
        data = saved(pillow(array), format)
    for part in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(BadInput):
            opened(data[: int(len(data) * part)])


def test_damaged_bytes_raise_nothing_but_bad_input(capfd):
    rng = np.random.default_rng(1)
    deep = noise((12, 12, 4), "u2")
    originals = [
        saved(pillow(photo((12, 12, 3))), name) for name in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
    ]
    originals += [written([deep], info_of(deep), name) for name in ("png", "tiff")]
    refused = 0
    for original in originals:
        for _ in range(60):
            data = np.frombuffer(original, np.uint8).copy()
            data[rng.integers(0, min(len(data), 200), 4)] = rng.integers(0, 256, 4)
            try:
                with open_picture(data.tobytes(), limit_pixels=1 << 20) as picture:
                    info, frames = picture.info, list(picture.frames)
            except BadInput:
                refused += 1
            else:
                assert all(frame.shape == (info.height, info.width, info.channels) for frame in frames)
    assert refused > 100
    assert "Warning" not in capfd.readouterr().err


@pytest.mark.parametrize("format", ["PNG", "16-bit PNG", "GIF", "TIFF", "16-bit TIFF", "PPM", "16-bit PPM"])
def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(format):
    array = noise((40, 50, 3), "u2" if format.startswith("16") else "u1")
    data = written([array], info_of(array), format.split()[-1])
    with pytest.raises(BadInput, match="limit"), open_picture(data, limit_pixels=1999):
        pass
    with open_picture(data, limit_pixels=2000) as picture:
        assert next(iter(picture.frames)).shape == (40, 50, 3)


def test_a_camera_raw_file_is_refused_instead_of_its_preview():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, noise((8, 8, 3)), photometric="rgb", extratags=[(50706, 1, 4, b"\1\4\0\0", True)])
    with pytest.raises(BadInput, match="camera raw"):
        opened(buffer.getvalue())


# What a format can hold


def test_alpha_into_jpeg_is_refused_with_advice():
    array = noise(SHAPES["RGBA"])
    with pytest.raises(BadOption, match="JPEG cannot hold transparency") as failure:
        plan_output(info_of(array), Path("a.jpg"), (13, 9))
    assert "PNG" in failure.value.hint


@pytest.mark.parametrize(("format", "most"), [("JPEG", 65500), ("WEBP", 16383), ("GIF", 65535)])
def test_sizes_beyond_a_format_are_refused_before_the_work(format, most):
    info = info_of(photo((4, 4, 3)), format=format)
    assert plan_output(info, None, (most, 4)).format == format
    with pytest.raises(BadOption, match="too large"):
        plan_output(info, None, (most + 1, 4), format=format)
    assert output_suffix(info, (most + 1, 4)) == ".png"
    assert plan_output(info, Path("a.png"), (most + 1, 4)).format == "PNG"


def test_the_input_decides_the_format_if_it_can_hold_the_result():
    rgb, rgba = info_of(photo((4, 4, 3))), info_of(photo((4, 4, 4)))
    kept = {
        "JPEG": ".jpg",
        "WEBP": ".webp",
        "TIFF": ".tif",
        "BMP": ".bmp",
        "GIF": ".gif",
        "AVIF": ".avif",
        "PPM": ".ppm",
    }
    for name, suffix in kept.items():
        assert output_suffix(info_of(photo((4, 4, 3)), format=name)) == suffix
    assert output_suffix(info_of(photo((4, 4, 4)), format="BMP")) == ".png"
    assert output_suffix(info_of(photo((4, 4, 3)), format="QOI")) == ".png"
    assert output_suffix(info_of(photo((4, 4, 1)), format="PPM")) == ".pgm"
    assert output_suffix(info_of(photo((4, 4, 3)).astype("f4"), format="PPM")) == ".tif"
    assert output_suffix(info_of(photo((4, 4, 3)), format="JPEG"), lossless=True) == ".png"
    assert output_suffix(info_of(photo((4, 4, 3)), format="JPEG"), kept=".JPEG") == ".JPEG"
    assert output_suffix(info_of(photo((4, 4, 3)), format="JPEG"), kept=".png") == ".jpg"
    assert output_suffix(rgb, format="webp", kept=".png") == ".webp"
    assert plan_output(rgba, Path("a.webp"), (8, 8)).format == "WEBP"


def test_a_name_that_contradicts_the_format_is_refused():
    info = info_of(photo((4, 4, 3)))
    for target, format, words in (
        (Path("a.png"), "jpg", "ends in .png"),
        (Path("a.xyz"), None, "not a picture format"),
    ):
        with pytest.raises(BadOption, match=words):
            plan_output(info, target, (4, 4), format=format)
    with pytest.raises(BadOption, match="never lossless"):
        plan_output(info, Path("a.jpg"), (4, 4), lossless=True)


def test_what_a_format_cannot_hold_is_named():
    info = info_of(
        noise((4, 4, 3), "u2"), frames=3, durations=(10.0, 20.0, 30.0), iptc=b"x", chunks=((b"tEXt", b"Title\0me"),)
    )
    words = " | ".join(plan_output(info, None, (4, 4), format="jpeg").warnings)
    assert "16-bit samples are rounded" in words
    assert "first of 3 frames" in words
    assert "Title" in words
    assert "IPTC" in " | ".join(plan_output(info, None, (4, 4), format="webp").warnings)
    assert "times" in " | ".join(plan_output(info, None, (4, 4), format="tiff").warnings)
    assert plan_output(info_of(photo((4, 4, 3))), None, (4, 4)).warnings == ()


# Writing


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_tiff_is_read_back_by_tifffile(kind, dtype):
    array = noise(SHAPES[kind], "u2")
    array = array.astype("f4") / 7 - 100 if dtype == "f4" else array.astype(dtype)
    data = written([array], info_of(array), "tiff")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)).reshape(array.shape), array)
    np.testing.assert_array_equal(opened(data)[1][0], array)
    if dtype == "u1":
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))).reshape(array.shape), array)


def test_floats_are_rounded_once_and_clipped():
    values = np.array([-0.5, 0.0, 0.5 / 255, 1.5 / 255, 127.4 / 255, 127.6 / 255, 1.0, 7.0], "f4").reshape(1, 8, 1)
    expected = {8: [0, 0, 0, 2, 127, 128, 255, 255], 16: np.rint(np.clip(values.ravel(), 0, 1) * np.float32(65535))}
    for depth, samples in expected.items():
        info = info_of(values, depth=depth)
        np.testing.assert_array_equal(opened(written([values], info, "png"))[1][0].ravel(), samples)


def test_integers_of_another_depth_are_scaled():
    shallow = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    deep = opened(written([shallow], info_of(shallow, depth=16), "png"))[1][0]
    np.testing.assert_array_equal(deep, shallow * np.uint16(257))
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    shallow = opened(written([deep], info_of(deep), "bmp"))[1][0]
    np.testing.assert_array_equal(shallow[..., :1], np.rint(deep / 257))


def test_a_jpeg_is_4_4_4_at_quality_95():
    array = photo((32, 32, 3))
    image = Image.open(io.BytesIO(written([array], info_of(array), "jpeg")))
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
    reference = Image.open(io.BytesIO(saved(pillow(array), "JPEG", quality=95, subsampling=0)))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(reference))


def test_a_lossless_webp_stays_lossless():
    array = noise((9, 13, 4))
    for lossless, expected in ((True, True), (False, False)):
        info, (frame,) = opened(saved(pillow(array), "WEBP", lossless=lossless, exact=True))
        again, (copy,) = opened(written([frame], info, "webp"))
        assert again.lossless == info.lossless == expected
        assert np.array_equal(copy, frame) == expected
    forced, (copy,) = opened(written([array], info_of(array), "webp", lossless=True))
    assert forced.lossless
    np.testing.assert_array_equal(copy, array)


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_grey_becomes_colour_where_a_format_has_no_grey(name):
    array = photo((16, 16, 2))
    array[..., 1] = 255
    array[:8, :8, 1] = 100
    _, (frame,) = opened(written([array], info_of(array), name))
    assert frame.shape == (16, 16, 4)
    assert np.abs(frame.astype(int) - array[..., [0, 0, 0, 1]]).max() < 12


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
        fields = {"icc": None, "xmp": None, "iptc": b"\x1c\x02\0\0\0", "dpi": None}
        tiff.write_tiff(buffer, [noise((5, 5, 3))], expected_bytes=size, exif=block, **fields)
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
    for array in (noise((5, 5, 3)), noise((5, 5, 3), "u2")):
        info, _ = opened(saved(pillow(noise((5, 5, 3))), "PNG", pnginfo=texts))
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


def test_a_gif_keeps_few_colours_exactly_and_many_closely():
    few = photo((20, 20, 3)) // 64 * 64
    np.testing.assert_array_equal(opened(written([few], info_of(few), "gif"))[1][0], few)
    many = noise((64, 64, 3)) // 2 + 64
    _, (frame,) = opened(written([many], info_of(many), "gif"))
    assert np.abs(frame.astype(float) - many).mean() < 16


def test_a_gif_keeps_transparency_and_clears_each_frame():
    frames = [photo((12, 12, 4)) // 64 * 64 for _ in range(3)]
    for index, frame in enumerate(frames):
        frame[..., 3] = 0
        frame[index * 4 : index * 4 + 4, :, 3] = 255
    info = info_of(frames[0], frames=3, durations=(50.0, 50.0, 50.0))
    again, copies = opened(written(frames, info, "gif"))
    assert again.channels == 4
    for frame, copy in zip(frames, copies, strict=True):
        np.testing.assert_array_equal(copy[..., 3], frame[..., 3])
        np.testing.assert_array_equal(copy[copy[..., 3] > 0], frame[frame[..., 3] > 0])


def test_gif_times_are_rounded_without_drifting():
    frame = photo((4, 4, 3))
    info = info_of(frame, frames=30, durations=(1000 / 30,) * 30)
    again, _ = opened(written([frame] * 30, info, "gif"))
    assert sum(again.durations) == 1000
    assert set(again.durations) == {30.0, 40.0}


def test_gif_palettes_leave_room_for_the_transparent_colour():
    frame = np.dstack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3 + [np.full((16, 16), 255, np.uint8)])
    frame[0, 0, 3] = 0
    indices, palette, unseen = gif.indexed(frame)
    assert unseen == len(palette) - 1 == 255
    assert (indices == unseen).sum() == 1
    np.testing.assert_array_equal(palette[indices][1:], frame[1:, :, :3])


def test_frames_are_taken_one_at_a_time():
    alive: list[int] = []

    def frames():
        for index in range(6):
            alive.append(index)
            yield np.full((8, 8, 3), 40 * index, np.uint8)

    info = info_of(np.zeros((8, 8, 3), np.uint8), frames=6, durations=(100.0,) * 6)
    seen = []

    class Sink(io.BytesIO):
        def write(self, data):
            seen.append(len(alive))
            return super().write(data)

    for name in ("gif", "png", "webp"):
        alive.clear()
        seen.clear()
        encode_picture(Sink(), plan_output(info, None, (8, 8), format=name), frames())
        assert all(later - earlier <= 1 for earlier, later in pairwise(seen)), name


def test_an_error_among_the_frames_is_passed_on_and_leaves_nothing(tmp_path):
    def frames():
        yield np.zeros((8, 8, 3), np.uint8)
        raise ValueError("the network failed")

    info = info_of(np.zeros((8, 8, 3), np.uint8), frames=2, durations=(100.0,) * 2)
    for name in ("gif", "png", "webp", "tiff", "avif"):
        target = tmp_path / f"a.{name}"
        with pytest.raises(ValueError, match="the network failed"):
            write_picture(target, plan_output(info, target, (8, 8)), frames())
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_gives_up_is_a_failure_to_write(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("encoder error -2 when writing image file")

    monkeypatch.setitem(Image.SAVE, "JPEG", fail)
    array = photo((8, 8, 3))
    target = tmp_path / "a.jpg"
    with pytest.raises(CannotWrite, match="encoder error"):
        write_picture(target, plan_output(info_of(array), target, (8, 8)), [array])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["png", "tiff", "gif", "webp", "jpg", "bmp", "ppm", "avif"])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_disk_that_fills_up_is_a_failure_to_write_and_leaves_nothing(tmp_path, name, frames):
    array = noise((64, 64, 3), "u2" if name in ("png", "tiff", "ppm") and frames == 1 else "u1")
    target = tmp_path / f"a.{name}"
    output = plan_output(
        info_of(array, frames=frames, durations=(50.0,) * frames if frames > 1 else ()), target, (64, 64)
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(CannotWrite, match="too large"):
            write_picture(target, output, [array] * frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


# Alpha


def test_bleeding_fills_invisible_pixels_from_their_neighbours_only():
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, :4], colour[:, 12:] = (200, 10, 10), (10, 10, 200)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:, :4] = alpha[:, 12:] = 255
    filled = bleed(colour, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], colour[alpha > 0])
    np.testing.assert_array_equal(filled[:, 4], colour[:, 3])
    np.testing.assert_array_equal(filled[:, 11], colour[:, 12])


def test_bleeding_makes_no_fringe_when_a_cut_out_is_scaled():
    picture = np.zeros((32, 32, 4), np.uint8)
    y, x = np.mgrid[:32, :32]
    picture[(y - 16) ** 2 + (x - 16) ** 2 < 100] = (240, 200, 100, 255)
    colour = bleed(picture[..., :3], picture[..., 3])
    big = np.asarray(pillow(colour).resize((128, 128), Image.Resampling.BICUBIC)).astype(int)
    alpha = np.asarray(pillow(picture[..., 3:]).resize((128, 128), Image.Resampling.BICUBIC))
    assert np.abs(big[alpha > 0] - (240, 200, 100)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 1), (33, 1, 3)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_bleeding_keeps_type_shape_and_what_is_all_or_nothing(shape, dtype):
    colour = (noise(shape) / 255).astype(dtype)
    for alpha in (np.zeros(shape[:2]), np.ones(shape[:2])):
        filled = bleed(colour, alpha)
        assert filled.dtype == colour.dtype
        np.testing.assert_array_equal(filled, colour)


# Real files

ODD = {  # what reading must find: channels, depth, frames; None is refused
    "16bit.cropped.tif": (1, 16, 1),
    "basi0g16.png": (1, 16, 1),
    "basn2c16.png": (3, 16, 1),
    "basn4a16.png": (2, 16, 1),
    "basn6a16.png": (4, 16, 1),
    "broken_data_stream.png": None,
    "decompression_bomb.gif": None,
    "derived_rommel_truncated.jpg": None,
    "dispose_bgnd.gif": (3, 8, 5),
    "hopper_16bit.pgm": (1, 16, 1),
    "i_trns.png": (2, 16, 1),
    "iss634.webp": (3, 8, 42),
    "la.tga": (2, 8, 1),
    "mode_16bit.png": (4, 8, 2),
    "pil_sample_cmyk.jpg": (3, 8, 1),
    "png_decompression_dos.png": None,
    "rgb32bf-rgba.bmp": (4, 8, 1),
    "sugarshack.mpo": (3, 8, 1),
    "truncated_image.png": None,
    "truncated_jpeg.jpg": None,
    "xs1n0g01.png": None,
}


@pytest.mark.corpus
@pytest.mark.skipif(DATA is None, reason="DAGAN_TEST_DATA names no folder of real files")
def test_every_odd_picture_is_read_whole_and_written_back_or_refused(tmp_path, capfd):
    for path in sorted(Path(DATA or "", "odd-images").iterdir()):
        if ODD.get(path.name, ()) is None:
            with pytest.raises(BadInput):
                opened(path)
            continue
        info, frames = opened(path)
        assert is_picture(path)
        assert ODD.get(path.name, (info.channels, info.depth, info.frames)) == (info.channels, info.depth, len(frames))
        target = tmp_path / f"{path.stem}_x1{output_suffix(info, kept=path.suffix)}"
        write_picture(target, plan_output(info, target, (info.width, info.height)), frames)
        again, copies = opened(target)
        kept = ("channels", "depth", "frames", "durations", "plays", "icc", "xmp", "iptc")
        assert [getattr(again, name) for name in kept] == [getattr(info, name) for name in kept], path.name
        if again.lossless:
            assert all(np.array_equal(a, b) for a, b in zip(frames, copies, strict=True)), path.name
    assert not capfd.readouterr().err
