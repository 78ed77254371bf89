"""Video in and out: every frame, time stamp, tag and sound packet, judged by another FFmpeg."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from av.stream import Disposition

from dagan_cli.engine.colour import from_rgb, to_rgb
from dagan_cli.errors import BadInput, BadOption, CannotWrite
from dagan_cli.media.prefetch import prefetch
from dagan_cli.media.video import open_video
from dagan_cli.media.video_codecs import Encoding
from dagan_cli.media.video_frames import frame_of, layout_of, planes_of
from dagan_cli.media.video_writer import create_video, default_suffix

LOSSLESS = Encoding(codec="ffv1")
FAST = Encoding(preset="ultrafast")
UNEVEN = [0, 40, 41, 110, 111, 112, 300, 333, 340, 500]  # milliseconds
SMPTE = "testsrc2=size=96x64:rate=25"


def ffmpeg(*arguments: str | Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def clip(path: Path, *options: str, seconds: float = 1, picture: str = SMPTE) -> Path:
    """A moving test picture with a tone."""
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100")
    ffmpeg(*inputs, "-t", str(seconds), *(options or ("-c:v", "libx264", "-c:a", "aac")), path)
    return path


def clip_with_times(path: Path, pts: list[int], time_base=Fraction(1, 1000), pix_fmt="yuv420p", size=(96, 64)) -> Path:
    """Random pictures at the given times."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0", "qp": "0", "preset": "ultrafast"})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        for time in pts:
            frame = av.VideoFrame(size[0], size[1], pix_fmt)
            for plane in frame.planes:
                plane.update(random.integers(16, 235, plane.buffer_size, np.uint8).tobytes())
            frame.pts, frame.time_base = time, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def passed_through(source: Path, target: Path, encoding=FAST, scale=1, trim=False, **part) -> tuple[str, ...]:
    """The whole path of a frame with a network that repeats pixels; returns all warnings."""
    with open_video(source) as video:
        info = video.info
        size = (info.width * scale, info.height * scale)
        output = create_video(target, info, size, encoding, trim=trim)
        with output as writer, prefetch(video.frames(**part)) as frames:
            for frame in frames:
                rgb = to_rgb([torch.from_numpy(plane) for plane in frame.planes], info.layout)
                rgb = rgb.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
                planes = [plane.numpy() for plane in from_rgb(rgb, writer.layout)]
                writer.write(planes, frame.pts, frame.duration)
        return video.warnings + writer.warnings


def times(path: Path, stream: str = "v:0") -> list[Fraction]:
    """When each frame is shown, in seconds, as the other FFmpeg sees it."""
    arguments = ("-map", f"0:{stream}", "-fps_mode", "passthrough", "-enc_time_base", "demux", "-c:v", "rawvideo")
    text = ffmpeg("-copyts", "-i", path, *arguments, "-f", "framemd5", "-")
    base = Fraction(re.findall(r"#tb 0: (\S+)", text)[0])
    return [int(line.split(",")[2]) * base for line in text.splitlines() if line[0] != "#"]


def pictures(path: Path) -> list[str]:
    """A hash of each decoded frame."""
    text = ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-")
    return [line.rsplit(",", 1)[1] for line in text.splitlines() if line[0] != "#"]


def payload(path: Path, streams: str) -> list[str]:
    text = ffmpeg("-i", path, "-map", f"0:{streams}", "-c", "copy", "-f", "streamhash", "-hash", "md5", "-")
    return [line.split(",", 1)[1] for line in text.splitlines()]


def described(path: Path, detail: str = "info") -> str:
    """What the other FFmpeg says of a file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-v", detail, "-i", str(path)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr


# --- what the project promises of every file


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_frames_times_and_sound_come_through(tmp_path, suffix):
    source = clip(tmp_path / f"in{suffix}")
    target = tmp_path / f"out{suffix}"
    passed_through(source, target, scale=2)
    assert times(target) == times(source)
    assert len(times(target)) == 25
    assert payload(target, "a") == payload(source, "a")
    assert times(target, "v:0")[0] == 0
    assert "192x128" in described(target)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le", "yuvj420p"])
def test_an_identity_network_and_a_lossless_codec_change_no_code_value(tmp_path, pix_fmt):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1" if "j" not in pix_fmt else "mjpeg", "-pix_fmt", pix_fmt)
    passed_through(source, tmp_path / "out.mkv", LOSSLESS)
    assert pictures(tmp_path / "out.mkv") == pictures(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_uneven_times_are_kept_to_the_tick(tmp_path, suffix):
    source = clip_with_times(tmp_path / f"in{suffix}", UNEVEN)
    passed_through(source, tmp_path / f"out{suffix}")
    assert times(tmp_path / f"out{suffix}") == [Fraction(time, 1000) for time in UNEVEN]


def test_the_last_frame_of_uneven_ones_stays_as_long_as_it_was(tmp_path):
    source = clip_with_times(tmp_path / "in.mp4", UNEVEN)
    passed_through(source, tmp_path / "out.mp4", Encoding())  # a preset that would use B-frames
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        videos = before.streams.video[0], after.streams.video[0]
        lengths = [(video.duration or 0) * (video.time_base or 0) for video in videos]
    assert lengths[0] == lengths[1] > 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_starts_late_starts_late(tmp_path, suffix):
    tone = clip(tmp_path / "tone.mp4", "-c:a", "aac", "-vn")
    late = clip_with_times(tmp_path / "late.mp4", [0, 40, 80])
    source = tmp_path / f"in{suffix}"
    ffmpeg("-i", tone, "-itsoffset", "0.226", "-i", late, "-map", "0", "-map", "1", "-c", "copy", source)
    passed_through(source, tmp_path / f"out{suffix}")
    assert times(tmp_path / f"out{suffix}") == times(source)
    assert times(source)[0] > Fraction(2, 10)
    assert payload(tmp_path / f"out{suffix}", "a") == payload(source, "a")


def test_sound_that_begins_before_zero_does_not_shift_the_picture_in_another_container(tmp_path):
    source = clip(tmp_path / "in.mp4")
    passed_through(source, tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv") == [Fraction(i, 25) for i in range(25)]


def test_sound_hidden_before_zero_stays_hidden_in_another_container(tmp_path):
    plain = clip(tmp_path / "plain.mp4")
    source = tmp_path / "in.mp4"
    ffmpeg("-i", plain, "-itsoffset", "-0.5", "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    passed_through(source, tmp_path / "out.mkv")
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        begins = [next(iter(file.demux(audio=0))) for file in (before, after)]
    assert [round(float((packet.pts or 0) * packet.time_base), 1) for packet in begins] == [-0.5, 0]
    assert times(tmp_path / "out.mkv") == times(source)


def test_sound_and_picture_are_interleaved(tmp_path):
    """Over more than the ten seconds for which a muxer waits for the slower stream."""
    source = clip(tmp_path / "in.mp4", seconds=30, picture="testsrc2=size=32x32:rate=10")
    passed_through(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as out:
        packets = [(packet.stream.type, float((packet.pts or 0) * packet.time_base)) for packet in out.demux()]
    latest, apart = {"audio": 0.0, "video": 0.0}, 0.0
    for kind, time in packets[:-2]:
        latest[kind] = max(time, latest[kind])
        apart = max(apart, abs(latest["audio"] - latest["video"]))
    assert apart < 1


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


# --- the other streams


def test_every_sound_track_is_copied_in_order_with_its_language_and_title(tmp_path):
    one = clip(tmp_path / "one.mkv")
    source = tmp_path / "in.mkv"
    tracks = ("-map", "0:a", "-map", "0:v", "-map", "0:a", "-c:v", "copy", "-c:a:0", "copy", "-c:a:1", "flac")
    names = (
        "-metadata:s:a:0",
        "language=fra",
        "-metadata:s:a:1",
        "title=Director",
        "-metadata:s:v",
        "title=Picture",
        "-disposition:a:1",
        "comment",
    )
    ffmpeg("-i", one, *tracks, *names, "-metadata", "title=A film", source)
    passed_through(source, tmp_path / "out.mkv")
    assert payload(tmp_path / "out.mkv", "a") == payload(source, "a")
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [stream.type for stream in out.streams] == ["audio", "video", "audio"]
        assert out.streams[0].language == "fra"
        assert out.streams[1].metadata["title"] == "Picture"
        assert out.streams[2].metadata["title"] == "Director"
        assert out.streams[2].disposition & Disposition.comment
        assert out.metadata["title"] == "A film"


def subtitled(folder: Path, suffix: str, codec: str) -> Path:
    words, chapters = folder / "in.srt", folder / "chapters.txt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,600\nHello\n")
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=First\n")
    source = folder / f"in{suffix}"
    inputs = ("-i", clip(folder / "plain.mp4"), "-i", words, "-i", chapters)
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-map_metadata", "2", "-c", "copy", "-c:s", codec, source)
    return source


def cues(path: Path) -> list[tuple[Fraction, Fraction, bytes]]:
    """Start, duration and content of each subtitle but the empty ones that mp4 files have between them."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if bytes(packet).strip(b"\0")]
        return [((p.pts or 0) * p.time_base, (p.duration or 0) * p.time_base, bytes(p)) for p in packets]


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "srt"), (".mp4", "mov_text")])
def test_subtitles_and_chapters_are_copied_where_the_container_takes_them(tmp_path, suffix, codec):
    source = subtitled(tmp_path, suffix, codec)
    target = tmp_path / f"out{suffix}"
    passed_through(source, target)
    assert cues(target) == cues(source) != []
    with av.open(str(target)) as out:
        assert [chapter["metadata"]["title"] for chapter in out.chapters()] == ["First"]


def test_a_stream_that_the_container_does_not_take_is_named(tmp_path):
    source = subtitled(tmp_path, ".mkv", "srt")
    warnings = passed_through(source, tmp_path / "out.mp4")
    assert "stream 2 is not kept: subtitle srt" in warnings
    assert payload(tmp_path / "out.mp4", "a") == payload(source, "a")


def test_sound_is_left_out_when_asked(tmp_path):
    passed_through(clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", Encoding(preset="ultrafast", audio="none"))
    assert "Audio" not in described(tmp_path / "out.mp4")


@pytest.mark.parametrize(
    ("suffix", "sound", "expected"),
    [
        (".mp4", "aac", ".mp4"),
        (".mov", "aac", ".mov"),
        (".mkv", "flac", ".mkv"),
        (".webm", "libopus", ".mkv"),
        (".avi", "mp2", ".mkv"),
        (".3gp", "aac", ".mp4"),
    ],
)
def test_the_default_container_is_the_sources_own_or_the_nearest_that_holds_all(tmp_path, suffix, sound, expected):
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    options = ("-c:v", codec, "-c:a", sound, "-strict", "-2")
    with open_video(clip(tmp_path / f"in{suffix}", *options, seconds=0.2)) as video:
        assert default_suffix(video.info) == expected


# --- parts of a video


def test_a_part_begins_at_zero_with_the_sound_that_belongs_to_it(tmp_path):
    source = clip(tmp_path / "in.mp4", seconds=3)
    target = tmp_path / "out.mp4"
    passed_through(source, target, trim=True, start=1, end=2)
    assert times(target) == [Fraction(i, 25) for i in range(25)]
    with av.open(str(source)) as before, av.open(str(target)) as after:
        all_of_it = [(packet.pts or 0, bytes(packet)) for packet in before.demux(audio=0) if packet.size]
        part = [(packet.pts or 0, bytes(packet)) for packet in after.demux(audio=0) if packet.size]
    expected = [(pts - 44100, data) for pts, data in all_of_it if 44100 <= pts < 88200]
    assert [data for _, data in part] == [data for _, data in expected]
    assert [pts for pts, _ in part] == pytest.approx(
        [pts for pts, _ in expected], abs=44100 / 12800
    )  # a picture's tick


def test_a_number_of_frames_can_be_asked_for(tmp_path):
    with open_video(clip(tmp_path / "in.mp4")) as video:
        assert len(list(video.frames(start=0.5, limit=3))) == 3
        assert video.shortfall is None


# --- interlaced


def test_interlaced_pictures_are_made_whole_and_keep_their_times(tmp_path):
    options = ("-vf", "interlace", "-c:v", "libx264", "-flags", "+ildct+ilme", "-pix_fmt", "yuv420p")
    source = clip(tmp_path / "in.mp4", *options, picture="testsrc2=size=96x64:rate=50")
    with open_video(source) as whole, open_video(source, deinterlace="off") as combed:
        assert whole.info.interlaced
        pairs = list(zip(whole.frames(), combed.frames(), strict=True))
    assert len(pairs) == 25
    assert [a.pts for a, _ in pairs] == [b.pts for _, b in pairs]
    assert [a.duration for a, _ in pairs] == [b.duration for _, b in pairs]
    assert any((a.planes[0] != b.planes[0]).any() for a, b in pairs)
    assert any("interlaced" in warning for warning in whole.warnings)


# --- damage


def test_a_file_that_is_no_video_is_refused_with_advice(tmp_path):
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(os.urandom(5000))
    with pytest.raises(BadInput, match="not a video") as caught, open_video(junk):
        pass
    assert caught.value.hint


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"), open_video(tmp_path / "none.mp4"):
        pass


def test_a_sound_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="holds no video"), open_video(clip(tmp_path / "a.mp4", "-vn")):
        pass


def test_a_playlist_is_not_followed(tmp_path):
    clip(tmp_path / "in.ts", "-c:v", "libx264", "-c:a", "aac")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile in.ts\n")
    with pytest.raises(BadInput), open_video(tmp_path / "list.mp4"):
        pass


def test_a_whole_file_has_no_shortfall(tmp_path):
    for suffix in (".mp4", ".mkv"):
        with open_video(clip(tmp_path / f"in{suffix}")) as video:
            assert len(list(video.frames())) == video.decoded == 25
            assert video.shortfall is None
            assert video.warnings == ()


def test_sound_that_outlasts_the_picture_is_no_shortfall(tmp_path):
    inputs = ("-f", "lavfi", "-t", "1", "-i", SMPTE, "-f", "lavfi", "-t", "4", "-i", "sine")
    ffmpeg(*inputs, tmp_path / "in.mkv")
    with open_video(tmp_path / "in.mkv") as video:
        assert len(list(video.frames())) == 25
        assert video.shortfall is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_is_cut_short_says_so(tmp_path, suffix):
    options = ("-c:v", "libx264", "-g", "5", "-c:a", "aac", "-movflags", "faststart")
    source = clip(tmp_path / f"whole{suffix}", *options, seconds=4)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with open_video(cut) as video:
        assert 10 < len(list(video.frames())) < 90
        assert video.shortfall


def test_damaged_packets_are_left_out_and_counted_and_the_others_keep_their_times(tmp_path):
    source = clip(tmp_path / "whole.avi", "-c:v", "mjpeg", "-an")
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as whole:
        place = [packet.pos or 0 for packet in whole.demux(video=0) if packet.size][7]
    data[place + 8 : place + 300] = bytes(292)
    (tmp_path / "damaged.avi").write_bytes(data)
    with open_video(tmp_path / "damaged.avi") as video:
        shown = [frame.pts for frame in video.frames()]
        assert shown == [pts for pts in range(25) if pts != 7]
        assert video.damaged_packets == 1
        assert "1 damaged" in (video.shortfall or "")


def test_a_damaged_sound_track_does_not_end_the_picture(tmp_path):
    """A chunk of sound that is said to lie beyond the end of the file."""
    data = bytearray(clip(tmp_path / "in.mp4", seconds=4).read_bytes())
    chunks = data.rindex(b"stco") + 12  # the sound is the second track
    data[chunks + 4 : chunks + 8] = (2**31 - 1).to_bytes(4, "big")
    (tmp_path / "damaged.mp4").write_bytes(data)
    warnings = passed_through(tmp_path / "damaged.mp4", tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == 100
    assert any("only 0.0 of 4.0 s" in warning for warning in warnings)


def test_a_change_of_size_on_the_way_is_told(tmp_path):
    parts = [clip(tmp_path / f"{side}.ts", picture=f"testsrc2=size={side}x64", seconds=0.4) for side in (96, 128)]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(source) as video, pytest.raises(BadInput, match="changes from 96x64 yuv420p to 128x64"):
        list(video.frames())


def test_times_that_stand_still_are_mended_and_counted(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "mjpeg", "-an", seconds=0.2)
    with av.open(str(source)) as before, av.open(str(tmp_path / "still.mkv"), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0], opaque=True)
        packets = [packet for packet in before.demux(video=0) if packet.size]
        for packet, time in zip(packets, [0, 40, 40, 40, 160], strict=True):
            packet.pts = packet.dts = time
            packet.stream = copy
            after.mux(packet)
    with open_video(tmp_path / "still.mkv") as video:
        assert [frame.pts for frame in video.frames()] == [0, 40, 41, 42, 160]
        assert video.repaired_times == 2
        assert any("2 time stamps" in warning for warning in video.warnings)


def test_a_stream_without_times_gets_them(tmp_path):
    with open_video(clip(tmp_path / "bare.h264", "-c:v", "libx264", "-an")) as video:
        shown = [frame.pts * frame.time_base for frame in video.frames()]
    assert [round(b - a, 4) for a, b in pairwise(shown)] == [Fraction(1, 25)] * 24


# --- a name that exists is a finished file


def test_what_goes_wrong_on_the_way_leaves_nothing_behind(tmp_path):
    source = clip(tmp_path / "in.mp4")

    def fail_half_way() -> None:
        with open_video(source) as video, create_video(tmp_path / "out.mp4", video.info, (96, 64), FAST) as writer:
            frame = next(video.frames())
            writer.write(frame.planes, frame.pts, frame.duration)
            raise KeyError("something else")

    with pytest.raises(KeyError):
        fail_half_way()
    assert os.listdir(tmp_path) == ["in.mp4"]


def test_an_existing_file_stays_until_the_new_one_is_whole(tmp_path):
    source = clip(tmp_path / "in.mp4")
    target = tmp_path / "out.mp4"
    target.write_text("the old one")
    with open_video(source) as video, create_video(target, video.info, (96, 64), FAST) as writer:
        for frame in video.frames():
            writer.write(frame.planes, frame.pts, frame.duration)
        assert target.read_text() == "the old one"
    assert len(times(target)) == 25


def test_a_video_of_no_frames_is_not_written(tmp_path):
    source = clip(tmp_path / "in.mp4")
    with pytest.raises(CannotWrite, match="empty"):
        passed_through(source, tmp_path / "out.mp4", start=100)
    assert not (tmp_path / "out.mp4").exists()


def test_the_source_is_not_overwritten(tmp_path):
    source = clip(tmp_path / "in.mp4")
    with pytest.raises(BadOption, match="its own source"):
        passed_through(source, source)
    assert len(times(source)) == 25


def test_a_full_disk_is_told_as_such_and_leaves_nothing_behind(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", picture="testsrc2=size=320x240")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(CannotWrite) as caught:
            passed_through(source, tmp_path / "out.mkv", LOSSLESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert os.listdir(tmp_path) == ["in.mkv"]


# --- choices


@pytest.mark.parametrize(
    ("encoding", "suffix", "words"),
    [
        (Encoding(codec="nonsense"), ".mp4", "no encoder nonsense"),
        (Encoding(codec="aac"), ".mp4", "does not encode video"),
        (Encoding(pix_fmt="rgb24"), ".mp4", "does not take --pix-fmt rgb24"),
        (Encoding(options={"typo": "1"}), ".mp4", "no option typo"),
        (Encoding(), ".webm", "libx264 cannot be kept in webm"),
        (Encoding(), ".txt", "no video is written as .txt"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_before_any_work(tmp_path, encoding, suffix, words):
    with pytest.raises(BadOption, match=words):
        passed_through(clip(tmp_path / "in.mp4"), tmp_path / f"out{suffix}", encoding)
    assert os.listdir(tmp_path) == ["in.mp4"]


def test_quality_and_the_encoders_own_options_reach_it(tmp_path):
    source = clip(tmp_path / "in.mp4")
    sizes = []
    for crf in (5, 40):
        passed_through(source, tmp_path / "out.mp4", Encoding(crf=crf, options={"g": "5"}))
        sizes.append((tmp_path / "out.mp4").stat().st_size)
        with av.open(str(tmp_path / "out.mp4")) as out:
            assert sum(packet.is_keyframe for packet in out.demux(video=0) if packet.size) >= 5
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p", "h264"), ("yuv420p10le", "hevc"), ("gbrp", "h264")])
def test_the_codec_follows_the_depth(tmp_path, pix_fmt, codec):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, seconds=0.2)
    passed_through(source, tmp_path / "out.mp4")
    assert f"Video: {codec}" in described(tmp_path / "out.mp4")


def test_names_that_look_like_protocols_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "in.mp4", seconds=0.2).rename(tmp_path / "a:b.mp4")
    passed_through(Path("a:b.mp4"), Path("c:d%d.mp4"))
    assert len(times(tmp_path / "c:d%d.mp4")) == 5


# --- real files


REAL = Path(os.environ.get("DAGAN_TEST_DATA", "/nowhere")) / "video"


@pytest.mark.corpus
@pytest.mark.skipif(not REAL.is_dir(), reason="DAGAN_TEST_DATA names no folder with a folder `video` in it")
@pytest.mark.parametrize(
    "name", ["awesome movie.mov", "portrait.MOV", "rotated_video.mp4", "sample.3gp", "chaplin.mp4"]
)
def test_real_files_keep_their_times_and_sound(tmp_path, name):
    source = REAL / name
    with open_video(source) as video:
        target = tmp_path / f"out{default_suffix(video.info)}"
    passed_through(source, target)
    assert times(target) == times(source)
    assert payload(target, "a") == payload(source, "a")
