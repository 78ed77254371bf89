"""What an earlier run left is done where that run would have put it, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dagan_cli.upscale.inputs.retry import Retry
from dagan_cli.upscale.running import turns
from tests.support import nursery
from tests.support.tiny import clip, picture, pixels

_one = turns._one
NEAREST = ("-n", "nearest", "-s", 2)


def items(report: Path) -> dict[str, str]:
    return {Path(item["input"]).name: item["status"] for item in json.loads(report.read_text())["items"]}


def rewrite(report: Path, **statuses: str) -> None:
    """Change the statuses of items by their stems."""
    document = json.loads(report.read_text())
    for item in document["items"]:
        item["status"] = statuses.get(Path(item["input"]).stem, item["status"])
    report.write_text(json.dumps(document, indent=2))


@pytest.fixture
def report(tmp_path) -> Path:
    return tmp_path / "report.json"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- where results go


@pytest.mark.parametrize("again", [(), ("-o", "out")])
def test_what_failed_in_a_tree_is_done_in_its_place(cli, tmp_path, monkeypatch, report, again):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in" / "good.png")
    bad = tmp_path / "in" / "sub" / "deep" / "bad.png"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"half")
    assert cli("in", "-r", "-o", "out", *NEAREST, "--report", report).code == 1
    before = (tmp_path / "out" / "good_x2.png").stat()
    picture(bad)
    ran = cli("upscale", "--retry-failed", report, *NEAREST, *again, "--report", report)
    assert (ran.code, items(report)) == (0, {"bad.png": "done"})
    assert names(tmp_path / "out") == ["good_x2.png", "sub/deep/bad_x2.png"]
    assert (tmp_path / "out" / "good_x2.png").stat() == before


def test_another_output_folder_has_the_tree_too(cli, tmp_path, report):
    bad = tmp_path / "in" / "sub" / "bad.png"
    picture(tmp_path / "in" / "good.png")
    picture(bad).write_bytes(b"half")
    cli(tmp_path / "in", "-r", "-o", tmp_path / "out", *NEAREST, "--report", report)
    picture(bad)
    assert cli("upscale", "--retry-failed", report, *NEAREST, "-o", tmp_path / "new").code == 0
    assert names(tmp_path / "new") == ["sub/bad_x2.png"]


def test_from_another_folder_paths_are_those_of_the_earlier_run(cli, tmp_path, monkeypatch, report):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    (tmp_path / "one" / "a.png").write_bytes(b"half")
    cli("a.png", "-o", "big.png", *NEAREST, "--report", report)
    picture(tmp_path / "one" / "a.png")
    monkeypatch.chdir(tmp_path / "two")
    assert cli("upscale", "--retry-failed", report, *NEAREST).code == 0
    assert names(tmp_path / "two") == []
    assert names(tmp_path / "one") == ["a.png", "big.png"]


def test_results_beside_their_inputs_stay_there(cli, tmp_path, report):
    source = tmp_path / "in" / "a.png"
    picture(source).write_bytes(b"half")
    picture(tmp_path / "in" / "b.png")
    cli(tmp_path / "in", *NEAREST, "--report", report)
    picture(source)
    assert cli("upscale", "--retry-failed", report, *NEAREST).code == 0
    assert names(tmp_path / "in") == ["a.png", "a_x2.png", "b.png", "b_x2.png"]


def test_a_name_that_an_input_of_the_earlier_run_has_is_not_taken(cli, tmp_path, report):
    """The other run would have told `a.png` and `a.bmp` apart, had it known that both are images."""
    source = tmp_path / "in" / "a.png"
    picture(source).write_bytes(b"half")
    picture(tmp_path / "in" / "a.bmp")
    how = ("-o", tmp_path / "out", *NEAREST, "-f", "webp", "-y")
    cli(tmp_path / "in", *how, "--report", report)
    before = (tmp_path / "out" / "a_x2.webp").read_bytes()
    picture(source, seed=1)
    assert cli("upscale", "--retry-failed", report, *how[2:]).code == 0
    assert names(tmp_path / "out") == ["a_png_x2.webp", "a_x2.webp"]
    assert (tmp_path / "out" / "a_x2.webp").read_bytes() == before


def test_a_result_of_a_shard_keeps_the_name_it_has_among_all(cli, tmp_path, report):
    for name in ("a.png", "a.bmp"):
        picture(tmp_path / "in" / name)
    how = (*NEAREST, "-f", "webp")
    for index in (1, 2, 3, 4):
        cli(tmp_path / "in", "-o", tmp_path / "out", *how, "--shard", f"{index}/4", "--report", report)
        if "a.png" in items(report):
            break
    (tmp_path / "out" / "a_png_x2.webp").unlink()
    rewrite(report, a="untried")
    assert cli("upscale", "--retry-failed", report, *how).code == 0
    assert "a_png_x2.webp" in names(tmp_path / "out")
    assert "a_x2.webp" not in names(tmp_path / "out")


# --- what is tried again


def test_all_but_what_is_done_is_tried_again(cli, tmp_path, report):
    for name in "abcdef":
        picture(tmp_path / "in" / f"{name}.png")
    cli(tmp_path / "in", "-o", tmp_path / "out", *NEAREST, "--report", report)
    statuses = {"a": "failed", "b": "partial", "c": "stopped", "d": "untried", "e": "skipped"}
    for name in "abcdef":
        if name != "b":
            (tmp_path / "out" / f"{name}_x2.png").unlink()
    rewrite(report, **statuses)
    old = (tmp_path / "out" / "b_x2.png").stat().st_mtime_ns
    ran = cli("upscale", "--retry-failed", report, *NEAREST, "--report", tmp_path / "new.json")
    assert (ran.code, items(tmp_path / "new.json")) == (0, dict.fromkeys(("a.png", "b.png", "c.png", "d.png"), "done"))
    assert names(tmp_path / "out") == ["a_x2.png", "b_x2.png", "c_x2.png", "d_x2.png"]
    assert (tmp_path / "out" / "b_x2.png").stat().st_mtime_ns > old  # what was incomplete is made again


def test_an_incomplete_result_that_is_not_of_dagan_any_more_stays(cli, tmp_path, report):
    source = picture(tmp_path / "a.png")
    cli(source, *NEAREST, "--report", report)
    rewrite(report, a="partial")
    picture(tmp_path / "a_x2.png", seed=3)
    before = (tmp_path / "a_x2.png").read_bytes()
    assert cli("upscale", "--retry-failed", report, *NEAREST).code == 1
    assert (tmp_path / "a_x2.png").read_bytes() == before


def stopped(*given: Any) -> None:
    """Stop the process at each input, before it is upscaled."""
    os.kill(os.getpid(), signal.SIGTERM)
    _one(*given)


@pytest.mark.slow
def test_a_run_that_was_stopped_is_completed(cli, tmp_path, report, tiny_model):
    (tmp_path / "in").mkdir()
    clip(tmp_path / "in" / "a.mp4", seconds=4)
    for name in "bc":
        picture(tmp_path / "in" / f"{name}.png")
    how = [tmp_path / "in", "-o", tmp_path / "out", "-n", tiny_model, "-s", 2, "--report", report]
    process = nursery.start(how, tmp_path / "log", {f"{turns.__name__}._one": stopped})
    process.join(nursery.PATIENCE)
    assert process.exitcode == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    assert set(items(report)) == {"a.mp4", "b.png", "c.png"}
    assert "untried" in items(report).values()
    left = {name for name, status in items(report).items() if status != "done"}
    assert cli("upscale", "--retry-failed", report, "-n", tiny_model, "-s", 2, "--report", report).code == 0
    assert items(report) == dict.fromkeys(left, "done")
    assert names(tmp_path / "out") == ["a_x2.mp4", "b_x2.png", "c_x2.png"]


def test_nothing_to_retry_is_done_and_says_so(cli, tmp_path, report):
    cli(picture(tmp_path / "a.png"), *NEAREST, "--report", report)
    ran = cli("upscale", "--retry-failed", report, *NEAREST)
    assert (ran.code, ran.err) == (0, f"nothing to do: all inputs of {report} are done\n")
    for _ in range(2):
        assert cli("upscale", "--retry-failed", report, *NEAREST, "--report", report).code == 0
        assert items(report) == {}


def test_an_input_that_is_gone_fails_again_and_is_in_the_new_report(cli, tmp_path, report):
    good, gone = picture(tmp_path / "good.png"), tmp_path / "gone.png"
    assert cli(good, gone, *NEAREST, "--report", report).code == 1
    for _ in range(2):  # the report is read before it is replaced
        assert cli("upscale", "--retry-failed", report, *NEAREST, "--report", report).code == 3
        assert items(report) == {"gone.png": "failed"}


def test_a_shard_of_what_is_left_can_be_taken(cli, tmp_path, report):
    for number in range(8):
        picture(tmp_path / "in" / f"{number}.png").write_bytes(b"half")
    cli(tmp_path / "in", "-o", tmp_path / "out", *NEAREST, "--report", report)
    for number in range(8):
        picture(tmp_path / "in" / f"{number}.png")
    for index in (1, 2):
        assert cli("upscale", "--retry-failed", report, *NEAREST, "--shard", f"{index}/2").code == 0
    assert len(names(tmp_path / "out")) == 8


@pytest.mark.parametrize("name", [b"\xff.png", b"\\udcff.png", "ä\n.png".encode()])
def test_names_that_are_no_text_are_found_again(cli, tmp_path, report, name):
    folder = tmp_path / os.fsdecode(b"in\xfe")
    source = folder / os.fsdecode(name)
    folder.mkdir()
    source.write_bytes(b"half")
    assert cli("upscale", folder, *NEAREST, "-o", tmp_path / "out", "--report", report).code == 3
    source.write_bytes(picture(tmp_path / "good.png").read_bytes())
    ran = cli("upscale", "--retry-failed", report, *NEAREST)
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    (result,) = (tmp_path / "out").iterdir()
    assert os.fsencode(result.name) == name.replace(b".png", b"_x2.png")
    assert pixels(result).shape == (16, 24, 3)


# --- what is refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a report"),
        (b"{}", "is not a report"),
        (b"[" * 100_000, "is not a report"),
        (b'{\n  "dagan": "' + b"[" * 100_000, "is damaged"),
        (b'{\n  "dagan": "0.1.0"}', "is damaged"),
        (b'{\n  "dagan": "0.1.0", "results": [], "items": 3}', "is damaged"),
        (b'{\n  "dagan": "' + b"[" * (1 << 20), "is damaged"),
    ],
)
def test_what_is_no_report_is_refused_in_two_lines(cli, report, content, words):
    report.write_bytes(content)
    ran = cli("upscale", "--retry-failed", report)
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert words in ran.err


@pytest.mark.parametrize(
    "change",
    [
        {"input": None},
        {"input": 3},
        {"input": "a\0b"},
        {"input": "\ud800"},
        {"below": "../.."},
        {"below": "/etc"},
        {"status": "good"},
        {"output": ["x"]},
        {"bytes": {"input": "xy"}},
        {"bytes": 3},
    ],
)
def test_items_that_make_no_sense_are_refused(cli, tmp_path, report, change):
    cli(picture(tmp_path / "a.png"), *NEAREST, "--report", report)
    document = json.loads(report.read_text())
    document["items"][0] |= change
    report.write_text(json.dumps(document, indent=2))
    ran = cli("upscale", "--retry-failed", report)
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert "is damaged" in ran.err


@pytest.mark.parametrize("folder", ["a" * 5000, "\ud800", 3])
def test_a_folder_that_makes_no_sense_is_refused(cli, tmp_path, report, folder):
    cli(picture(tmp_path / "a.png"), *NEAREST, "--report", report)
    document = json.loads(report.read_text())
    document["results"]["folder"] = folder
    report.write_text(json.dumps(document, indent=2))
    ran = cli("upscale", "--retry-failed", report)
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert "is damaged" in ran.err


def test_a_report_that_is_missing_huge_or_a_device_is_refused(cli, tmp_path, report):
    with report.open("wb") as file:
        file.truncate(1 << 30)
    for path in (report, tmp_path / "missing", tmp_path, "/dev/zero"):
        ran = cli("upscale", "--retry-failed", path)
        assert (ran.code, len(ran.err.splitlines())) == (2, 2)


def test_inputs_and_streams_do_not_go_with_it(cli, tmp_path, monkeypatch, report):
    source = picture(tmp_path / "a.png")
    cli(source, *NEAREST, "--report", report)
    for more in ((source,), ("-",)):
        ran = cli("upscale", *more, "--retry-failed", report)
        assert (ran.code, "--retry-failed" in ran.err) == (2, True)
    document = json.loads(report.read_text())
    document["results"]["is_piped"] = True
    report.write_text(json.dumps(document, indent=2))
    ran = cli("upscale", "--retry-failed", report)
    assert (ran.code, "stdin" in ran.err) == (2, True)


def test_a_result_of_a_report_leads_nowhere_else(cli, tmp_path, report):
    source = tmp_path / "in" / "a.png"
    picture(source)
    cli(source, "-o", f"{tmp_path}/out/", *NEAREST, "--report", report)
    document = json.loads(report.read_text())
    document["items"][0] |= {"status": "failed", "output": str(tmp_path / "elsewhere" / "x.png")}
    report.write_text(json.dumps(document, indent=2))
    assert cli("upscale", "--retry-failed", report, *NEAREST).code == 0
    assert not (tmp_path / "elsewhere").exists()


def test_the_report_that_is_read_is_no_result(cli, tmp_path, report):
    cli(picture(tmp_path / "a.png"), *NEAREST, "--report", report)
    rewrite(report, a="failed")
    assert Retry.of(report).path == report
    ran = cli("upscale", "--retry-failed", report, *NEAREST, "-o", report, "-y")
    assert ran.code != 0
    assert report.read_bytes().startswith(b"{")
