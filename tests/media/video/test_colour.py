"""What the numbers of a video mean, and its shape, judged by another FFmpeg."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from dagan_cli.errors import BadOption
from dagan_cli.media.video.frames import frame_of, layout_of, planes_of
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from tests.support.clips import SMPTE, clip, clip_with_times, described, ffmpeg, passed_through

# --- colour, shape and place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "tags"), [((96, 64), (1, 6, 1, 1)), ((704, 576), (1, 5, 5, 1)), ((1280, 720), (1, 1, 1, 1))]
)
def test_what_a_source_does_not_say_of_its_colour_is_guessed_by_its_size_and_written(tmp_path, size, tags):
    source = clip_with_times(tmp_path / "in.mp4", [0, 40], size=size)
    passed_through(source, tmp_path / "out.mp4", scale=2)
    with av.open(str(tmp_path / "out.mp4")) as out:
        frame = next(out.decode(video=0))
    assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == tags


@pytest.mark.slow
def test_colour_tags_are_carried_on(tmp_path):
    tags = "setparams=range=pc:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    source = clip(tmp_path / "in.mp4", "-vf", f"format=yuv420p10le,{tags}", "-c:v", "libx264")
    passed_through(source, tmp_path / "out.mp4")
    assert "yuv420p10le(pc, bt2020nc/bt2020/smpte2084)" in described(tmp_path / "out.mp4")
    assert "hvc1" in described(tmp_path / "out.mp4")


@pytest.mark.slow
@pytest.mark.parametrize(("matrix", "siting"), [("bt2020nc", "topleft"), ("bt709", "left")])
def test_where_colour_samples_lie_is_written(tmp_path, matrix, siting):
    source = clip(tmp_path / "in.mkv", "-vf", f"setparams=colorspace={matrix}", "-c:v", "libx265")
    passed_through(source, tmp_path / "out.mkv")
    assert f", {siting}" in described(tmp_path / "out.mkv", "verbose")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "codec", "siting"),
    [
        (".mp4", "libx264", "center"),
        (".mkv", "ffv1", "center"),
        (".mp4", "libsvtav1", "left"),
        (".mov", "prores_ks", None),
    ],
)
def test_colour_samples_move_only_where_their_place_could_not_be_said(tmp_path, suffix, codec, siting):
    """The pictures of JPEG have them between the pixels; where nothing is said, readers take them to be at the left."""
    smooth = "gblur=4,scale=out_range=full,format=yuvj420p"
    source, target = (
        clip(tmp_path / "in.avi", "-c:v", "mjpeg", "-q:v", "2", "-an", "-vf", smooth),
        tmp_path / f"out{suffix}",
    )
    passed_through(
        source, target, Encoding(codec=codec, crf=5) if codec not in ("ffv1", "prores_ks") else Encoding(codec=codec)
    )
    said = re.search(r", (left|center|topleft)\)", described(target, "verbose"))
    assert (said and said[1]) == siting
    here, there = "center", siting or "left"
    same = "zscale=chromalin={}:rangein={}:range=full:matrixin=170m:matrix=gbr,format=gbrp"
    value_range = "limited" if codec == "prores_ks" else "full"
    graph = f"[0:v]{same.format(here, 'full')}[a];[1:v]{same.format(there, value_range)}[b];[a][b]psnr=stats_file=-"
    scores = re.findall(r"psnr_avg:(\S+)", ffmpeg("-i", source, "-i", target, "-lavfi", graph, "-f", "null", "-"))
    assert min(map(float, scores)) > 44


MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def hdr10(
    path: Path, mastering: str = MASTERING, transfer: str = "smpte2084", light: str = ":max-cll=1000,400"
) -> Path:
    tags = f"setparams=range=tv:color_primaries=bt2020:colorspace=bt2020nc:color_trc={transfer}"
    said = f"log-level=error:master-display={mastering}{light}" if mastering else "log-level=error"
    coded = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", said)
    return clip(path, "-an", "-vf", tags, *coded, seconds=0.2)


def shown(path: Path) -> list[str]:
    """Tags and light metadata of the first frame, as the other FFmpeg decodes it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path, "-vf", "showinfo", "-frames:v", "1"]
    log = subprocess.run([*command, "-f", "null", "-"], stderr=subprocess.PIPE, text=True, check=True).stderr
    said = [re.sub(r"^\[.*?\] *(side data - )?", "", line).strip() for line in log.splitlines()]
    return sorted({line for line in said if line.startswith(("Mastering", "Content light", "color_range"))})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        (None, ".mp4"),
        (None, ".mkv"),
        (None, ".webm"),
        ("libx265", ".mov"),
        ("libx264", ".mp4"),
        ("libx264", ".mkv"),
        ("libsvtav1", ".mp4"),
    ],
)
def test_hdr10_is_carried_on(tmp_path, codec, suffix):
    """Matrix, primaries, PQ curve, mastering display, light levels; depth too."""
    source, target = hdr10(tmp_path / "in.mp4"), tmp_path / f"out{suffix}"
    assert passed_through(source, target, Encoding(codec=codec)) == ()
    expected = shown(source)
    assert len(expected) == 3
    assert "smpte2084" in expected[2]
    coarse = [line.replace("0.005005", "0.005000") for line in shown(target)]  # AV1 counts darkness in 1/16384 cd/m2
    assert coarse == expected
    assert "yuv420p10le" in described(target)


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "suffix"), [(None, ".mp4"), ("libx264", ".mkv"), (None, ".webm")])
def test_hlg_is_carried_on(tmp_path, codec, suffix):
    source, target = hdr10(tmp_path / "in.mp4", "", "arib-std-b67", ""), tmp_path / f"out{suffix}"
    assert passed_through(source, target, Encoding(codec=codec)) == ()
    assert shown(target) == shown(source)
    assert "arib-std-b67" in shown(target)[0]


@pytest.mark.parametrize(("codec", "suffix"), [("prores_ks", ".mov"), ("ffv1", ".mkv")])
def test_a_codec_that_does_not_hold_hdr10_metadata_says_so_and_keeps_the_tags(tmp_path, codec, suffix):
    source, target = hdr10(tmp_path / "in.mp4"), tmp_path / f"out{suffix}"
    warnings = passed_through(source, target, Encoding(codec=codec))
    assert warnings == (f"{codec} does not keep the HDR10 metadata (mastering display, light level)",)
    assert shown(target) == shown(source)[2:]


def test_mastering_metadata_that_makes_no_sense_is_told_and_left_out(tmp_path):
    source = hdr10(tmp_path / "in.mp4", "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(0,50)", light="")
    warnings = passed_through(source, tmp_path / "out.mp4")
    assert warnings == ("the mastering display metadata is incomplete or out of range and is not kept",)
    assert not any("Mastering" in line for line in shown(tmp_path / "out.mp4"))


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


@pytest.mark.slow
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
        ("yuv444p10msble", "yuv444p10le"),
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


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv444p10le", "gbrp", "bgra", "p010le", "nv12", "yuva420p", "yuv444p10msble"]
)
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
