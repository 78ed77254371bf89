"""Clocks that jump in the middle of a file, or that begin before 0: one map of time for all streams of the file."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from dagan_cli.media.video.source import open_video
from dagan_cli.media.video.writer import create_video
from tests.support.clips import FAST, clip, ffmpeg, passed_through, payload, times

H264 = ("-c:v", "libx264", "-bf", "2", "-preset", "ultrafast", "-c:a", "mp2")
STEP = Fraction(1, 25)


def joined(folder: Path, suffix: str, *parts: tuple[str, ...], keep: float = 1) -> Path:
    """Recordings joined as `cat` does it; `keep` is the share of the first one that is there."""
    files = [clip(folder / f"{number}{suffix}", *part) for number, part in enumerate(parts)]
    whole = files[0].read_bytes()
    first = whole[: round(len(whole) * keep) // 188 * 188] if keep < 1 else whole
    (folder / f"in{suffix}").write_bytes(first + b"".join(file.read_bytes() for file in files[1:]))
    return folder / f"in{suffix}"


def sound_times(path: Path) -> list[Fraction]:
    text = ffmpeg("-copyts", "-i", path, "-map", "0:a:0", "-c", "copy", "-f", "framemd5", "-")
    base = Fraction(next(line for line in text.splitlines() if line.startswith("#tb 0: "))[7:])
    return [int(line.split(",")[2]) * base for line in text.splitlines() if line[0] != "#"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "parts"),
    [
        (".ts", (H264, H264)),
        (".ts", (H264, (*H264, "-output_ts_offset", "3600"))),
        (".ts", ((*H264, "-output_ts_offset", "3600"), H264, H264)),
        (".m2ts", (H264, H264)),
        (".vob", (("-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"),) * 2),
    ],
)
@pytest.mark.parametrize("target", [".mkv", ".mp4"])
def test_a_clock_that_jumps_is_joined_for_all_streams(tmp_path, suffix, parts, target):
    source = joined(tmp_path, suffix, *parts)
    warnings = passed_through(source, tmp_path / f"out{target}")
    assert [word for word in warnings if "clock" in word] == list(warnings)
    assert len(warnings) == 1
    shown = times(tmp_path / f"out{target}")
    assert len(shown) == 25 * len(parts)
    assert all(abs(b - a - STEP) <= Fraction(1, 1000) for a, b in pairwise(shown))
    assert payload(tmp_path / f"out{target}", "a") == payload(source, "a")
    heard = sound_times(tmp_path / f"out{target}")
    first = [times(tmp_path / f"0{suffix}")[0], sound_times(tmp_path / f"0{suffix}")[0]]
    late = (heard[0] - shown[0]) - (first[1] - first[0])  # of the sound, in the first part
    assert abs(late) < Fraction(1, 1000)
    per_part = len(heard) // len(parts)
    for part in range(1, len(parts)):
        begin = heard[part * per_part + 2] - heard[2]  # sound at a joint may overlap
        assert abs(begin - part) < Fraction(2, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("early", ["audio", "late end"])
def test_sound_that_overlaps_at_a_joint_moves_everything_after_it(tmp_path, early):
    """Recordings often begin with sound, as its frames need no key frame, or end with it."""
    pictures = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:d=1")
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:d=1.5")
    late = ("-itsoffset", "0.5") if early == "audio" else ()
    ffmpeg(*late, *pictures, *sound, *H264, tmp_path / "part.ts")
    source = tmp_path / "in.ts"
    source.write_bytes((tmp_path / "part.ts").read_bytes() * 2)
    (warning,) = passed_through(source, tmp_path / "out.mp4")
    assert "clock" in warning
    assert payload(tmp_path / "out.mp4", "a") == payload(source, "a")
    heard, shown = sound_times(tmp_path / "out.mp4"), times(tmp_path / "out.mp4")
    frame = heard[1] - heard[0]
    assert all(abs(b - a - frame) < Fraction(1, 10000) for a, b in pairwise(heard))
    half = len(heard) // 2
    assert abs((shown[25] - shown[0]) - (heard[half] - heard[0])) < Fraction(1, 10000)


@pytest.mark.slow
def test_a_part_across_a_joint_is_cut_on_the_joined_clock(tmp_path):
    source = joined(tmp_path, ".ts", H264, H264)
    passed_through(source, tmp_path / "part.mkv", trim=True, start=0.6, end=1.4)
    shown = times(tmp_path / "part.mkv")
    assert [round(time - shown[0], 3) for time in shown] == [number * STEP for number in range(20)]
    heard = sound_times(tmp_path / "part.mkv")
    assert abs(heard[-1] - heard[0] - Fraction(4, 5)) < Fraction(6, 100)


@pytest.mark.slow
def test_a_gap_below_ten_seconds_is_a_gap(tmp_path):
    source = joined(tmp_path, ".ts", H264, (*H264, "-output_ts_offset", "8"))
    (warning,) = passed_through(source, tmp_path / "out.mp4")
    assert "no frames from" in warning
    assert times(tmp_path / "out.mp4") == times(source)
    assert max(b - a for a, b in pairwise(times(source))) > 6


@pytest.mark.slow
def test_a_recording_cut_among_b_frames_does_not_overlap_the_next(tmp_path):
    many = ("-c:v", "libx264", "-bf", "3", "-x264-params", "b-adapt=0:scenecut=0", "-c:a", "mp2")
    for keep in (0.5, 0.6, 0.7):
        source = joined(tmp_path, ".ts", many, many, keep=keep)
        with open_video(source) as video:
            shown = [frame.pts * frame.time_base for frame in video.frames()]
            assert video.repaired_times == 0
        assert all(STEP <= b - a < 10 * STEP for a, b in pairwise(shown))


@pytest.mark.slow
def test_an_interrupted_run_continues_on_the_same_clock(tmp_path):
    source = joined(tmp_path, ".ts", H264, H264)

    def run(stop: int | None, target: Path) -> None:
        with open_video(source) as video:
            size = (video.info.width, video.info.height)
            with create_video(target, video.info, size, FAST, resume={}, segment=8) as writer:
                for number, frame in enumerate(writer.missing(video.frames())):
                    if number == stop:
                        raise InterruptedError
                    writer.write(frame.planes, frame.pts, frame.duration)

    for stop in (20, 16):  # before the joint, and after it
        with pytest.raises(InterruptedError):
            run(stop, tmp_path / "out.mkv")
    run(None, tmp_path / "out.mkv")
    run(None, tmp_path / "once.mkv")
    assert times(tmp_path / "out.mkv") == times(tmp_path / "once.mkv")
    assert payload(tmp_path / "out.mkv", "a") == payload(tmp_path / "once.mkv", "a")


@pytest.mark.slow
@pytest.mark.parametrize("target", [".mkv", ".mp4"])
@pytest.mark.parametrize("kind", ["wrap.ts", "early.asf"])
def test_frames_before_zero_move_all_streams_to_zero(tmp_path, target, kind):
    """The 33-bit clock of a transport stream wraps a second after the start; ASF holds negative times."""
    source = tmp_path / kind
    if kind == "wrap.ts":
        clip(source, *H264, "-output_ts_offset", "95441.3")
    else:
        plain = clip(tmp_path / "plain.mkv", *H264, "-bf", "0")
        early = ("-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled")
        ffmpeg("-i", plain, "-c", "copy", *early, source)
    before, heard_before = times(source), sound_times(source)
    assert before[0] < 0
    warnings = passed_through(source, tmp_path / f"out{target}")
    assert len(warnings) == 1
    assert "begin before 0" in warnings[0]
    shown, heard = times(tmp_path / f"out{target}"), sound_times(tmp_path / f"out{target}")
    assert min(shown[0], heard[0]) >= 0
    assert [round(time - shown[0], 3) for time in shown] == [round(time - before[0], 3) for time in before]
    assert abs((heard[0] - shown[0]) - (heard_before[0] - before[0])) <= Fraction(1, 1000)
    assert payload(tmp_path / f"out{target}", "a") == payload(source, "a")
