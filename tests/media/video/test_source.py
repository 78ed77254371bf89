"""Opening a video, and what a damaged one still gives, judged by another FFmpeg."""

from __future__ import annotations

import os

import av
import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.video.source import open_video
from tests.support.clips import SMPTE, clip, ffmpeg, passed_through, times

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


@pytest.mark.slow
def test_a_damaged_sound_track_does_not_end_the_picture(tmp_path):
    """A chunk of sound that is said to lie beyond the end of the file."""
    data = bytearray(clip(tmp_path / "in.mp4", seconds=4).read_bytes())
    chunks = data.rindex(b"stco") + 12  # the sound is the second track
    data[chunks + 4 : chunks + 8] = (2**31 - 1).to_bytes(4, "big")
    (tmp_path / "damaged.mp4").write_bytes(data)
    warnings = passed_through(tmp_path / "damaged.mp4", tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == 100
    assert any("only 0.0 of 4.0 s" in warning for warning in warnings)


def test_a_sound_track_that_nothing_can_decode_does_not_stop_the_picture(tmp_path):
    source = clip(tmp_path / "in.mkv")
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    warnings = passed_through(source, tmp_path / "out.mkv")
    assert len(times(tmp_path / "out.mkv")) == 25
    assert any("stream 1 (audio" in warning for warning in warnings)
