"""The closing lines of a run: counts, time, the place of the results, and failures by their reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from dagan_cli.commands.shown.summary import summary
from dagan_cli.upscale.events import Item
from tests.support.tiny import picture

Status = Literal["done", "skipped", "failed", "partial", "planned", "untried"]
NEAREST = ("-n", "nearest", "-s", 2)


def items(status: Status, count: int, reason: str = "", folder: str = "out", hint: str = "") -> list[Item]:
    return [
        Item(
            input=Path(f"in/{status}{i}.png"),
            output=None if status == "failed" else Path(f"{folder}/{status}{i}.png"),
            status=status,
            reason=reason.format(f"in/{status}{i}.png"),
            hint=hint,
        )
        for i in range(count)
    ]


def test_one_input_needs_no_summary():
    assert summary(items("done", 1), 1.0) == []


def test_a_thousand_existing_outputs_are_one_line():
    found = [*items("done", 1), *items("skipped", 1000, "it exists; -y overwrites it")]
    lines = summary(found, 4.2)
    assert lines == [
        "1001 inputs in 4.2 s: 1 done, 1000 skipped",
        "skipped: 1000, it exists; -y overwrites it",
        "results: out",
    ]


def test_every_status_is_counted():
    found = [item for status in ("untried", "failed", "partial", "skipped", "done") for item in items(status, 2)]
    assert summary(found, 600)[0] == "10 inputs in 10 min: 2 done, 2 partial, 2 failed, 2 skipped, 2 untried"


def test_equal_failures_share_their_reason_and_are_all_named():
    found = [
        *items("done", 30),
        *items("failed", 3, "cannot read {}: it is truncated", hint="leave it out"),
        *[Item(input=Path("b.mp4"), output=None, status="failed", reason="b.mp4 is empty", hint="obtain it again")],
    ]
    assert summary(found, 1.0)[1:] == [
        "failed: 3, cannot read …: it is truncated",
        "  in/failed0.png",
        "  in/failed1.png",
        "  in/failed2.png",
        "  try: leave it out",
        "failed: 1, … is empty",
        "  b.mp4",
        "  try: obtain it again",
        "results: out",
    ]


def test_of_many_equal_failures_the_first_are_named_and_the_others_counted():
    found = items("failed", 1000, "cannot read {}: it is truncated", hint="leave it out")
    head, first, *_, last, more, hint = summary(found, 1.0)[1:]
    assert (head, hint) == ("failed: 1000, cannot read …: it is truncated", "  try: leave it out")
    assert (first, last, more) == ("  in/failed0.png", "  in/failed9.png", "  and 990 more")
    assert len(summary(found, 1.0)) == 14


def test_results_in_several_folders_are_counted_below_the_one_that_holds_them():
    found = [*items("done", 2, folder="out/a"), *items("partial", 2, folder="out/b/c")]
    assert summary(found, 1.0)[-1] == "results: 2 folders in out"


@pytest.mark.slow
def test_a_run_ends_with_its_summary_and_lists_skipped_inputs_with_v(cli, tmp_path):
    for i in range(5):
        picture(tmp_path / "in" / f"{i}.png")
    for name in ("a", "b"):
        cut = picture(tmp_path / "in" / f"{name}.png", (40, 40)).read_bytes()[:2000]
        (tmp_path / "in" / f"{name}.png").write_bytes(cut)
    run = (tmp_path / "in", *NEAREST, "-o", tmp_path / "out")
    picture(tmp_path / "out" / "0_x2.png")
    ran = cli(*run, "--skip-existing")
    lines = ran.err.splitlines()
    assert sum("_x2.png (24x16" in line for line in lines) == 4
    assert sum("(skipped" in line for line in lines) == 0
    assert lines[-1] == f"results: {tmp_path / 'out'}"
    assert sum(line.startswith("error: ") for line in lines) == 2
    assert sum(line.startswith("  try: ") for line in lines) == 1  # the reason is the same
    assert any("4 done, 2 failed, 1 skipped" in line for line in lines)
    again = cli(*run, "--skip-existing", "-v").err
    assert again.count("(skipped: it exists") == 5
    assert "5 skipped" in again


@pytest.mark.slow
def test_equal_warnings_are_counted_after_the_third_and_all_are_in_the_report(cli, tmp_path):
    for i in range(5):
        picture(tmp_path / f"{i}.png", mode="I;16")
    ran = cli(tmp_path, *NEAREST, "-f", "jpg", "--json")
    warnings = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 4
    assert warnings[-1].startswith("warning: 2 more inputs: ")
    assert sum(len(item["warnings"]) for item in json.loads(ran.out)["items"]) == 5
