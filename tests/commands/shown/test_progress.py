"""What is shown while the work goes on: a bar on a terminal, now and then a line elsewhere, nothing if asked."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from dagan_cli.commands.shown.progress import ProgressMode, Reporter
from dagan_cli.upscale.events import Advance, Amount, Chosen, Item, Outlook, Start
from tests.support.clock import Clock

CLIP = Path("a_name_of_exactly_forty_characters_1.mp4")
OTHER = Path("other.png")


def long_run(clock: Clock, mode: ProgressMode, capsys, *, quiet: bool = False) -> list[str]:
    """Ten hours of one frame per second, and another input: the lines that are printed."""
    frames = 36_000
    with Reporter(mode, quiet=quiet, verbose=False, clock=clock) as reporter:
        reporter.show(Outlook(2, {CLIP: Amount("video", 1000, frames), OTHER: Amount("picture", 1000, 1)}))
        reporter.show(Start(0, 2, CLIP))
        for frame in range(1, frames + 1):
            clock.now += 1
            reporter.show(Advance(frame, frames, "frames"))
    return capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_after_half_a_minute_and_ever_fewer_later(clock, capsys):
    lines = long_run(clock, "auto", capsys)
    assert lines[0] == f"{CLIP}: 30 of 36000 frames, 1 fps, 10.0 h left; 0 of 2 inputs, 10.0 h left"
    assert 40 <= len(lines) <= 70
    assert sum("min left; " in line for line in lines) < 10


@pytest.mark.parametrize(("mode", "quiet"), [("auto", True), ("none", False)])
def test_nothing_is_shown_if_asked(clock, capsys, mode, quiet):
    assert long_run(clock, mode, capsys, quiet=quiet) == []


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_bars_show_the_input_and_the_whole_run_within_the_terminal(clock, monkeypatch, width):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Reporter("bar", quiet=False, verbose=False, clock=clock) as reporter:
        reporter.show(Outlook(2, {CLIP: Amount("video", 1000, 40), OTHER: Amount("picture", 1000, 1)}))
        reporter.show(Start(0, 2, CLIP))
        clock.now = 8.0
        reporter.show(Advance(10, 40, "frames"))
        text = "\n".join(str(line) for line in rendered(reporter, width))
    assert "10 of 40 frames, 1.25 fps, 24.0 s left" in text
    assert "0 of 2 inputs, 2" in text
    assert ("…" in text) == (width < 200)
    assert max(map(len, text.splitlines())) <= width


def rendered(reporter: Reporter, width: int) -> list[str]:
    """The bars as plain text."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(reporter._bar.get_renderable())
    return console.file.getvalue().splitlines()  # type: ignore[union-attr]


def test_an_unknown_number_of_frames_is_not_invented(clock, capsys):
    with Reporter("auto", quiet=False, verbose=False, clock=clock) as reporter:
        reporter.show(Outlook(2, {CLIP: Amount("video", 1000, None), OTHER: Amount("picture", 1000, 1)}))
        reporter.show(Start(0, 2, CLIP))
        clock.now = 31.0
        reporter.show(Advance(62, None, "frames"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{CLIP}: 62 frames, 2 fps; 0 of 2 inputs, at least ")


def test_a_finished_input_still_says_where_it_is(clock, capsys):
    with Reporter("auto", quiet=False, verbose=False, clock=clock) as reporter:
        reporter.show(Start(0, 1, OTHER))
        reporter.show(Item(input=OTHER, output=OTHER, status="done", out_size=(4, 2), seconds=1.0))
    assert capsys.readouterr().err == "other.png (4x2, 1.0 s)\n"


@pytest.mark.parametrize(("inputs", "verbose", "lines"), [(1, False, 1), (3, False, 3), (4, False, 0), (4, True, 4)])
@pytest.mark.parametrize("early", [False, True])
def test_the_choice_of_a_model_has_a_line_if_there_are_few(clock, capsys, inputs, verbose, lines, early):
    """Also if it was made before the number of inputs was known, as names can state the model."""
    events = [Chosen(Path(f"{number}.png"), "sharp", "dagan-x2") for number in range(inputs)]
    outlook = Outlook(inputs, {})
    with Reporter("auto", quiet=False, verbose=verbose, clock=clock) as reporter:
        for event in [*events, outlook] if early else [outlook, *events]:
            reporter.show(event)
    shown = [line for line in capsys.readouterr().err.splitlines() if "-n MODEL" in line]
    assert shown == [f"{number}.png: sharp: dagan-x2; -n MODEL overrules it" for number in range(lines)]
