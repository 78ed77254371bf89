"""What can be asked for: sizes, and choices that make sense."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from dagan_cli.commands.options import listed_inputs, result_folder, tile_side, time_budget
from dagan_cli.engine.options import EngineOptions
from dagan_cli.errors import BadOption
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.upscale.events import Item
from dagan_cli.upscale.request import Goal, Part, Request
from dagan_cli.upscaler import ModelChoice


@pytest.mark.parametrize(
    ("scale", "size", "source", "result"),
    [
        (None, None, (10, 7), (40, 28)),
        (2.0, None, (10, 7), (20, 14)),
        (1.5, None, (7, 3), (11, 5)),  # 10.5 and 4.5: halves go up
        (0.1, None, (3, 3), (1, 1)),
        (None, "1080p", (1280, 720), (1920, 1080)),
        (None, "1080p", (720, 1280), (608, 1080)),
        (None, "4K", (1920, 1080), (3840, 2160)),
        (None, "8k", (1920, 1080), (7680, 4320)),
        (None, "900p", (160, 90), (1600, 900)),
        (None, "100x100", (30, 20), (100, 67)),
        (None, "100X100", (20, 30), (67, 100)),
        (None, "10x10", (40, 20), (10, 5)),
    ],
)
def test_the_size_of_the_result_follows_from_the_goal(scale, size, source, result):
    goal = Goal.of(scale, size)
    assert goal.size_for(*source) == result
    assert goal.factor_for(*source) == pytest.approx(result[1] / source[1], abs=1 / min(source))


def test_a_box_is_never_left_and_one_side_fills_it():
    for width, height in ((1, 1), (3, 1000), (1000, 3), (641, 359), (1919, 1081)):
        for even in (False, True):
            w, h = Goal.of(None, "640x360").size_for(width, height, even)
            assert w <= 640
            assert h <= 360
            assert w == 640 or h == 360


def test_a_video_gets_even_sides_unless_its_factor_says_otherwise():
    assert Goal.of(None, "101x1000").size_for(50, 25, even=True) == (100, 50)
    assert all(side % 2 == 0 for side in Goal.of(None, "1080p").size_for(853, 480, even=True))
    assert Goal.of(1.5, None).size_for(6, 6, even=True) == (9, 9)


@pytest.mark.parametrize(
    ("scale", "size", "mark"),
    [(None, None, "x4"), (2.0, None, "x2"), (1.5, None, "x1.5"), (None, "4K", "4k"), (None, "64X48", "64x48")],
)
def test_the_goal_has_a_name_for_file_names(scale, size, mark):
    assert Goal.of(scale, size).name == mark


@pytest.mark.parametrize(
    ("scale", "size"),
    [
        *((scale, None) for scale in (0.0, -1.0, 65.0, float("nan"), float("inf"))),
        *((None, size) for size in ("", "x", "0x5", "5x0", "5", "5x5x5", "-5x5", "1e3x5", "p", "1p")),
        (2.0, "1080p"),
    ],
)
def test_a_goal_that_is_none_is_refused(scale, size):
    with pytest.raises(BadOption):
        Goal.of(scale, size)


def request(**choices: object) -> Request:
    fields = {
        "output": None,
        "goal": Goal.of(2, None),
        "model": ModelChoice(),
        "engine": EngineOptions(),
        "encoding": Encoding(),
    }
    return Request(inputs=("in.png",), **(fields | choices))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "choices",
    [
        {"quality": 0},
        {"quality": 101},
        {"part": {"start": -1.0}},
        {"part": {"start": float("nan")}},
        {"part": {"end": float("inf")}},
        {"part": {"end": 0.0}},
        {"part": {"start": 3.0, "end": 3.0}},
        {"encoding": Encoding(crf=float("nan"))},
        {"encoding": Encoding(crf=-1)},
        {"encoding": Encoding(crf=64)},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(choices):
    with pytest.raises(BadOption):
        request(**(choices | ({"part": Part(**choices["part"])} if "part" in choices else {})))
    request()


def test_tiles_are_said_in_words_or_pixels():
    assert [tile_side(text) for text in ("auto", "off", "0", "256")] == ["auto", "off", "off", 256]
    for text in ("", "-1", "1.5", "big"):
        with pytest.raises(BadOption):
            tile_side(text)


def test_times_are_said_in_seconds_minutes_or_hours():
    assert [time_budget("--budget", text) for text in ("90", "90s", "1.5m", "3h")] == [90, 90, 90, 10800]
    for text in ("", "0m", "-5m", "nan", "inf", "m", "20 minutes"):
        with pytest.raises(BadOption):
            time_budget("--budget", text)


def test_large_results_wait_on_the_disk_they_will_be_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    assert result_folder(str(tmp_path / "out"), ["in.png"]) == tmp_path / "out"
    assert result_folder(str(tmp_path / "out/file.png"), ["in.png"]) == tmp_path / "out"
    assert result_folder(None, [str(tmp_path / "out/in.png")]) == tmp_path / "out"
    assert result_folder(None, ["in.png"]) == Path()
    assert result_folder(str(tmp_path / "not/yet"), ["in.png"]) is None


def test_a_list_that_cannot_be_read_is_wrong_usage(tmp_path):
    assert listed_inputs(None, False) == []
    with pytest.raises(BadOption):
        listed_inputs(str(tmp_path / "missing"), False)


def test_an_item_is_json_whatever_its_name_is():
    item = Item(input=Path(os.fsdecode(b"\xff.png")), output=None, status="failed", reason="why", seconds=0.12345)
    row = item.to_json()
    assert (row["input"], row["output"], row["seconds"]) == ("\\udcff.png", None, 0.123)
    assert row["bytes"] == {"input": "ff2e706e67"}
    assert set(row) == {
        *("input", "output", "status", "reason", "model", "seconds", "frames", "in_size", "out_size", "warnings"),
        *("reused", "resumed", "below", "bytes"),
    }


def test_options_without_effect_on_the_kinds_of_the_inputs_are_named():
    def asked(**more):
        choices = {"inputs": ("in",), "output": None, "goal": Goal.of(2, None), "model": ModelChoice()}
        return Request(**choices | {"engine": EngineOptions(), "encoding": Encoding()} | more)

    video = asked(encoding=Encoding(codec="libx265", crf=0, options={"g": "1"}), part=Part(frames=3))
    assert video.without_effect({"picture"}) == ["--codec", "--crf", "-e", "--frames"]
    assert asked(format="png", lossless=True).without_effect({"video"}) == ["--format", "--lossless"]
    assert video.without_effect({"video"}) == video.without_effect({"picture", "video"}) == []
    assert asked().without_effect({"picture"}) == asked().without_effect({"video"}) == []


@pytest.mark.parametrize(
    ("part", "frames"),
    [
        (Part(), 100),
        (Part(frames=30), 30),
        (Part(frames=300), 100),
        (Part(start=1.0), 75),
        (Part(start=1.0, end=2.0), 25),
        (Part(start=1.0, end=99.0, frames=10), 10),
        (Part(start=9.0), 0),
    ],
)
def test_the_frames_of_a_part_follow_from_the_length_of_the_video(part, frames):
    assert part.frames_of(100, Fraction(25)) == frames


def test_the_frames_of_a_video_of_unknown_length_are_unknown():
    assert Part(start=1.0).frames_of(None, Fraction(25)) is None
    assert Part(frames=30).frames_of(None, Fraction(25)) == 30  # at most
