"""Streams that change their size, format or colours on the way, as broadcasts and screen recordings do."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from dagan_cli.media.video.source import open_video
from tests.media.video.test_deinterlace import hashes
from tests.support.clips import clip, ffmpeg, pictures, times

pytestmark = pytest.mark.slow


def joined(folder, *parts: tuple[str, ...]):
    """A transport stream of several, 10 frames each; each part is given by the options of its encoding."""
    source = folder / "in.ts"
    later = [("-output_ts_offset", str(0.5 * i)) for i in range(len(parts))]
    files = [clip(folder / f"{i}.ts", *part, "-an", *later[i], seconds=0.4) for i, part in enumerate(parts)]
    source.write_bytes(b"".join(file.read_bytes() for file in files))
    return source, files


def read_picture(path, index: int) -> np.ndarray:
    with open_video(path) as video:
        return [np.array(frame.planes[0], int) for frame in video.frames()][index]


H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
LARGE = (*H264, "-vf", "scale=128:80")


def test_frames_of_another_size_come_as_they_are_and_are_counted(tmp_path):
    source, parts = joined(tmp_path, H264, LARGE, H264)
    with open_video(source) as video:
        frames = [(frame.planes[0].shape, frame.layout is video.info.layout) for frame in video.frames()]
        assert frames == [((64, 96), True)] * 10 + [((80, 128), True)] * 10 + [((64, 96), True)] * 10
        assert video.shortfall is None
        assert video.warnings == ("10 frames are 128x80 instead of 96x64: scaled to the size of the first",)
    with open_video(source) as video:
        assert hashes(video.frames()) == [one for part in parts for one in pictures(part)]


def test_a_video_of_two_sizes_is_upscaled_to_one(tmp_path, cli):
    source, (first, second) = joined(tmp_path, H264, (*H264, "-vf", "scale=192:128"))
    target = tmp_path / "out.mkv"
    ran = cli("upscale", source, "-n", "nearest", "-s", "1", "-c", "ffv1", "-o", target)
    assert ran.code == 0
    assert "10 frames are 192x128 instead of 96x64" in ran.err
    assert pictures(target)[:10] == pictures(first)
    for one, other in zip(times(target), times(source), strict=True):
        assert abs(one - other) <= Fraction(1, 2000)  # .mkv counts in milliseconds
    small = tmp_path / "small.mkv"
    ffmpeg("-i", second, "-vf", "scale=96:64:flags=area", "-c:v", "ffv1", small)
    last = [read_picture(path, -1) for path in (target, small)]
    assert np.abs(last[0] - last[1]).mean() < 8  # two ways to scale the same picture


@pytest.mark.parametrize(("pix_fmt", "depth", "chroma"), [("yuv422p", 8, "422"), ("yuv420p10le", 10, "420")])
def test_frames_of_another_format_say_so(tmp_path, pix_fmt, depth, chroma):
    source, parts = joined(tmp_path, H264, ("-c:v", "libx264", "-pix_fmt", pix_fmt))
    with open_video(source) as video:
        frames = list(video.frames())
        layouts = [(frame.layout.depth, frame.layout.chroma) for frame in frames]
        assert layouts == [(8, "420")] * 10 + [(depth, chroma)] * 10
        assert video.warnings == (f"10 frames are {pix_fmt} instead of yuv420p: converted to that format",)
        assert hashes(frames[:1]) == pictures(parts[0])[:1]
    with open_video(source) as video:
        assert hashes(video.frames()) == [one for part in parts for one in pictures(part)]


def test_frames_of_other_colours_are_read_by_their_own_tags(tmp_path):
    def tagged(matrix: str, value_range: str, transfer: str) -> tuple[str, ...]:
        return (*H264, "-vf", f"setparams=range={value_range}:colorspace={matrix}:color_trc={transfer}")

    source, _ = joined(tmp_path, tagged("bt709", "tv", "bt709"), tagged("smpte170m", "pc", "smpte2084"))
    with open_video(source) as video:
        read = [(frame.layout.matrix, frame.layout.full_range) for frame in video.frames()]
        assert read == [("bt709", False)] * 10 + [("bt601", True)] * 10
        assert "10 frames are in another colour matrix or range than the first: converted" in video.warnings
        assert any("another transfer than the first: not converted" in warning for warning in video.warnings)


@pytest.mark.parametrize("kept", [True, False])
def test_a_stream_that_loses_or_gains_transparency_keeps_what_its_first_frame_has(tmp_path, kept):
    names = ("rgba", "rgb24") if kept else ("rgb24", "rgba")
    picture = "testsrc2=size=96x64:rate=25,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='X*2'"
    parts = [clip(tmp_path / f"{name}.mov", "-c:v", "png", "-pix_fmt", name, "-an", picture=picture) for name in names]
    opened = [av.open(str(path)) for path in parts]
    with av.open(str(tmp_path / "in.mov"), "w") as out, opened[0], opened[1]:
        stream = out.add_stream_from_template(opened[0].streams.video[0], opaque=True)
        packets = [packet for file in opened for packet in file.demux(video=0) if packet.size]
        for i, packet in enumerate(packets):
            packet.stream = stream
            packet.pts = packet.dts = i * 512
            out.mux(packet)
    with open_video(tmp_path / "in.mov") as video:
        frames = list(video.frames())
        assert [frame.layout.alpha for frame in frames] == [kept] * len(frames)
        assert {len(frame.planes) for frame in frames} == {3 + kept}
        if kept:
            assert frames[0].planes[3].min() < 10
            np.testing.assert_array_equal(frames[-1].planes[3], 255)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "shapes"),
    [
        (("-c:v", "mpeg2video", "-q:v", "1"), ("8/9", "32/27")),  # of 96x64: 4:3, then 16:9
        (("-c:v", "mpeg2video", "-q:v", "1"), ("32/27", "8/9")),
        (("-c:v", "libx264", "-qp", "1", "-bf", "3"), ("16/15", "64/45")),
        (("-c:v", "libx264", "-qp", "1", "-bf", "3"), ("64/45", "16/15")),
    ],
)
def test_pixels_of_another_shape_are_fitted_into_the_shape_of_the_first(tmp_path, cli, codec, shapes):
    is_wider = Fraction(shapes[1]) > Fraction(shapes[0])
    fit = "scale=96:48:flags=area,pad=96:64:0:8" if is_wider else "scale=72:64:flags=area,pad=96:64:12:0"
    suffix = ".ts"
    parts = []
    for number, shape in enumerate(shapes):
        later = ("-output_ts_offset", str(number))
        parts.append(clip(tmp_path / f"{number}{suffix}", *codec, "-vf", f"setsar={shape}", "-an", *later))
    source, target = tmp_path / f"in{suffix}", tmp_path / "out.mkv"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    ran = cli("upscale", source, "-n", "nearest", "-s", "1", "-c", "ffv1", "-o", target)
    assert ran.code == 0
    first, second = (shape.replace("/", ":") for shape in shapes)
    assert f"25 frames are of pixels with the aspect ratio {second} instead of {first}: fitted" in ran.err
    assert pictures(target)[:25] == pictures(parts[0])
    ffmpeg("-i", parts[1], "-vf", f"{fit},setsar={shapes[0]}", "-c:v", "ffv1", tmp_path / "fit.mkv")
    for number in (0, 24):
        last = [read_picture(path, at) for path, at in ((target, 25 + number), (tmp_path / "fit.mkv", number))]
        assert np.abs(last[0] - last[1]).mean() < 8  # two ways to scale the same picture
