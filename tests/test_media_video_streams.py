"""Sound, subtitles, chapters and the rest beside the pictures, judged by another FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from dagan_cli.media.video import open_video
from dagan_cli.media.video_codecs import Encoding
from dagan_cli.media.video_mux import default_suffix
from tests.clips import clip, clip_with_times, described, ffmpeg, passed_through, payload, times


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
    assert [warning for warning in warnings if warning.startswith("stream 2 (subtitle subrip) becomes mov_text")]
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
        (".webm", "libopus", ".webm"),
        (".avi", "mp2", ".mkv"),
        (".3gp", "aac", ".mp4"),
    ],
)
def test_the_default_container_is_the_sources_own_or_the_nearest_that_holds_all(tmp_path, suffix, sound, expected):
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    options = ("-c:v", codec, "-c:a", sound, "-strict", "-2")
    with open_video(clip(tmp_path / f"in{suffix}", *options, seconds=0.2)) as video:
        assert default_suffix(video.info) == expected
