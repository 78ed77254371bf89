"""A film is cut only where its pieces decode to the frames that the whole film decodes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dagan_cli.media.video.source import Irregular, open_video
from dagan_cli.media.video.split.timeline import Timeline, timeline_of
from tests.support.tiny import clip

REGULAR = {
    "closed.mp4": ("-c:v", "libx264", "-g", "12", "-bf", "2"),
    "open.mkv": ("-c:v", "libx264", "-g", "12", "-x264-params", "open-gop=1:bframes=3"),
    "hevc.mkv": ("-c:v", "libx265", "-x265-params", "log-level=none:open-gop=1:keyint=12:min-keyint=12"),
    "vp8.webm": ("-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
    "mpeg2.mkv": ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"),
    "one-key.mp4": ("-c:v", "libx264", "-g", "999"),
    "uneven.mkv": ("-c:v", "libx264", "-g", "12", "-vf", "settb=1/1000,setpts='40*N+13*mod(N,3)'", "-fps_mode", "vfr"),
}
SECONDS = 1.6  # 40 frames
PIECE = 7  # frames


def film(path: Path, *options: str) -> Path:
    return clip(path, *options, seconds=SECONDS)


def decoded(path: Path) -> dict[int, list[np.ndarray]]:
    with open_video(path) as video:
        return {frame.pts: [plane.copy() for plane in frame.planes] for frame in video.frames()}


@pytest.mark.parametrize("name", REGULAR)
def test_every_piece_decodes_to_the_frames_of_the_whole(tmp_path, name):
    path = film(tmp_path / name, *REGULAR[name])
    whole = decoded(path)
    with open_video(path) as video:
        timeline = timeline_of(video.info)
    assert timeline is not None
    assert list(timeline.times) == list(whole)
    for first in range(0, len(whole), PIECE):
        stretch = timeline.stretch(first, PIECE)
        assert list(stretch.times) == list(whole)[first : first + PIECE]
        assert stretch.before == (list(whole)[first - 1] if first else None)
        times = [*([] if stretch.before is None else [stretch.before]), *stretch.times]
        with open_video(path) as video:
            for time, frame in zip(times, video.frames_at(times, stretch.key), strict=True):
                assert frame.pts == time
                assert all(map(np.array_equal, frame.planes, whole[time]))


def test_a_key_frame_that_is_none_is_noticed_and_an_earlier_start_is_right(tmp_path):
    """Intra refresh: the container marks frames as keys from which a decoder needs a while to be right."""
    path = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-g", "40", "-x264-params", "intra-refresh=1", seconds=8)
    whole = decoded(path)
    with open_video(path) as video:
        timeline = timeline_of(video.info)
    assert timeline is not None
    wrong = 0
    for first in range(24, len(whole), 24):
        for tries in range(5):
            stretch = timeline.stretch(first, 24, tries)
            assert stretch.before is not None
            times = [stretch.before, *stretch.times]
            try:
                with open_video(path) as video:
                    frames = {frame.pts: frame.planes for frame in video.frames_at(times, stretch.key)}
            except Irregular:
                wrong += 1
                continue
            equal = [all(map(np.array_equal, frames[time], whole[time])) for time in times]
            if all(equal):
                break
            assert not equal[0], "a piece is wrong, and its first frame does not show it"
            wrong += 1
        else:
            raise AssertionError("no start was right")
        assert all(equal)
    assert wrong


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.ts", ("-c:v", "mpeg2video", "-g", "12")),  # its clock may jump
        ("in.avi", ("-c:v", "mpeg4", "-bf", "2")),  # times in the order of decoding
        ("in.mp4", ("-c:v", "libx264", "-flags", "+ilme+ildct", "-vf", "interlace")),
    ],
)
def test_a_film_that_is_not_regular_is_not_cut(tmp_path, name, options):
    with open_video(film(tmp_path / name, *options)) as video:
        assert timeline_of(video.info) is None


def test_a_film_that_holds_less_than_it_declares_is_not_cut(tmp_path):
    path = film(tmp_path / "in.mkv", *REGULAR["closed.mp4"])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_video(path) as video:
        assert timeline_of(video.info) is None


def test_deinterlacing_of_all_frames_is_not_cut(tmp_path):
    with open_video(film(tmp_path / "in.mp4", *REGULAR["closed.mp4"])) as video:
        assert timeline_of(video.info, "on") is None


@pytest.mark.parametrize(
    "part",
    [
        {"start": 0.2},
        {"start": 0.21},
        {"end": 0.2},
        {"end": 1.0, "start": 0.4},
        {"limit": 9},
        {"start": 0.3, "limit": 9},
        {"start": 0.0, "end": 99.0},
    ],
)
def test_the_times_of_a_part_are_those_of_its_frames(tmp_path, part):
    path = film(tmp_path / "in.mkv", *REGULAR["uneven.mkv"])
    with open_video(path) as video:
        timeline = timeline_of(video.info, **part)
        times = [frame.pts for frame in video.frames(**part)]
    assert timeline is not None
    assert list(timeline.times) == times


def test_nothing_is_cut_from_a_part_without_frames(tmp_path):
    with open_video(film(tmp_path / "in.mp4", *REGULAR["closed.mp4"])) as video:
        assert timeline_of(video.info, start=99.0) is None


def test_decoding_begins_some_frames_before_a_piece_and_earlier_with_each_try():
    from array import array

    timeline = Timeline(array("q", range(1000)), None, array("q", range(0, 1000, 10)))
    assert timeline.stretch(0, 5).key is None
    assert timeline.stretch(500, 5).key == 490
    assert timeline.stretch(505, 5).key == 490
    assert timeline.stretch(509, 5).key == 500
    assert [timeline.stretch(509, 5, tries).key for tries in range(1, 4)] == [460, 180, None]
    assert timeline.stretch(20, 5, 1).key is None
