"""Whole pictures out of interlaced ones, equal to what bwdif of another FFmpeg makes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dagan_cli.media.video.deinterlace import Deinterlacer
from dagan_cli.media.video.frames import frame_of, layout_of, planes_of
from dagan_cli.media.video.source import Deinterlace, Frame, open_video
from dagan_cli.planes import ColourTags
from tests.support.clips import clip, ffmpeg, pictures, times

BWDIF = "bwdif=mode=send_frame:deint=interlaced"
TOP, BOTTOM = "tinterlace=interleave_top", "tinterlace=interleave_bottom"  # which line comes first
INTERLACED = ("-c:v", "libx264", "-an", "-flags", "+ildct+ilme")
FIFTY = "testsrc2=size=96x64:rate=50"


def interlaced(path: Path, order: str = TOP, *options: str) -> Path:
    """25 pictures a second, each made of two moments."""
    flag = ("-x264-params", "bff=1" if order == BOTTOM else "tff=1")
    return clip(path, "-vf", order, *(options or (*INTERLACED, *flag)), picture=FIFTY)


def hashes(frames: Iterable[Frame]) -> list[str]:
    return [hashlib.md5(b"".join(plane.tobytes() for plane in frame.planes)).hexdigest() for frame in frames]


def read(path: Path, deinterlace: Deinterlace = "auto") -> tuple[list[str], tuple[str, ...]]:
    with open_video(path, deinterlace) as video:
        return hashes(video.frames()), video.warnings


def assert_same(made: list[str], judged: list[str], first: int = 0) -> None:
    """But for the first interlaced picture: its second line is not the same in all versions of bwdif."""
    assert len(made) == len(judged)
    assert made[:first] + made[first + 1 :] == judged[:first] + judged[first + 1 :]


@pytest.mark.parametrize("order", [TOP, BOTTOM])
def test_interlaced_pictures_are_made_whole_by_their_own_field_order(tmp_path, order):
    source = interlaced(tmp_path / "in.mp4", order)
    made, warnings = read(source)
    assert_same(made, pictures(source, "-vf", BWDIF))
    assert made != pictures(source)
    assert warnings == ("the video is interlaced: deinterlaced with bwdif (--deinterlace off keeps it)",)


def test_their_number_times_and_durations_stay(tmp_path):
    source = interlaced(tmp_path / "in.mkv")
    with open_video(source) as whole, open_video(source, deinterlace="off") as combed:
        assert whole.info.interlaced
        pairs = list(zip(whole.frames(), combed.frames(), strict=True))
    assert [a.pts * a.time_base for a, _ in pairs] == times(source)
    assert [(a.pts, a.duration) for a, _ in pairs] == [(b.pts, b.duration) for _, b in pairs]


def test_they_can_be_left_as_they_are(tmp_path):
    source = interlaced(tmp_path / "in.mp4")
    made, warnings = read(source, "off")
    assert made == pictures(source)
    assert warnings == ("the video is interlaced and not deinterlaced; the new file does not declare it",)


def test_pictures_that_do_not_say_so_are_made_whole_when_asked(tmp_path):
    source = interlaced(tmp_path / "in.mp4", TOP, "-c:v", "libx264", "-an")
    assert read(source) == (pictures(source), ())
    made, warnings = read(source, "on")
    assert_same(made, pictures(source, "-vf", "bwdif=mode=send_frame:deint=all"))
    assert warnings == ()


def test_a_video_that_becomes_interlaced_on_the_way_is_made_whole_from_there(tmp_path):
    clip(tmp_path / "a.ts", "-c:v", "libx264", "-an", seconds=0.4)
    interlaced(tmp_path / "b.ts")
    source = tmp_path / "in.ts"
    source.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_video(source) as video:
        assert not video.info.interlaced
        assert_same(hashes(video.frames()), pictures(source, "-vf", BWDIF), first=10)
        assert video.warnings[0].startswith("25 later frames are interlaced: deinterlaced with bwdif")


def test_a_change_of_size_in_interlaced_pictures_loses_none(tmp_path):
    parts = [interlaced(tmp_path / "a.ts"), tmp_path / "b.ts"]
    clip(parts[1], "-vf", TOP, *INTERLACED, picture="testsrc2=size=128x96:rate=50")
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    made, warnings = read(source)
    for i, part in enumerate(parts):
        assert_same(made[25 * i :][:25], pictures(part, "-vf", BWDIF))
    assert "25 frames are 128x96 instead of 96x64: scaled to the size of the first" in warnings


def test_full_range_pictures_that_bwdif_does_not_take_as_they_are_get_no_brighter(tmp_path):
    """FFmpeg puts swscale before bwdif, which maps one range to another if it is told of any."""
    plain, source = tmp_path / "plain.nut", tmp_path / "in.mkv"
    tags = "setparams=range=pc:colorspace=bt709"
    ffmpeg("-f", "lavfi", "-i", FIFTY, "-t", "0.2", "-vf", f"format=yuv422p,{tags}", "-c:v", "rawvideo", plain)
    ffmpeg("-i", plain, "-vf", tags, "-c:v", "rawvideo", "-pix_fmt", "uyvy422", source)
    with open_video(source, "on") as video:
        assert (video.info.pix_fmt, video.info.layout.full_range) == ("uyvy422", True)
    assert_same(read(source, "on")[0], pictures(plain, "-vf", "bwdif=mode=send_frame:deint=all"))


@pytest.mark.parametrize(
    "pix_fmt",
    [
        *("yuv420p", "yuvj420p", "yuva420p", "yuv411p", "yuv422p10le", "yuv444p16le", "yuv420p10be", "gray"),
        *("nv12", "nv16", "nv24", "p010le", "p210le", "yuyv422", "uyvy422", "yvyu422"),
        *("gbrp", "gbrp10le", "gbrap", "rgb24", "bgr0", "argb", "rgb48le", "rgba64be"),
    ],
)
def test_no_code_value_of_a_whole_picture_changes_on_the_way_through_bwdif(pix_fmt):
    random = np.random.default_rng(0)
    picture = av.VideoFrame(96, 64, pix_fmt)
    layout = layout_of(picture, "")
    number = np.uint8 if layout.depth == 8 else np.uint16
    shapes = [plane.shape for plane in planes_of(picture, layout)]
    planes = [random.integers(0, 2**layout.depth, shape, number) for shape in shapes]
    picture = frame_of(planes, pix_fmt, ColourTags(range=2, matrix=9, primaries=9, transfer=16))
    picture.pts, picture.time_base = 0, Fraction(1, 25)
    bwdif = Deinterlacer.starting(picture, everything=False)
    assert bwdif is not None
    (whole,) = (*bwdif.take(picture), *bwdif.rest())
    for one, other in zip(planes, planes_of(whole, layout), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_bwdif_cannot_take_is_left_as_it_is_and_told(tmp_path):
    source = tmp_path / "in.mkv"
    ffmpeg("-f", "lavfi", "-i", FIFTY, "-t", "0.1", "-c:v", "ffv1", "-pix_fmt", "gray10le", source)
    made, warnings = read(source, "on")
    assert made == pictures(source)
    assert warnings == ("5 frames stay interlaced: bwdif does not support gray10le of this size",)
