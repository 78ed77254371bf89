"""When frames are shown: read, and written again, to the tick, judged by another FFmpeg."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.video.source import open_video
from tests.support.clips import UNEVEN, clip, clip_with_times, ffmpeg, passed_through, times

B_FRAMES = ("-c:v", "libx264", "-bf", "3", "-g", "12", "-c:a", "aac")


def b_frames(folder: Path, suffix: str) -> Path:
    return clip(folder / f"in{suffix}", *B_FRAMES)


def uneven(folder: Path, suffix: str) -> Path:
    return clip_with_times(folder / f"in{suffix}", UNEVEN)


def cut_by_an_edit_list(folder: Path, suffix: str) -> Path:
    """Begins between two key frames; mp4 keeps, and hides, what lies before."""
    ffmpeg("-ss", "0.7", "-i", clip(folder / "long.mp4", *B_FRAMES, seconds=2), "-c", "copy", folder / f"in{suffix}")
    return folder / f"in{suffix}"


def picture_after_the_sound(folder: Path, suffix: str) -> Path:
    return shifted(folder, suffix, "-itsoffset", "0.5")


def picture_before_the_sound(folder: Path, suffix: str) -> Path:
    return shifted(folder, suffix, "-itsoffset", "-0.3")


def sound_first(folder: Path, suffix: str) -> Path:
    """The picture is the second stream."""
    plain = clip(folder / "plain.mp4", *B_FRAMES)
    ffmpeg("-i", plain, "-map", "0:a", "-map", "0:v", "-c", "copy", folder / f"in{suffix}")
    return folder / f"in{suffix}"


def one_frame(folder: Path, suffix: str) -> Path:
    return clip(folder / f"in{suffix}", *B_FRAMES, seconds=0.04)


def shifted(folder: Path, suffix: str, *offset: str) -> Path:
    plain = clip(folder / "plain.mp4", *B_FRAMES)
    options = ("-map", "0:v", "-map", "1:a", "-c", "copy")
    ffmpeg(*offset, "-i", plain, "-i", plain, *options, folder / f"in{suffix}")
    return folder / f"in{suffix}"


KINDS = [
    b_frames,
    uneven,
    cut_by_an_edit_list,
    picture_after_the_sound,
    picture_before_the_sound,
    sound_first,
    one_frame,
]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("made", KINDS)
def test_frames_are_shown_when_they_were(tmp_path, made, suffix):
    source = made(tmp_path, suffix)
    expected = times(source)
    with open_video(source) as video:
        assert [frame.pts * frame.time_base for frame in video.frames()] == expected
        assert (video.warnings, video.shortfall) == ((), None)
    passed_through(source, tmp_path / f"out{suffix}")
    assert times(tmp_path / f"out{suffix}") == expected
    passed_through(source, tmp_path / "other.mkv")
    for one, other in zip(times(tmp_path / "other.mkv"), expected, strict=True):
        assert abs(one - other) <= Fraction(1, 2000)  # .mkv counts in milliseconds


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".ts", ()),
        (".flv", ()),
        (".avi", ("-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3")),
        (".mpg", ("-c:v", "mpeg2video", "-bf", "2")),
        (".webm", ("-c:v", "libvpx", "-c:a", "libopus")),
        (".nut", ()),
    ],
)
def test_frames_of_other_containers_come_when_they_are_shown(tmp_path, suffix, options):
    source = clip(tmp_path / f"in{suffix}", *(options or B_FRAMES))
    with open_video(source) as video:
        assert [frame.pts * frame.time_base for frame in video.frames()] == times(source)
        assert (video.warnings, video.shortfall) == ((), None)


def test_a_file_that_does_not_say_how_long_it_is_is_read_to_its_end(tmp_path):
    plain, source = clip(tmp_path / "plain.mp4", *B_FRAMES), tmp_path / "in.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", plain, "-c", "copy", "-f", "matroska", "-"]
    source.write_bytes(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)  # a pipe: nothing to go back
    with open_video(source) as video:
        assert (video.info.frames, video.info.duration) == (None, None)
        assert [frame.pts * frame.time_base for frame in video.frames()] == times(source)
        assert (video.warnings, video.shortfall) == ((), None)


def test_one_frame_has_a_duration_and_no_rhythm(tmp_path):
    with open_video(one_frame(tmp_path, ".mp4")) as video:
        (frame,) = video.frames()
        assert video.info.vfr is None
        assert frame.duration * frame.time_base == Fraction(1, 25)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_header_without_frames_is_refused(tmp_path, suffix):
    with av.open(str(tmp_path / f"in{suffix}"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    with pytest.raises(BadInput, match=r"can be (decoded|read)") as caught, open_video(tmp_path / f"in{suffix}"):
        pass
    assert caught.value.hint


# --- times that are missing or make no sense


def retimed(folder: Path, suffix: str, shown: list[int]) -> Path:
    """A clip whose frames, all key frames, have these times, in milliseconds."""
    source = clip(folder / "plain.mkv", "-c:v", "libx264", "-g", "1", "-bf", "0", "-an", seconds=len(shown) / 25)
    with av.open(str(source)) as before, av.open(str(folder / f"in{suffix}"), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0], opaque=True)
        packets = [packet for packet in before.demux(video=0) if packet.size]
        for packet, time in zip(packets, shown, strict=True):
            packet.pts = packet.dts = time
            packet.stream = copy
            after.mux(packet)
    return folder / f"in{suffix}"


def test_times_that_stand_still_are_mended_and_counted(tmp_path):
    with open_video(retimed(tmp_path, ".mkv", [0, 40, 40, 40, 160])) as video:
        assert [frame.pts for frame in video.frames()] == [0, 40, 41, 42, 160]
        assert video.repaired_times == 2
        assert any("2 timestamps" in warning for warning in video.warnings)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_times_that_are_all_the_same_say_nothing_and_give_way_to_the_rate(tmp_path, suffix):
    source = retimed(tmp_path, suffix, [0] * 12)
    with open_video(source) as video:
        shown = [frame.pts * frame.time_base for frame in video.frames()]
        assert video.repaired_times == 12
    assert [b - a for a, b in pairwise(shown)] == [Fraction(1, 25)] * 11
    passed_through(source, tmp_path / "out.mp4")
    assert [round(b - a, 3) for a, b in pairwise(times(tmp_path / "out.mp4"))] == [Fraction(1, 25)] * 11


def test_a_stream_without_times_gets_them(tmp_path):
    with open_video(clip(tmp_path / "bare.h264", "-c:v", "libx264", "-an")) as video:
        shown = [frame.pts * frame.time_base for frame in video.frames()]
    assert [round(b - a, 4) for a, b in pairwise(shown)] == [Fraction(1, 25)] * 24
