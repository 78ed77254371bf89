"""The plan of a dry run: what is left to do, and failures by their reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dagan_cli.commands.shown.plan import plan_table
from dagan_cli.upscale.events import Forecast, Item

FORECAST = Forecast(
    model="bicubic", tile=(48, 32), tiles=1, memory=1, disk=1, seconds=1.0, codec="libx264", pixel_format="yuv420p"
)
VIDEO = Item(
    input=Path("a.mp4"),
    output=Path("a_x2.mp4"),
    status="planned",
    frames=300,
    in_size=(48, 32),
    out_size=(96, 64),
    forecast=FORECAST,
)


def test_frames_of_an_earlier_run_are_no_work_that_is_planned():
    lines = plan_table([VIDEO, replace(VIDEO, resumed=89)]).splitlines()
    assert " 300 " in lines[1]
    assert " 211 of 300 " in lines[2]
    assert " 511 " in lines[3]
    assert lines[-1] == "2 planned; 89 frames kept from an earlier run; nothing was written"


def test_many_equal_failures_are_one_row_and_few_have_their_own():
    many = [failure(f"{n}.png", "{} is empty") for n in range(1000)]
    few = [failure(f"{n}.jpg", "{} is truncated") for n in range(2)]
    assert plan_table([*many, *few]).splitlines()[1:4] == [
        "1000 failed      … is empty",
        "0.jpg            failed: 0.jpg is truncated",
        "1.jpg            failed: 1.jpg is truncated",
    ]


def failure(name: str, reason: str) -> Item:
    return Item(input=Path(name), output=None, status="failed", reason=reason.format(name))
