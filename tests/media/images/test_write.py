"""What a format can hold decides how an image is written, and a failed write leaves nothing."""

import io
import resource
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.media.images import (
    encode_picture,
    output_suffix,
    plan_output,
    write_picture,
)
from tests.support.images import (
    SHAPES,
    info_of,
    noise,
    opened,
    photo,
    pillow,
    saved,
    written,
)


def test_alpha_into_jpeg_is_refused_with_advice():
    array = noise(*SHAPES["RGBA"])
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
        (Path("a.xyz"), None, "not a supported image format"),
    ):
        with pytest.raises(BadOption, match=words):
            plan_output(info, target, (4, 4), format=format)
    with pytest.raises(BadOption, match="--lossless is not available"):
        plan_output(info, Path("a.jpg"), (4, 4), lossless=True)


def test_what_a_format_cannot_hold_is_named():
    info = info_of(
        noise(4, 4, 3, dtype="u2"), frames=3, durations=(10.0, 20.0, 30.0), iptc=b"x", chunks=((b"tEXt", b"Title\0me"),)
    )
    words = " | ".join(plan_output(info, None, (4, 4), format="jpeg").warnings)
    assert "16-bit samples are rounded" in words
    assert "first of 3 frames" in words
    assert "Title" in words
    assert "IPTC" in " | ".join(plan_output(info, None, (4, 4), format="webp").warnings)
    assert "times" in " | ".join(plan_output(info, None, (4, 4), format="tiff").warnings)
    assert plan_output(info_of(photo((4, 4, 3))), None, (4, 4)).warnings == ()


def test_floats_are_rounded_once_and_clipped():
    values = np.array([-0.5, 0.0, 0.5 / 255, 1.5 / 255, 127.4 / 255, 127.6 / 255, 1.0, 7.0], "f4").reshape(1, 8, 1)
    expected = {8: [0, 0, 0, 2, 127, 128, 255, 255], 16: np.rint(np.clip(values.ravel(), 0, 1) * np.float32(65535))}
    for depth, samples in expected.items():
        info = info_of(values, depth=depth)
        np.testing.assert_array_equal(opened(written([values], info, "png"))[1][0].ravel(), samples)


@pytest.mark.filterwarnings("error")
def test_gaps_are_black_and_infinities_clipped_where_integers_hold_them():
    values = np.array([np.nan, np.inf, -np.inf, 0.5], "f4").reshape(1, 4, 1)
    np.testing.assert_array_equal(
        opened(written([values], info_of(values, depth=8), "png"))[1][0].ravel(), [0, 255, 0, 128]
    )


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
    array = noise(9, 13, 4)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["png", "tiff", "gif", "webp", "jpg", "bmp", "ppm", "avif"])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_disk_that_fills_up_is_a_failure_to_write_and_leaves_nothing(tmp_path, name, frames):
    array = noise(64, 64, 3, dtype="u2" if name in ("png", "tiff", "ppm") and frames == 1 else "u1")
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
