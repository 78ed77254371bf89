"""`dagan bench INPUT`: the stages of upscaling, apart and together."""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dagan_cli.bench.busy import Busy
from dagan_cli.bench.history import Last
from dagan_cli.bench.pipeline import _measure, _Pace
from dagan_cli.bench.result import Candidate, StageBench, in_words, report
from dagan_cli.bench.stages import VideoStages, make_clip
from dagan_cli.commands.shown.tables import table
from dagan_cli.engine.options import EngineOptions
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscale.work import Engines
from dagan_cli.upscaler import ModelChoice
from tests.support.tiny import clip, ffmpeg, frames_of, picture

QUICK = ("--seconds", 0.1, "--rounds", 1)
VIDEO = ["decode", "planes to RGB", "network", "RGB to planes", "encode"]


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path_factory) -> dict[str, Busy]:
    """A quiet one, whatever else runs here; a test may set another use by other programs."""
    state = {"busy": Busy(2)}
    watch = type("Watch", (), {"result": lambda _: state["busy"]})
    monkeypatch.setattr("dagan_cli.bench.pipeline.Watch", watch)
    monkeypatch.setattr("dagan_cli.bench.network.Watch", watch)
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
    return state


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch) -> Path:
    """Where temporary files go in these tests."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def found(cli, *arguments: object) -> dict:
    done = cli("bench", *arguments, *QUICK, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


# --- what is measured


@pytest.mark.slow
def test_the_stages_of_a_video_are_timed_apart_and_together(cli, tiny_model, tmp_path, scratch):
    source = clip(tmp_path / "in.mp4")
    result = found(cli, source, "-n", tiny_model, "-s", 2)
    assert list(result["stages"]) == VIDEO
    assert all(stage["fps"] > 0 for stage in result["stages"].values())
    assert sum(stage["share"] for stage in result["stages"].values()) == pytest.approx(1)
    slowest = min(result["stages"], key=lambda name: result["stages"][name]["fps"])
    assert result["slowest"] == slowest
    assert result["overlap"] == pytest.approx(result["fps"] / result["stages"][slowest]["fps"])
    assert result["megapixels_per_second"] == pytest.approx(result["fps"] * 96 * 64 / 1e6)
    assert (result["in_size"], result["out_size"], result["frames"]) == ([48, 32], [96, 64], 10)
    assert (result["kind"], result["order"]) == ("video", 1)
    assert result["output"] == "libx264 yuv420p"
    assert list(tmp_path.iterdir()) == [source]
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
def test_every_order_of_the_model_is_timed_and_a_way_without_a_network(cli, tiny_model, tmp_path):
    source = clip(tmp_path / "in put.mp4")
    result = found(cli, source, "-n", tiny_model, "-s", 2, "--order", 2, "-c", "libx264", "--preset", "ultrafast")
    assert result["order"] == 2
    commands = [shlex.split(way["command"]) for way in result["commands"]]
    begin = ["dagan", "upscale", str(source), "-s", "2", "-n"]
    end = ["--codec", "libx264", "--preset", "ultrafast"]
    orders = [[*begin, str(tiny_model), "--order", str(order), *end] for order in (4, 2, 1)]
    assert commands == [*orders, [*begin, "bicubic", *end]]
    assert result["best"] == result["commands"][0]["command"]
    quickest = max(result["commands"][:3], key=lambda way: way["fps"])
    assert result["fastest"] == quickest["command"]
    assert result["commands"][1]["fps"] == result["fps"]
    assert result["commands"][1]["alone_fps"] == result["stages"]["network"]["fps"]
    for way in result["commands"]:
        assert way["seconds"] == pytest.approx(10 / way["fps"])
    assert [way["note"] for way in result["commands"]] == ["", "", "", "no network"]


@pytest.mark.slow
def test_the_commands_it_ends_with_work(cli, tiny_model, tmp_path):
    source = clip(tmp_path / "it's.mp4")
    result = found(cli, source, "-n", tiny_model, "-s", 2)
    for way in result["commands"]:
        done = cli(*shlex.split(way["command"])[1:], "-y")
        assert done.code == 0, done.err
        assert len(frames_of(tmp_path / "it's_x2.mp4")) == 10


@pytest.mark.slow
def test_a_baseline_is_compared_with_nothing(cli, tmp_path):
    result = found(cli, clip(tmp_path / "in.mp4"), "-n", "nearest", "-s", 2)
    assert [way["note"] for way in result["commands"]] == ["no network"]
    assert result["best"] == result["fastest"]


@pytest.mark.slow
def test_no_more_frames_are_taken_than_asked_for(cli, tiny_model, tmp_path, monkeypatch):
    """By any stage, and by none of the ways from file to file."""
    asked = []
    monkeypatch.setattr(
        "dagan_cli.bench.pipeline._Pace.take", lambda pace, frames: (asked.append(frames), take(pace, frames))
    )
    found(cli, clip(tmp_path / "in.mp4"), "-n", tiny_model, "-s", 2, "--frames", 3)
    assert asked
    assert max(asked) <= 3


take = _Pace.take


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (("-c:v", "libx264", "-frames:v", "1"), 1),
        (("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), 10),
    ],
)
def test_short_and_deep_videos_are_measured_too(cli, tmp_path, options, frames):
    result = found(cli, clip(tmp_path / "in.mkv", *options), "-n", "nearest", "-s", 1.5)
    assert result["frames"] == frames
    assert result["fps"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuva444p"])
def test_the_stages_one_after_the_other_make_what_upscale_makes(cli, tiny_model, tmp_path, pix_fmt):
    """Else it would be other work that is timed. Colours of testsrc2 leave [0, 1], and yuva444p is transparent."""
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    coded = ("-frames:v", "3", "-c:v", "ffv1", "-pix_fmt", pix_fmt)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=48x32", *coded, source)
    assert cli("upscale", source, "-n", tiny_model, "-s", 3, "-c", "ffv1", "-o", target).code == 0
    request = Request(
        inputs=(str(source),),
        output=None,
        goal=Goal.of(3, None),
        model=ModelChoice(str(tiny_model)),
        engine=EngineOptions(),
        encoding=Encoding(codec="ffv1"),
    )
    stages = VideoStages(source, request, Engines(request).for_factor(3), tmp_path, 10)
    assert stages.output == f"ffv1 {pix_fmt}"
    with open_video(target) as video:
        for made, frame in zip(stages.enlarged, video.frames(), strict=True):
            assert all(map(np.array_equal, made, frame.planes))


@pytest.mark.slow
def test_a_picture_has_stages_of_its_own(cli, tiny_model, tmp_path, scratch):
    source = picture(tmp_path / "in.png", (40, 30))
    result = found(cli, source, "-n", tiny_model, "-s", 2)
    assert list(result["stages"]) == ["decode", "network", "write"]
    assert (result["kind"], result["output"], result["frames"], result["out_size"]) == ("picture", "PNG", 1, [80, 60])
    assert result["fps"] > 0
    assert list(tmp_path.iterdir()) == [source]
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
def test_a_made_up_video_stands_in_for_a_file(cli, tiny_model, scratch):
    result = found(cli, "--stages", "--size", "48x32", "-n", tiny_model, "-s", 2)
    assert (result["in_size"], result["frames"], result["input"]) == ([48, 32], 240, "INPUT")
    assert result["reused"] == 0
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("size", [(64, 48), (51, 35)])
def test_in_a_made_up_video_nothing_stays_as_it_was(tmp_path, size):
    with open_video(make_clip(tmp_path, size, frames=6)) as video:
        assert (video.info.width, video.info.height, video.info.rate) == (*size, 24)
        planes = [np.array(frame.planes[0], np.int16) for frame in video.frames()]
    assert len(planes) == 6
    for before, after in pairwise(planes):
        assert (before != after).mean() > 0.9
        assert abs(before - after).mean() > 5


@pytest.mark.slow
@pytest.mark.parametrize(("size", "sides"), [("40x30", (40, 30)), ("27p", (48, 27))])
def test_without_an_input_network_and_engine_are_measured(cli, tiny_model, size, sides):
    """A named size, which `upscale` takes too, is a frame of 16:9."""
    done = cli("bench", "-n", tiny_model, "--size", size, "--rounds", 1, "--order", 1, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["width"], result["height"], result["order"]) == (*sides, 1)
    assert "share_of_roof" in result


# --- how it is timed


@pytest.mark.slow
def test_runs_take_turns_and_each_gets_its_time():
    """Each says what it did; the clock is its own."""
    log = []

    def run(name: str, pace: float):
        def frames(n: int) -> tuple[int, float]:
            log.append((name, n))
            return n, n / pace

        return frames

    paces = {"slow": _Pace(run("slow", 4), 1), "fast": _Pace(run("fast", 400), 8)}
    _measure(paces, seconds=6, rounds=3, most=None, note=lambda _: None)
    assert log == [("slow", 1), ("fast", 8), *[("slow", 8), ("fast", 800)] * 3]
    assert [pace.rate for pace in paces.values()] == [4, 400]


@pytest.mark.slow
def test_all_together_are_run_over_enough_frames_to_be_at_work_at_once():
    asked = []
    parts = (_Pace(lambda n: (n, n / 40), 1), _Pace(lambda n: (n, n / 400), 1))
    whole = _Pace(lambda n: (asked.append(n), (n, n / 30))[1], 2, of=parts)
    _measure({"a": parts[0], "b": parts[1], "all": whole}, seconds=5, rounds=3, most=None, note=lambda _: None)
    assert asked == [2, 160]  # a warm-up; then 0.8 of 40 a second for 5 s, and no time is left for a second run
    asked.clear()
    whole.spent, whole.rate = 0.0, 0.0
    _measure({"a": parts[0], "b": parts[1], "all": whole}, seconds=20, rounds=3, most=None, note=lambda _: None)
    assert asked == [2, 250, 250, 250]


@pytest.mark.slow
def test_the_best_round_counts_and_the_warm_up_does_not():
    rates = iter([1000, 10, 30, 20])
    pace = _Pace(lambda n: (n, n / next(rates)), 1)
    _measure({"one": pace}, seconds=3, rounds=3, most=1, note=lambda _: None)
    assert pace.rate == 30


def test_what_takes_longer_than_its_time_is_run_once():
    asked = []
    pace = _Pace(lambda n: (asked.append(n), (n, n * 20.0))[1], 1)
    _measure({"slow": pace}, seconds=10, rounds=3, most=None, note=lambda _: None)
    assert asked == [1]
    assert pace.rate == 0.05


# --- what is said


def way(options: str, quality: int, alone: float, rate: float | None, note: str = "") -> Candidate:
    return Candidate(
        command=f"dagan upscale a.mp4 -s 2 {options}",
        words=f"words of {options}",
        note=note,
        quality=quality,
        alone=alone,
        rate=rate,
        seconds=4920 / rate if rate else None,
    )


def result(**changed) -> StageBench:
    ways = (
        way("--order 4", 0, 2.5, 2.0),
        way("--order 4 --runtime torch", 0, 1.5, None),
        way("--order 1", 1, 9.0, 7.0),
        way("-n bicubic", 2, 90.0, 41.0, note="no network"),
    )
    facts = {
        "input": "a.mp4",
        "kind": "video",
        "frames": 4920,
        "in_size": (640, 360),
        "out_size": (1280, 720),
        "model": "dagan-x2-psnr",
        "order": 4,
        "device": "cuda:0, fp16",
        "output": "libx264 yuv420p",
        "stages": {"decode": 500.0, "network": 2.5, "encode": 50.0},
        "rate": 2.0,
        "reused": 0.25,
        "used": 0.95,
        "busy": Busy(2),
        "last": None,
        "candidates": ways,
    }
    return StageBench(**(facts | changed))


def test_the_ratios_follow_from_the_rates():
    bench = result()
    assert bench.slowest == "network"
    assert bench.overlap == pytest.approx(0.8)
    assert bench.megapixels_per_second == pytest.approx(2 * 1280 * 720 / 1e6)
    assert bench.shares["network"] == pytest.approx(0.4 / (0.002 + 0.4 + 0.02))
    assert (bench.best, bench.fastest) == (bench.candidates[0], bench.candidates[2])


def test_the_report_names_the_bottleneck_the_commands_and_their_times():
    text = report(result(), table)
    assert "a.mp4, 4920 frames: 640x360 -> 1280x720, dagan-x2-psnr order 4, libx264 yuv420p" in text
    assert "network is the slowest stage; all stages together reach 0.80 of its speed" in text
    assert "less than 0.9: dagan uses 95% of the processor, the stages share it" in text
    assert "wait for each other" in report(result(used=0.2), table)
    assert "other programs" not in text
    assert "25% of the tiles" in text
    for words in (
        ("--order 4", "41 min", "best"),
        ("--order 1", "12 min", "fastest"),
        ("bicubic", "2 min", "no network"),
    ):
        (line,) = [line for line in text.splitlines() if words[0] in line and words[1] in line and "a.mp4" in line]
        assert words[2] in line
    assert text.endswith(
        "fastest: words of --order 1, 12 min for all of it\n"
        "  dagan upscale a.mp4 -s 2 --order 1\n"
        "best quality: words of --order 4, 41 min for all of it\n"
        "  dagan upscale a.mp4 -s 2 --order 4"
    )
    assert "limits the speed" not in text
    assert "less than" not in report(result(rate=2.4), table)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["decode", "encode", "write"])
def test_another_bottleneck_than_the_network_comes_with_advice(stage):
    assert "limits the speed" in report(result(stages={stage: 1.0, "network": 2.5}), table)


def test_where_the_length_is_not_known_no_time_is_told():
    ways = (replace(way("", 0, 2.5, 2.0), seconds=None),)
    text = report(result(candidates=ways, frames=None), table)
    assert "for all of it" not in text
    assert "fastest and best quality: words of" in text


def test_of_equal_quality_the_fastest_is_the_best():
    ways = (way("--order 4", 0, 2.5, 2.0), way("--order 4 --runtime openvino", 0, 4.0, 3.0), way("--order 1", 1, 1, 1))
    bench = result(candidates=ways)
    assert bench.best is bench.fastest is ways[1]


def test_on_a_busy_machine_nothing_is_concluded():
    bench = result(busy=Busy(2, others=1.8), used=0.2)
    text = report(bench, table)
    assert text.endswith("the machine is busy: 1.8 of 2 cores are in use by other programs; numbers would mislead")
    assert "dagan uses 20% of the processor, other programs compete for it" in text
    assert "41" in text
    assert not any(word in text for word in ("fastest", "best"))
    values = bench.to_dict()
    assert (values["best"], values["fastest"], values["busy_cores"], values["fps"]) == (None, None, 1.8, 2.0)


def test_it_is_compared_with_the_last_time():
    bench = result(last=Last("2026-11-28", "0.9.0", 1.6))
    assert report(bench, table).endswith("last time (2026-11-28, dagan 0.9.0): now 1.25 times as fast")
    assert bench.to_dict()["last"] == {"day": "2026-11-28", "dagan": "0.9.0", "rate": 1.6, "times_as_fast": 1.25}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (41.2, "41 s"), (99.9, "100 s"), (125, "2 min"), (2460, "41 min"), (9000, "2.5 h"), (4e5, "5 d")],
)
def test_times_are_told_in_words(seconds, words):
    assert in_words(seconds) == words


# --- what is refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("in.mp4", "--stages"), "INPUT was given with"),
        (("in.mp4", "--size", "48x32"), "INPUT was given with"),
        (("-s", "2"), "needs an INPUT"),
        (("--codec", "ffv1"), "needs an INPUT"),
        (("--stages", "--size", "0x0"), "invalid --size"),
        (("missing.mp4",), "there is no file missing.mp4"),
        (("in.mp4", "-n", "dagan-x9"), "unknown model"),
    ],
)
def test_what_makes_no_sense_is_refused_in_two_lines(cli, tmp_path, monkeypatch, arguments, what):
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "in.mp4")
    done = cli("bench", *arguments)
    assert done.code not in (0, 1) or "missing" in arguments[0]
    first, second = done.err.splitlines()
    assert what in first
    assert second.startswith("  try: ")


@pytest.mark.slow
def test_an_encoder_that_is_not_there_is_told(cli, tiny_model, tmp_path):
    done = cli("bench", clip(tmp_path / "in.mp4"), "-n", tiny_model, "-s", 2, "-c", "nonsense", *QUICK)
    assert done.code == 2
    assert "nonsense" in done.err
