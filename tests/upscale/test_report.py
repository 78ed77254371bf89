"""The account of a run: its totals, and the exit code that follows from what became of the inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagan_cli.engine.options import EngineOptions
from dagan_cli.errors import CannotWrite
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.upscale.events import Item
from dagan_cli.upscale.report import exit_code, report_pieces, write_report
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscale.used import Used
from dagan_cli.upscaler import Upscaler
from dagan_cli.version import __version__
from weights.choice import ModelChoice


def item(status, code: int = 0, **fields) -> Item:
    return Item(input=Path("in"), output=Path("out"), status=status, exit_code=code, **fields)


ASKED = Request(
    inputs=("in",), output=None, goal=Goal.of(2, None), model=ModelChoice(), engine=EngineOptions(), encoding=Encoding()
)
DONE, SKIPPED, PARTIAL = item("done"), item("skipped"), item("partial", 1)
OTHERWISE = item("failed", 1, is_usable=True)  # a usable input, but its output exists and is another result
BAD, USAGE, MEMORY, DISK = (item("failed", code) for code in (1, 2, 5, 6))


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([], 0),
        ([DONE, SKIPPED], 0),
        ([DONE, BAD], 1),
        ([SKIPPED, BAD], 1),  # what was skipped counts as done
        ([DONE, MEMORY], 1),
        ([DONE, DISK], 1),
        ([PARTIAL], 1),
        ([PARTIAL, BAD], 1),
        ([BAD], 3),
        ([BAD, BAD], 3),
        ([OTHERWISE, BAD], 1),
        ([USAGE, USAGE], 2),
        ([MEMORY], 5),
        ([DISK, DISK], 6),
        ([MEMORY, DISK], 1),  # no one reason
        ([BAD, DISK], 1),
    ],
)
def test_the_exit_code_tells_whether_and_why_work_was_left_undone(items, code):
    assert exit_code(items) == code


def test_totals_are_the_sums_of_the_items(tiny_model):
    items = [
        item("done", frames=1, in_size=(10, 10), out_size=(20, 20)),
        item("done", frames=100, in_size=(500, 500), out_size=(1000, 1000)),
        item("partial", 1, frames=10, in_size=(500, 500), out_size=(1000, 1000)),
        SKIPPED,
        BAD,
    ]
    options = EngineOptions(device="cpu", precision="fp32")
    used = [Used.of(Upscaler.load(str(tiny_model), options=options, order=2))]
    report = json.loads("".join(report_pieces(items, used, 12.3456, ASKED)))
    assert report["totals"] == {
        "done": 2,
        "skipped": 1,
        "failed": 1,
        "partial": 1,
        "stopped": 0,
        "untried": 0,
        "frames": 111,
        "megapixels": 110.0,
        "seconds": 12.346,
    }
    assert [row["status"] for row in report["items"]] == ["done", "done", "partial", "skipped", "failed"]
    assert report["dagan"] == __version__
    numbers = {"scale": 2, "order": 2, "detail": None, "denoise": None, "window": "global", "grain": 0.0}
    assert report["model"] == {"name": "tiny-x2.safetensors", "sha256": used[0].sha256, "architecture": None, **numbers}
    assert (report["device"], report["precision"]) == ("cpu", "float32")


def test_a_run_that_did_nothing_has_a_report_too(tmp_path):
    report = json.loads("".join(report_pieces([], [], 0.0, ASKED)))
    assert (report["model"], report["device"], report["items"]) == (None, None, [])
    write_report(tmp_path / "new/report.json", [], [], 0.0, ASKED)
    assert json.loads((tmp_path / "new/report.json").read_text()) == report


def test_a_report_of_many_items_is_the_same_in_lines_and_in_one(tmp_path):
    items = [item("done", frames=number, reason="a \x7f") for number in range(2500)]
    texts = ["".join(report_pieces(items, [], 1.0, ASKED, in_lines=in_lines)) for in_lines in (False, True)]
    one, lines = map(json.loads, texts)
    assert one == lines
    assert [row["frames"] for row in one["items"]] == [*range(2500)]
    assert texts[0].isprintable()
    assert sum(line.startswith('    {"input": "in", ') for line in texts[1].splitlines()) == 2500


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite):
        write_report(tmp_path / "file/report.json", [], [], 0.0, ASKED)
