"""An output counts as done only if it was made from the same source with the same settings."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from dagan_cli.media.made.stored import read_record
from dagan_cli.upscale.made import difference
from tests.support.tiny import clip, ffmpeg, left_over, picture

BASE = {"source": "1-a", "--model": "dagan-x2", "weights": "aa", "--scale": "2", "--order": "1"}
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-an")


def outcome(ran) -> tuple[int, str, str]:
    (item,) = json.loads(ran.out)["items"]
    return ran.code, item["status"], item["reason"].partition(" exists, ")[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"source": "1-b"}, "from another source"),
        ({"source": "stream"}, "from a source that cannot be compared with a stream"),
        ({"--scale": "4"}, "with --scale 2, now 4"),
        ({"--scale": None, "--size": "4k"}, "with --scale 2, now --size 4k"),
        ({"--order": "4", "--scale": "4"}, "with --scale 2 --order 1, now --scale 4 --order 4"),
        ({"--crf": "20"}, "without --crf 20"),
        ({"--ensemble": ""}, "without --ensemble"),
        ({"--order": None}, "with --order 1, now without"),
        ({"weights": "bb"}, "with another version of dagan-x2"),
        ({"--model": "copy.safetensors"}, ""),  # the same file under another name
        ({"--model": "dagan-x2-psnr", "weights": "bb", "--order": "2"}, "with --model dagan-x2, now dagan-x2-psnr"),
        ({"--model": "bicubic", "weights": None, "--order": None}, "with --model dagan-x2, now bicubic"),
        ({"source": "2-b", "--scale": "3"}, "from another source, and with --scale 2, now 3"),
    ],
)
def test_the_message_says_what_differs(change, words):
    now = {name: value for name, value in (BASE | change).items() if value is not None}
    assert difference(BASE, now) == words


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in.png", "in.bmp", "in.jpg"])
def test_an_image_made_otherwise_is_left_alone_and_the_run_ends_with_1(cli, tmp_path, name):
    source, target = picture(tmp_path / name), tmp_path / f"out{Path(name).suffix}"
    ask = (source, "-n", "nearest", "-o", target, "--json")
    assert cli(*ask, "-s", 2).code == 0
    made = target.read_bytes()
    assert outcome(cli(*ask, "-s", 2))[:2] == (0, "skipped")
    ran = cli(*ask, "-s", 3)
    assert outcome(ran) == (1, "failed", "but was made with --scale 2, now 3")
    assert ran.err.splitlines()[-1].strip() == "try: replace it with -y, or keep it with --skip-existing"
    assert outcome(cli(*ask, "-s", 3, "--skip-existing"))[:2] == (0, "skipped")
    picture(source, seed=1)
    assert outcome(cli(*ask, "-s", 2)) == (1, "failed", "but was made from another source")
    assert outcome(cli(*ask, "-s", 2, "--dry-run"))[:2] == (1, "failed")
    assert target.read_bytes() == made
    assert outcome(cli(*ask, "-s", 2, "-y"))[:2] == (0, "done")
    assert outcome(cli(*ask, "-s", 2))[:2] == (0, "skipped")


@pytest.mark.slow
def test_what_decides_no_pixel_is_no_difference(cli, tmp_path, tiny_model):
    source, model = picture(tmp_path / "in.png"), tmp_path / "renamed.safetensors"
    assert cli(source, "-n", tiny_model, "-s", 2, "-o", tmp_path / "out.png").code == 0
    shutil.copy(tiny_model, model)
    os.utime(source, (1, 1))
    source = source.rename(tmp_path / "moved.png")
    options = ("--tile", 16, "--batch", 1, "--device", "cpu", "--fp32", "-q", 50, "--crf", 30)
    ran = cli(source, "-n", model, "-s", 2, "-o", tmp_path / "out.png", *options, "--json")
    assert outcome(ran)[:2] == (0, "skipped")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("-x",), "without --ensemble"),
        (("--order", 2), "with --order 1, now 2"),
        (("--window", "local"), "with --window global, now local"),
        (("-q", 50), "with --quality 95, now 50"),
    ],
)
def test_what_decides_the_pixels_of_an_image_is_a_difference(cli, tmp_path, tiny_model, option, words):
    ask = (picture(tmp_path / "in.jpg"), "-n", tiny_model, "-s", 2, "--json")
    assert cli(*ask).code == 0
    assert outcome(cli(*ask, *option)) == (1, "failed", f"but was made {words}")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_video_has_its_record_and_keeps_the_comment(cli, tmp_path, suffix):
    codec = ("-c:v", "libvpx-vp9", "-an") if suffix == ".webm" else FAST
    source = clip(tmp_path / f"in{suffix}", *codec, "-metadata", "comment=mine", seconds=0.2)
    target = tmp_path / f"in_x2{suffix}"
    ask = (source, "-n", "nearest", "-s", 2, "--json")
    assert outcome(cli(*ask))[:2] == (0, "done")
    assert outcome(cli(*ask))[:2] == (0, "skipped")
    assert outcome(cli(*ask, "--crf", 20)) == (1, "failed", "but was made without --crf 20")
    assert left_over(tmp_path) == []
    assert "comment=mine" in ffmpeg("-i", target, "-f", "ffmetadata", "-").lower()
    assert cli("verify", source, target).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_record_of_a_video_is_not_handed_on_to_its_own_result(cli, tmp_path, suffix):
    source = clip(tmp_path / f"in{suffix}", *FAST, seconds=0.2)
    middle, last = tmp_path / "middle.mkv", tmp_path / f"last{suffix}"
    for before, after in ((source, middle), (middle, last)):
        assert cli(before, "-n", "nearest", "-s", 1, "-o", after).code == 0
    records = [read_record(path) or {} for path in (middle, last)]
    assert records[0]["source"] != records[1]["source"]
    assert records[1]["source"].startswith(f"{middle.stat().st_size}-")
    assert cli("verify", middle, last).code == 0


@pytest.mark.slow
def test_an_image_that_dagan_made_keeps_its_promises_to_its_source(cli, tmp_path):
    source = picture(tmp_path / "a.png")
    for before, after in (("a.png", "b.png"), ("b.png", "c.jpg"), ("c.jpg", "d.webp"), ("d.webp", "e.tif")):
        assert cli(tmp_path / before, "-n", "nearest", "-s", 1, "-o", tmp_path / after).code == 0
        ran = cli("verify", tmp_path / before, tmp_path / after, "--json")
        rows = json.loads(ran.out)["checks"]
        assert ran.code == 0, rows
        assert not [row for row in rows if "XMP" in row["what"]]
    assert source.exists()


@pytest.mark.slow
def test_an_image_from_stdin_is_compared_as_a_file_is(tmp_path, cli, monkeypatch):
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    ask = ("-n", "nearest", "-s", 2, "-o", target, "--json")
    assert cli(source, *ask).code == 0
    with open(source, "rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file}))
        assert outcome(cli("upscale", "-", *ask))[:2] == (0, "skipped")
