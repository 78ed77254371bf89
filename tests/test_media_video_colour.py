"""What the numbers of a video mean, and its shape, judged by another FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dagan_cli.errors import BadOption
from dagan_cli.media.video import open_video
from dagan_cli.media.video_codecs import Encoding
from dagan_cli.media.video_frames import frame_of, layout_of, planes_of
from tests.clips import SMPTE, clip, clip_with_times, described, ffmpeg, passed_through

# --- colour, shape and place


@pytest.mark.parametrize(
    ("size", "tags"), [((96, 64), (1, 6, 1, 1)), ((704, 576), (1, 5, 5, 1)), ((1280, 720), (1, 1, 1, 1))]
)
def test_what_a_source_does_not_say_of_its_colour_is_guessed_by_its_size_and_written(tmp_path, size, tags):
    source = clip_with_times(tmp_path / "in.mp4", [0, 40], size=size)
    passed_through(source, tmp_path / "out.mp4", scale=2)
    with av.open(str(tmp_path / "out.mp4")) as out:
        frame = next(out.decode(video=0))
    assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == tags


def test_colour_tags_are_carried_on(tmp_path):
    tags = "setparams=range=pc:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    source = clip(tmp_path / "in.mp4", "-vf", f"format=yuv420p10le,{tags}", "-c:v", "libx264")
    passed_through(source, tmp_path / "out.mp4")
    assert "yuv420p10le(pc, bt2020nc/bt2020/smpte2084)" in described(tmp_path / "out.mp4")
    assert "hvc1" in described(tmp_path / "out.mp4")


@pytest.mark.parametrize(("matrix", "siting"), [("bt2020nc", "topleft"), ("bt709", "left")])
def test_where_colour_samples_lie_is_written(tmp_path, matrix, siting):
    source = clip(tmp_path / "in.mkv", "-vf", f"setparams=colorspace={matrix}", "-c:v", "libx265")
    passed_through(source, tmp_path / "out.mkv")
    assert f", {siting}" in described(tmp_path / "out.mkv", "verbose")


def test_hdr10_metadata_is_carried_on(tmp_path):
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    options = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", f"log-level=error:hdr10=1:{light}")
    source = clip(tmp_path / "in.mp4", *options)
    assert passed_through(source, tmp_path / "out.mp4") == ()
    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        assert before.info.hdr is not None
        assert before.info.hdr.content == (1000, 400)
        assert after.info.hdr == before.info.hdr


@pytest.mark.parametrize("turn", ["90", "180", "270"])
def test_a_turned_picture_is_still_turned_and_no_pixel_is(tmp_path, turn):
    plain = clip(tmp_path / "plain.mp4")
    source = tmp_path / "in.mp4"
    ffmpeg("-display_rotation", turn, "-i", plain, "-c", "copy", source)
    passed_through(source, tmp_path / "out.mp4", scale=2)
    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        assert after.info.rotation == before.info.rotation != 0
        assert (after.info.width, after.info.height) == (192, 128)


def test_pixels_that_are_not_square_stay_so(tmp_path):
    source = clip(tmp_path / "in.mp4", "-vf", "setsar=4/3", "-c:v", "libx264")
    passed_through(source, tmp_path / "out.mp4", scale=2)
    with open_video(tmp_path / "out.mp4") as out:
        assert out.info.sample_aspect_ratio == Fraction(4, 3)


def test_an_odd_size_keeps_its_last_row_and_column(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", picture="testsrc=size=97x65")
    warnings = passed_through(source, tmp_path / "out.mp4")
    assert "97x65" in described(tmp_path / "out.mp4")
    assert any("4:4:4" in warning for warning in warnings)


def test_an_odd_size_in_a_format_that_cannot_hold_it_is_refused(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", picture="testsrc=size=97x65")
    with pytest.raises(BadOption, match="odd size 97x65"):
        passed_through(source, tmp_path / "out.mp4", Encoding(pix_fmt="yuv420p"))


@pytest.mark.parametrize(
    ("pix_fmt", "lossless"),
    [
        ("yuv420p", "yuv420p"),
        ("nv12", "yuv420p"),
        ("nv21", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("yuv420p10be", "yuv420p10le"),
        ("yuyv422", "yuv422p"),
        ("uyvy422", "yuv422p"),
        ("yuv411p", "yuv411p"),
        ("gray", "gray"),
        ("gray10le", "gray10le"),
        ("ya8", "ya8"),
        ("rgb24", "gbrp"),
        ("bgr24", "gbrp"),
        ("bgr0", "gbrp"),
        ("0rgb", "gbrp"),
        ("abgr", "gbrap"),
        ("gbrp", "gbrp"),
        ("gbrap10le", "gbrap10le"),
        ("rgb48be", "gbrp16le"),
        ("yuva444p10le", "yuva444p10le"),
    ],
)
def test_every_way_to_store_a_picture_is_taken_apart_alike(tmp_path, pix_fmt, lossless):
    """The other FFmpeg writes the same picture in both formats; only the order in memory may differ."""
    raw = tmp_path / "raw"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=50x36", "-frames:v", "1", "-pix_fmt", lossless, "-f", "rawvideo", raw)
    stored = tmp_path / "stored"
    arguments = ("-f", "rawvideo", "-s", "50x36", "-pix_fmt", lossless, "-i", raw, "-pix_fmt", pix_fmt)
    ffmpeg(*arguments, "-f", "rawvideo", stored)
    planes = []
    for path, form in ((raw, lossless), (stored, pix_fmt)):
        frame = unpacked(path, form)
        planes.append(planes_of(frame, layout_of(frame, "rawvideo")))
    assert len(planes[0]) == len(planes[1])
    for one, other in zip(*planes, strict=True):
        np.testing.assert_array_equal(one, other)
        torch.from_numpy(other)


def unpacked(path: Path, pix_fmt: str) -> av.VideoFrame:
    options = {"video_size": "50x36", "pixel_format": pix_fmt}
    with av.open(str(path), format="rawvideo", options=options) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "gbrp", "bgra", "p010le", "nv12", "yuva420p"])
def test_planes_put_into_a_frame_are_the_planes_taken_out_of_it(pix_fmt):
    empty = av.VideoFrame(18, 10, pix_fmt)
    layout = layout_of(empty, "rawvideo")
    shapes = [plane.shape for plane in planes_of(empty, layout)]
    random = np.random.default_rng(1)
    number = np.uint8 if layout.depth == 8 else np.uint16
    planes = tuple(random.integers(0, 2**layout.depth, shape, number) for shape in shapes)
    frame = frame_of(planes, pix_fmt, layout.tags)
    assert (frame.color_range, frame.colorspace) == (layout.tags.range, layout.tags.matrix)
    for one, other in zip(planes, planes_of(frame, layout), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_palette_becomes_its_colours(tmp_path):
    source = tmp_path / "in.mov"
    ffmpeg("-f", "lavfi", "-i", SMPTE, "-t", "0.1", "-c:v", "png", "-pix_fmt", "pal8", source)
    ffmpeg("-i", source, "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", tmp_path / "raw")
    expected = np.fromfile(tmp_path / "raw", np.uint8).reshape(64, 96, 3)
    with open_video(source) as video:
        frame = next(video.frames())
        assert video.info.layout.chroma == "rgb"
        np.testing.assert_array_equal(np.stack(frame.planes, -1), expected)
