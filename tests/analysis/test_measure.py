"""An analysis says what was done to a source, for every kind of source, in the same way on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli.analysis.measure import Analysis, analyse_image, analyse_video
from dagan_cli.analysis.patches import patches_of
from dagan_cli.media.images import open_picture
from dagan_cli.media.images.info import PictureInfo
from tests.support.clips import ffmpeg
from tests.support.images import DATA, saved
from tests.support.sources import blurred, error, jpeg, jpeg_as_bad, noisy, photograph
from tests.support.tiny import noise as samples

ROOT = Path(__file__).parents[2]


def analysed(image: Image.Image, form: str = "PNG", **options) -> Analysis:
    return read(saved(image, form, **options))


def read(data: bytes | Path) -> Analysis:
    with open_picture(data) as picture:
        return analyse_image(data, next(picture.frames), picture.info)


def bare(pixels: np.ndarray) -> Analysis:
    """The analysis of pixels whose file says nothing."""
    height, width, channels = pixels.shape
    info = PictureInfo(format="PNG", width=width, height=height, channels=channels, depth=8)
    return analyse_image(b"", pixels, info)


def film(path: Path, image: Image.Image, *options: str, frames: int = 20) -> Path:
    """A clip of `image` that moves to the right, by two pixels a frame."""
    stills = path.parent / "frames.rgb"
    pixels = np.asarray(image)
    stills.write_bytes(b"".join(np.roll(pixels, 2 * time, 1).tobytes() for time in range(frames)))
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{image.width}x{image.height}", "-r", "25")
    ffmpeg(*raw, "-i", stills, *options, path)
    return path


def test_the_file_is_believed_first_and_the_pixels_where_it_says_nothing():
    image = photograph()
    from_file = analysed(image, "JPEG", quality=60)
    assert (from_file.quality, from_file.quality_from, from_file.codec) == (60, "file", "JPEG")
    from_pixels = analysed(jpeg(image, 60))
    assert (from_pixels.quality, from_pixels.quality_from, from_pixels.bits_per_pixel) == (60, "pixels", None)
    assert from_pixels.blocking == pytest.approx(from_file.blocking, abs=0.1)
    again = analysed(jpeg(image, 40), "JPEG", quality=95)  # a copy that hides how bad it is
    assert (again.quality, again.quality_from) == (40, "pixels")
    clean = analysed(image)
    assert (clean.quality, clean.quality_from, clean.blocking) == (None, None, 0)


def test_bits_per_pixel_are_those_of_the_image():
    image = photograph()
    data = saved(image, "JPEG", quality=60)
    assert read(data).bits_per_pixel == pytest.approx(len(data) * 8 / image.width / image.height, rel=0.01)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + bytes(30_000)
    assert analysed(image, "JPEG", quality=60, exif=exif).bits_per_pixel == pytest.approx(
        read(data).bits_per_pixel, rel=0.05
    )


@pytest.mark.slow
def test_a_turned_jpeg_has_its_blocks_elsewhere():
    image = photograph(width=251, height=190)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = analysed(image, "JPEG", quality=30, exif=exif)
    assert turned.blocking == pytest.approx(analysed(image, "JPEG", quality=30).blocking, abs=0.2)
    assert (turned.blocking or 0) > 0.5


@pytest.mark.slow
def test_it_reads_as_a_sentence():
    image = photograph()
    assert analysed(image, "JPEG", quality=90).describe() == (
        "JPEG quality about 90 (from the file), no noise, sharp, photograph"
    )
    worse = analysed(noisy(image, 5)).describe()
    assert worse == "no traces of compression, some noise (sigma 5), sharp, photograph"
    softer = analysed(jpeg(blurred(photograph(texture=0), 2), 40)).describe()
    assert softer.startswith("JPEG quality about 40 (from its pixels), no noise, blurred, as if enlarged ")
    assert softer.endswith(" times, visible blocks, photograph")
    grainy = Analysis(noise=12.4, grain=True, interlaced=True, content="drawing", bits_per_pixel=1, resolution=0.6)
    assert grainy.describe() == "compressed, of unknown quality, strong grain (sigma 12), soft, interlaced, drawing"
    assert Analysis().describe() == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 15), (16, 16), (17, 31), (20, 5000)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_size_and_kind_is_measured_or_not_but_never_fails(size, channels):
    for dtype in ("u1", "u2"):
        pixels = samples(*size, channels, dtype=dtype)
        bare(pixels)
        assert bare(np.zeros_like(pixels)) == Analysis(codec="PNG", blocking=None)
    wild = np.full((*size, channels), np.nan, np.float32)
    wild[::2] = 1e30
    bare(wild)
    assert bare(wild[:1]).content is None


def test_transparent_parts_do_not_count():
    image = np.asarray(photograph())
    hidden = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    hidden[:64] = samples(64, image.shape[1], 4)
    hidden[:64, :, 3] = 0
    assert (bare(hidden).noise or 0) < 0.5
    assert bare(hidden).blocking == 0
    hidden[..., 3] = 0
    assert bare(hidden) == Analysis(codec="PNG")


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "CMYK", "I;16"])
def test_modes_of_files_are_measured(mode):
    image = photograph()
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    found = analysed(deep if mode == "I;16" else image.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    assert found.content is not None


@pytest.mark.slow
def test_an_animation_is_measured_by_its_first_frame():
    first, second = photograph(), noisy(photograph(1), 10)
    both = saved(first, "PNG", save_all=True, append_images=[second], duration=40)
    assert read(both) == replace(analysed(first), codec="PNG")
    analysed(first.convert("P"), "GIF", save_all=True, append_images=[second], duration=40)


def test_a_large_image_takes_no_longer_than_a_megapixel():
    huge = np.broadcast_to(np.asarray(photograph(width=64, height=64)), (256, 64, 64, 3)).reshape(16384, 64, 3)
    patches = patches_of(np.broadcast_to(huge[:, :1], (16384, 16384, 3)))
    assert patches is not None
    assert patches.luma.size <= 1 << 20
    narrow = patches_of(np.broadcast_to(huge[:, :24], (16384, 24, 3)).repeat(8, 0))
    assert narrow is not None
    assert narrow.luma.size <= 1 << 20


def test_patches_of_a_large_image_lie_on_its_grid_of_blocks():
    tile = np.asarray(jpeg(photograph(), 50))
    pixels = np.tile(tile, (6, 5, 1))[:1150, :1279]
    found = bare(pixels)
    assert (found.quality, found.quality_from) == (50, "pixels")


@pytest.mark.slow
def test_it_is_the_same_whatever_the_processor_can_do(tmp_path):
    for number, image in enumerate((photograph(), jpeg(photograph(1), 70), blurred(noisy(photograph(2), 8), 1))):
        image.save(tmp_path / f"{number}.png")
    code = (
        "import sys; from pathlib import Path; from dagan_cli.media.images import open_picture; "
        "from dagan_cli.analysis.measure import analyse_image; "
        "files = [(path, open_picture(path)) for path in map(Path, sys.argv[1:])]; "
        "print([analyse_image(path, next(file.frames), file.info) for path, file in files])"
    )
    names = sorted(str(path) for path in tmp_path.iterdir())
    plain = {"NPY_DISABLE_CPU_FEATURES": " ".join(_dispatched()), "OMP_NUM_THREADS": "1"}
    results = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *names],
            env={**os.environ, **extra},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for extra in ({}, plain)
    }
    assert len(results) == 1


def _dispatched() -> list[str]:
    """Names of the processor's abilities that numpy uses where it finds them."""
    parts = import_module("numpy._core._multiarray_umath")
    return [name for name in parts.__cpu_dispatch__ if parts.__cpu_features__.get(name)]


@pytest.mark.slow
@pytest.mark.parametrize(("crf", "tolerance"), [(20, 8), (28, 20), (38, 20)])
def test_a_video_has_the_quality_of_the_jpeg_that_is_as_bad(tmp_path, crf, tolerance):
    image = photograph()
    path = film(tmp_path / "in.mp4", image, "-c:v", "libx264", "-crf", str(crf), "-pix_fmt", "yuv420p")
    first = ffmpeg_frame(path, image)
    found = analyse_video(path)
    assert (found.codec, found.quality_from, found.content) == ("h264", "file", "photo")
    assert found.quality == pytest.approx(jpeg_as_bad(image, first), abs=tolerance)


def ffmpeg_frame(path: Path, like: Image.Image) -> Image.Image:
    """The first frame, read by another FFmpeg."""
    target = path.with_suffix(".png")
    ffmpeg("-i", path, "-frames:v", "1", target)
    with Image.open(target) as image:
        assert error(image, like) < 500
        return image.convert("RGB")


@pytest.mark.slow
def test_the_pixels_of_a_video_are_measured(tmp_path):
    lossless = ("-c:v", "ffv1", "-pix_fmt", "bgr0")
    noise = analyse_video(film(tmp_path / "noise.mkv", noisy(photograph(), 6), *lossless))
    assert noise.noise == pytest.approx(6, rel=0.15)
    assert (noise.quality, noise.bits_per_pixel, noise.codec) == (None, None, "ffv1")
    larger = photograph(texture=0).resize((512, 384), Image.Resampling.BICUBIC)
    assert analyse_video(film(tmp_path / "soft.mkv", larger, *lossless)).resolution == pytest.approx(0.5, abs=0.15)
    motion_jpeg = film(tmp_path / "jpeg.avi", photograph(), "-c:v", "mjpeg", "-q:v", "5", "-huffman", "default")
    assert analyse_video(motion_jpeg).quality_from == "pixels"
    deep = film(tmp_path / "deep.mkv", noisy(photograph(), 6), "-c:v", "ffv1", "-pix_fmt", "yuv444p10le")
    assert analyse_video(deep).noise == pytest.approx(6, rel=0.15)


@pytest.mark.slow
def test_interlacing_is_seen_whether_it_is_declared_or_not(tmp_path):
    weave = ("-c:v", "ffv1", "-vf")
    image = photograph(texture=0)
    assert analyse_video(film(tmp_path / "a.mkv", image, *weave, "tinterlace=interleave_top")).interlaced
    assert analyse_video(film(tmp_path / "b.mkv", image, *weave, "setpts=N,framestep=4,tinterlace=interleave_top,setfield=prog")).interlaced  # fmt: skip # noqa: E501
    assert not analyse_video(film(tmp_path / "c.mkv", image, "-c:v", "ffv1")).interlaced


def test_no_video_is_an_empty_analysis(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert analyse_video(tmp_path / "text.mp4") == Analysis()
    assert analyse_video(tmp_path / "none.mp4") == Analysis()


@pytest.mark.slow
def test_a_video_that_was_cut_or_damaged_is_measured_as_far_as_it_goes(tmp_path):
    path = film(tmp_path / "in.mkv", photograph(), "-c:v", "libx264", "-g", "5", frames=30)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 3])
    assert analyse_video(path).quality is not None
    for place in np.random.default_rng(0).integers(600, len(data), 60):
        data[place] ^= 0x55
    path.write_bytes(data)
    analyse_video(path)


@pytest.mark.corpus
@pytest.mark.skipif(DATA is None, reason="DAGAN_TEST_DATA names no folder of real files")
def test_photographs_are_measured_as_they_were_degraded():
    """Of the pictures of `val`, as an upscaler gets them: four times smaller."""
    images = []
    for path in sorted(Path(DATA or "", "val").glob("*.webp")):
        with Image.open(path) as image:
            size = image.width // 4, image.height // 4
            images.append(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    assert images
    for clean in map(analysed, images):
        assert (clean.quality, clean.content, clean.blocking, clean.grain) == (None, "photo", 0, False)
        assert (clean.noise or 0) < 2.1
        assert clean.resolution == pytest.approx(1, abs=0.1)
    for quality in (95, 85, 75, 60, 40):
        assert {analysed(jpeg(image, quality)).quality for image in images} <= {quality - 1, quality, quality + 1}
    for sigma in (5, 15):
        noises = [analysed(noisy(image, sigma)).noise or 0 for image in images]
        assert np.median(noises) == pytest.approx(sigma, rel=0.1)
    for sigma, expected in ((1, 0.4), (2, 0.21)):
        assert all(analysed(blurred(image, sigma)).resolution == pytest.approx(expected, abs=0.1) for image in images)


def test_the_json_of_an_analysis_has_plain_values():
    kinds = {type(value) for value in asdict(analysed(photograph(), "JPEG")).values()}
    assert kinds <= {int, float, str, bool, type(None)}
