"""`--dry-run`: what a run would do and take, and that it writes nothing."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import Tensor

from dagan_cli.engine.engine import Engine
from dagan_cli.engine.options import Runtime
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.source import open_video
from tests.support.clock import Clock
from tests.support.tiny import clip, picture

pytestmark = pytest.mark.slow


def test_a_dry_run_tells_of_every_input_and_writes_nothing(cli, tmp_path, tiny_model):
    picture(tmp_path / "a.png", (30, 20))
    clip(tmp_path / "b.mp4", "-c:v", "libx264", "-c:a", "aac")
    (tmp_path / "c.png").write_bytes(b"no picture")
    picture(tmp_path / "d.png")
    assert cli(tmp_path / "d.png", "-n", tiny_model, "-s", 2).code == 0
    picture(tmp_path / "e.png")
    picture(tmp_path / "e_x2.png")
    before = sorted(tmp_path.iterdir())
    named = [tmp_path / name for name in ("a.png", "b.mp4", "c.png", "d.png", "e.png")]
    ran = cli(*named, "-n", tiny_model, "-s", 2, "--dry-run", "--json")
    assert sorted(tmp_path.iterdir()) == before
    assert ran.code == 1
    items = {item["input"].rsplit("/", 1)[1]: item for item in json.loads(ran.out)["items"]}
    assert {name: item["status"] for name, item in items.items()} == {
        "a.png": "planned",
        "b.mp4": "planned",
        "c.png": "failed",
        "d.png": "skipped",
        "e.png": "failed",  # e_x2.png is not its result
    }
    assert items["b.mp4"]["out_size"] == [96, 64]
    assert items["b.mp4"]["frames"] == 10
    assert items["b.mp4"]["output"].endswith("b_x2.mp4")
    forecast = items["b.mp4"]["forecast"]
    assert forecast["tiles"] == 1
    assert forecast["seconds"] > 0
    assert forecast["memory"] > 96 * 64 * 3 * 4
    assert forecast["disk"] > 2 * (tmp_path / "b.mp4").stat().st_size


def test_the_forecast_is_a_table_on_stdout(cli, tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an", seconds=2)
    ran = cli(source, "-n", "nearest", "-s", 3, "--dry-run", "--start", "0.4", "--end", "1.2")
    assert ran.code == 0, ran.err
    head, row, *_ = ran.out.splitlines()
    assert head.split()[0] == "plan"
    assert "in_x3_from-0.4_to-1.2.mkv" in row
    assert "48x32 -> 144x96" in row
    assert " 20 " in row  # frames
    assert "nothing was written" in ran.out


def test_the_tiles_of_the_plan_are_those_of_the_run_and_so_is_the_warning_about_them(cli, tmp_path, tiny_model):
    options = (
        picture(tmp_path / "in.png", (70, 50)),
        "-n",
        tiny_model,
        "-s",
        2,
        "--tile",
        16,
        "--device",
        "cpu",
        "--json",
    )
    (planned,) = json.loads(cli(*options, "--dry-run").out)["items"]
    assert planned["forecast"]["tile"] == [32, 32]
    (done,) = json.loads(cli(*options).out)["items"]
    assert (
        planned["warnings"]
        == done["warnings"]
        == ["tiles of 32 px instead of 16: smaller ones change the model's result"]
    )


def test_what_cannot_be_is_refused_as_without_it(cli, tmp_path):
    source = clip(tmp_path / "in.mkv")
    assert cli(source, "-n", "nearest", "-c", "nonsense", "--dry-run").code == 2
    assert cli("-", "-n", "nearest", "-o", tmp_path / "out.mkv", "--dry-run").code == 2
    assert cli(source, "-n", "nearest", "-o", "-", "--dry-run").code == 2


@pytest.mark.parametrize("suffix", [".png", ".mkv"])
def test_too_little_room_on_the_disk_is_told_before(cli, tmp_path, monkeypatch, suffix):
    source = tmp_path / f"in{suffix}"
    _ = picture(source, (60, 60)) if suffix == ".png" else clip(source)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    ran = cli(source, "-n", "nearest", "-s", 2, "--dry-run", "--json")
    assert "free" in json.loads(ran.out)["items"][0]["warnings"][-1]


NOISY = "color=c=gray:size=48x32:rate=25,noise=alls=40:allf=t"  # every tile of every frame differs


def info_of(path: Path) -> VideoInfo:
    with open_video(path) as video:
        return video.info


@pytest.fixture
def slow_network(monkeypatch):
    """Time passes in the network alone: a twentieth of a second for each tile, whatever else the machine does."""
    clock, apply = Clock(), Engine._apply

    def applied(engine: Engine, x: Tensor, runtime: Runtime) -> Tensor:
        clock.now += 0.05 * len(x)
        return apply(engine, x, runtime)

    def read() -> float:
        clock.now += 1e-7  # a clock never shows one time twice
        return clock()

    monkeypatch.setattr(Engine, "_apply", applied)
    monkeypatch.setattr("dagan_cli.upscale.estimate.pace.perf_counter", read)
    monkeypatch.setattr("dagan_cli.upscale.estimate.pace.process_time", read)
    for module in ("running.turns", "running.flow", "picture"):
        monkeypatch.setattr(f"dagan_cli.upscale.{module}.time", SimpleNamespace(monotonic=read, sleep=time.sleep))


def test_the_time_of_a_forecast_grows_with_the_frames(cli, tmp_path, tiny_model, slow_network):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an", seconds=2, source=NOISY)
    for frames in (10, 40):
        ran = cli(source, "-n", tiny_model, "-s", 2, "--dry-run", "--frames", frames, "--json")
        assert json.loads(ran.out)["items"][0]["forecast"]["seconds"] == pytest.approx(0.05 * frames, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("clip", ["-s", 2]), ("photo", ["-s", 2, "-t", 32]), ("photo", ["-s", 4, "-t", 64]), ("transparent", ["-s", 2])],
    ids=["frames", "tiles with rims", "twice through the network", "alpha by itself"],
)
def test_the_time_is_that_of_the_run(cli, tmp_path, tiny_model, slow_network, kind, options):
    if kind == "clip":
        source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an", source=NOISY)
    else:
        source = picture(tmp_path / "in.png", (100, 70), "RGBA" if kind == "transparent" else "RGB")
    run = (source, "-n", tiny_model, *options, "-y", "--json")
    planned = json.loads(cli(*run, "--dry-run").out)["items"][0]["forecast"]["seconds"]
    took = json.loads(cli(*run).out)["items"][0]["seconds"]
    least = {"clip": 10, "photo": 8 if 32 in options else 3, "transparent": 2}[kind] * 0.05
    assert planned >= least
    assert took >= least
    assert planned == pytest.approx(took, rel=0.01)


def test_frames_that_repeat_take_no_time_of_the_network(cli, tmp_path, tiny_model, slow_network):
    seconds = []
    for name, source in (("still", "color=c=red:size=48x32:rate=25"), ("moving", NOISY)):
        source = clip(tmp_path / f"{name}.mkv", "-c:v", "ffv1", "-an", source=source)
        ran = cli(source, "-n", tiny_model, "-s", 2, "--dry-run", "--json")
        seconds.append(json.loads(ran.out)["items"][0]["forecast"]["seconds"])
    assert seconds[1] - seconds[0] == pytest.approx(9 * 0.05, rel=0.01)  # nine tiles of ten


def test_frames_are_counted_where_no_header_tells_their_number(cli, tmp_path):
    source = clip(tmp_path / "in.h264", "-c:v", "libx264", "-an")
    assert info_of(source).frames is None
    ran = cli(source, "-n", "nearest", "-s", 2, "--dry-run", "--json")
    (item,) = json.loads(ran.out)["items"]
    assert item["frames"] == 10
    assert not item["forecast"]["at_least"]
    ran = cli(source, "-n", "nearest", "-s", 2, "--dry-run", "--json", "--frames", 4)
    assert json.loads(ran.out)["items"][0]["frames"] == 4


def test_a_count_that_takes_too_long_is_called_a_minimum(cli, tmp_path, monkeypatch):
    source = clip(tmp_path / "in.h264", "-c:v", "libx264", "-an", seconds=4)
    monkeypatch.setattr("dagan_cli.upscale.estimate.forecast._COUNTING", -1.0)
    ran = cli(source, "-n", "nearest", "-s", 2, "--dry-run")
    assert re.search(r"in_x2\.mkv +>= 64 .* >= [\d.]+ s", ran.out)
    assert "unknown" in ran.err
    (line,) = [line for line in ran.out.splitlines() if line.startswith("sum of 1 input ")]
    assert ">= 64" in line


def test_failed_and_skipped_inputs_are_rows_and_the_sum_is_the_last_one(cli, tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    for i in range(3):
        picture(tmp_path / f"{i}.png", (20, 10))
    for i in range(2):
        assert cli(picture(tmp_path / f"there{i}.png"), "-n", "nearest", "-s", 2).code == 0
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture(cut, (40, 40)).read_bytes()[:2000])
    ran = cli(tmp_path, "-n", "nearest", "-s", 2, "--dry-run")
    assert ran.code == 1
    rows = ran.out.splitlines()
    assert sum(" 20x10 -> 40x20 " in row for row in rows) == 3
    assert any(re.fullmatch(r".*cut\.png +failed: cannot read .*", row) for row in rows)
    assert sum(row.startswith("2 skipped ") for row in rows) == 1
    assert rows[-3].startswith("sum of 3 inputs ")
    assert rows[-1] == "3 planned, 2 skipped, 1 failed; nothing was written"


def test_without_any_input_there_is_no_plan(cli, tmp_path):
    ran = cli(tmp_path, "-n", "nearest", "--dry-run")
    assert (ran.code, ran.out) == (3, "")
