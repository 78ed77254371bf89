"""Video in and out: every frame, timestamp, tag and sound packet, judged by another FFmpeg."""

from __future__ import annotations

import errno
import os
import resource
import signal
from fractions import Fraction
from pathlib import Path

import av
import pytest

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from dagan_cli.media.video.writer import VideoWriter, create_video
from tests.support.clips import (
    FAST,
    LOSSLESS,
    UNEVEN,
    clip,
    clip_with_times,
    described,
    passed_through,
    payload,
    pictures,
    times,
)

# --- what the project promises of every file


@pytest.mark.slow
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


@pytest.mark.slow
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


# --- parts of a video


def test_a_part_begins_at_zero_with_the_sound_that_belongs_to_it(tmp_path):
    source = clip(tmp_path / "in.mp4", seconds=3)
    target = tmp_path / "out.mp4"
    passed_through(source, target, trim=True, start=1, end=2)
    assert times(target) == [Fraction(i, 25) for i in range(25)]
    with av.open(str(source)) as before, av.open(str(target)) as after:
        all_of_it = [(packet.pts or 0, bytes(packet)) for packet in before.demux(audio=0) if packet.size]
        part = [(packet.pts or 0, bytes(packet)) for packet in after.demux(audio=0) if packet.size]
    expected = [(pts - 44100, data) for pts, data in all_of_it if 44100 - 1024 < pts < 88200]  # mp4 can hide a half
    assert [data for _, data in part] == [data for _, data in expected]
    assert [pts for pts, _ in part] == pytest.approx(
        [pts for pts, _ in expected], abs=44100 / 12800
    )  # a picture's tick


def test_a_number_of_frames_can_be_asked_for(tmp_path):
    with open_video(clip(tmp_path / "in.mp4")) as video:
        assert len(list(video.frames(start=0.5, limit=3))) == 3
        assert video.shortfall is None


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


@pytest.mark.slow
def test_an_encoder_that_takes_the_highest_priority_gives_it_back(tmp_path, monkeypatch):
    """SVT-AV1 does so where it may: without this, all programs on the machine would wait for its threads and ours."""
    before, kept = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pytest.skip("needs the right to real-time priority")
    os.sched_setscheduler(0, before, kept)
    policies: set[int] = set()
    write = VideoWriter.write

    def watched(self, *frame):
        write(self, *frame)
        policies.update(os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task"))

    monkeypatch.setattr(VideoWriter, "write", watched)
    passed_through(clip(tmp_path / "in.mkv"), tmp_path / "out.mkv", Encoding(codec="libsvtav1", preset="13"))
    assert policies == {before}


def test_names_that_look_like_protocols_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "in.mp4", seconds=0.2).rename(tmp_path / "a:b.mp4")
    passed_through(Path("a:b.mp4"), Path("c:d%d.mp4"))
    assert len(times(tmp_path / "c:d%d.mp4")) == 5


# --- real files


@pytest.mark.parametrize(("codec", "suffix"), [("libx265", ".mp4"), ("prores_ks", ".mkv")])
def test_a_codec_that_the_default_container_cannot_hold_goes_into_matroska(tmp_path, codec, suffix):
    with open_video(clip(tmp_path / "in.mp4", seconds=0.2)) as video:
        assert default_suffix(video.info, codec) == suffix


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
