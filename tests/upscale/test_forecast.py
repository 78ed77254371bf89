"""`--dry-run`: what a run would do and take, and that it writes nothing."""

from __future__ import annotations

import json

import pytest

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


def test_the_time_of_a_forecast_grows_with_the_frames(cli, tmp_path, tiny_model):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an", seconds=2)
    seconds = []
    for frames in (10, 40):
        ran = cli(source, "-n", tiny_model, "-s", 2, "--dry-run", "--frames", frames, "--json")
        seconds.append(json.loads(ran.out)["items"][0]["forecast"]["seconds"])
    assert seconds[1] > 1.5 * seconds[0]  # four times, but for what else the machine does


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
