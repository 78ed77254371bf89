"""Long work on a video with a model that dagan chose: a line says how long, and how long with a faster model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from dagan_cli.upscale.estimate import expected, forecast
from dagan_cli.upscale.estimate.pace import Pace, Rest
from dagan_cli.upscaler import Upscaler
from tests.support.tiny import clip, picture

pytestmark = pytest.mark.slow


class Known:
    """In place of the measured pace: 2 s a tile, a tenth with a fast model, and half a second a frame for the rest."""

    def __init__(self, *_: object) -> None: ...

    def video(self, *_: object) -> Rest:
        return Rest(Pace(0.5), processor=0.5)

    def network(self, upscaler: Upscaler, *_: object) -> Pace:
        return Pace(0.2 if upscaler.name == "dagan-x2-fast" else 2.0)

    def reused(self, *_: object) -> float:
        return 0.0


@pytest.fixture
def known(monkeypatch) -> None:
    monkeypatch.setattr(forecast, "Paces", Known)
    monkeypatch.setattr(expected, "_LEAST", 0)
    monkeypatch.setattr(expected, "_LONG", 20.0)


@pytest.fixture
def source(tmp_path) -> Path:
    return clip(tmp_path / "in.mp4", "-c:v", "libx264", "-crf", "2")  # ten frames of one tile


def lines(ran) -> list[str]:
    return [line for line in ran.err.splitlines() if "about" in line]


def test_the_line_has_the_times_of_a_dry_run_with_either_model(cli, source, known):
    ran = cli(source, "-s", 2)
    assert lines(ran) == ["in.mp4: about 25.0 s with dagan-x2 on this CPU; about 7.0 s with -n dagan-x2-fast"]
    assert ran.err.index("-n MODEL overrules it") < ran.err.index("in.mp4: about")
    for model, seconds in (("dagan-x2", 25.0), ("dagan-x2-fast", 7.0)):
        planned = json.loads(cli(source, "-s", 2, "-n", model, "-y", "--dry-run", "--json").out)
        assert planned["items"][0]["forecast"]["seconds"] == seconds


def test_the_part_that_is_done_counts(cli, source, known):
    assert lines(cli(source, "-s", 2, "--frames", 9)) == [
        "in.mp4: about 22.5 s with dagan-x2 on this CPU; about 6.3 s with -n dagan-x2-fast"
    ]
    assert lines(cli(source, "-s", 2, "--frames", 3)) == []  # not long


def test_scripts_get_the_times_as_an_event_and_the_quiet_get_none(cli, source, known):
    told = [json.loads(line) for line in cli(source, "-s", 2, "--progress", "json").err.splitlines()]
    assert [event for event in told if event["event"] == "expected"] == [
        {
            "event": "expected",
            "input": "in.mp4",
            "model": "dagan-x2",
            "seconds": 25,
            "faster": "dagan-x2-fast",
            "faster_seconds": 7,
        }
    ]
    assert lines(cli(source, "-s", 2, "-y", "--quiet")) == []


def test_nothing_is_estimated_for_a_named_model_an_image_many_inputs_or_short_work(cli, source, tmp_path, monkeypatch):
    asked: list[object] = []

    def forecaster(*_: object) -> NoReturn:
        asked.append(None)
        raise OSError

    monkeypatch.setattr(expected, "Forecaster", forecaster)
    assert cli(source, "-s", 2, "--frames", 2).code == 0  # short: the limits are the real ones
    monkeypatch.setattr(expected, "_LEAST", 0)
    assert cli(source, "-s", 2, "-n", "dagan-x2-psnr", "-y", "--frames", 2).code == 0
    assert cli(picture(tmp_path / "a.png"), "-s", 2).code == 0
    others = [clip(tmp_path / f"{name}.mp4", seconds=0.1) for name in "bcd"]
    assert cli(source, *others, "-s", 2, "-y", "--frames", 2).code == 0
    assert asked == []
    assert cli(source, "-s", 2, "-y", "--frames", 2).code == 0
    assert asked == [None]


def test_an_estimate_that_fails_leaves_the_work_alone(cli, source, known, monkeypatch):
    def broken(*_: object) -> Rest:
        raise OSError

    monkeypatch.setattr(Known, "video", broken)
    ran = cli(source, "-s", 2, "--frames", 2)
    assert (ran.code, lines(ran)) == (0, [])


def test_an_estimate_of_a_video_takes_about_a_second(cli, tmp_path, monkeypatch):
    """It tries two frames, a few more to tell the start from them, and tiles for a fifth of a second."""
    tried: list[int] = []
    monkeypatch.setattr(expected, "_LEAST", 0)
    monkeypatch.setattr(expected, "_LONG", 0.0)
    real = forecast.Paces._trial

    def counted(self, path, target, frames):
        tried.append(frames)
        return real(self, path, target, frames)[0] + 0.2, 0.2

    monkeypatch.setattr(forecast.Paces, "_trial", counted)
    ran = cli(clip(tmp_path / "in.mp4", "-c:v", "libx264"), "-s", 2, "--frames", 5)
    assert len(lines(ran)) == 1
    assert tried == [2, 5]
