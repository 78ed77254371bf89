"""Frames that are missing in the middle of a video are noticed; a video that is uneven, or stands still, has none."""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random

import pytest

from dagan_cli.media.gaps import Gaps
from dagan_cli.media.video.source import open_video
from dagan_cli.media.video.split.timeline import timeline_of
from tests.support.tiny import clip

MILLISECOND = Fraction(1, 1000)


def warnings(times: list[int]) -> tuple[str, ...]:
    gaps = Gaps(MILLISECOND, Fraction(0))
    for time in times:
        gaps.follow(time)
    return gaps.warnings


def test_a_gap_in_a_regular_video_is_named():
    times = [*range(0, 4000, 40), *range(9000, 12_000, 40)]
    assert warnings(times) == ("no frames from 3.96 to 9.00 s: the file may be damaged there",)


def test_many_gaps_are_counted():
    times = [20_000 * part + 40 * frame for part in range(6) for frame in range(30)]
    (warning,) = warnings(times)
    assert warning.endswith("and 2 more times: the file may be damaged there")


@pytest.mark.parametrize(
    "times",
    [
        list(range(0, 10_000, 40)),
        [*range(0, 2000, 40), *range(2900, 5000, 40)],  # less than a second
        list(range(0, 60_000, 2000)),  # a slide show
        [*range(0, 200, 40), 5000],  # too few frames to know
    ],
)
def test_what_is_no_gap(times):
    assert warnings(times) == ()


def test_a_recording_of_a_screen_whose_frames_come_when_something_changes_has_no_gaps():
    random, time, times = Random(0), 0, []
    for _ in range(500):
        time += random.choice((16, 33, 50, 400, 1500, 3000))
        times.append(time)
    assert warnings(times) == ()


def test_a_matroska_file_that_is_damaged_in_the_middle_says_what_is_missing(tmp_path):
    path = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-g", "25", seconds=20)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = Random(0).randbytes(3000)
    path.write_bytes(data)
    with open_video(path) as video:
        assert timeline_of(video.info) is None
        seen = sum(1 for _ in video.frames())
        assert seen < 495
        assert any("no frames from" in warning for warning in video.warnings)


def test_verify_sees_what_is_missing_of_the_input(cli, tmp_path):
    path = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-g", "25", seconds=20)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = Random(0).randbytes(3000)
    path.write_bytes(data)
    made = cli(path, "-n", "nearest", "-s", "1.5", "--preset", "ultrafast", "-o", tmp_path / "out.mkv")
    ran = cli("verify", path, tmp_path / "out.mkv")
    gaps = [re.findall(r"no frames from [\d. ]+ to [\d. ]+ s", " ".join(text.split())) for text in (made.err, ran.out)]
    assert gaps[0] == gaps[1] != []
