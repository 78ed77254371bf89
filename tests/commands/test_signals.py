"""Stopped from outside: a run told to stop does so soon and in order; one that is killed leaves no half file."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dagan_cli.commands.console import StopSignals
from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.upscale.events import Item, Kept
from tests.support.tiny import clip, command, left_over, picture, pixels

DONE = Item(input=Path("a.png"), output=Path("a_x2.png"), status="done")
SOON = 15  # seconds, on a machine that does other work too


def stopped_at_work(number: int, *arguments: object, by: tuple[str, ...] = ()) -> tuple[int, list[dict], float]:
    """Start `dagan`, send the signal once it is at work; the exit code, its events, and how long it took to end.

    `by` is a program that starts it, such as nohup.
    """
    process = subprocess.Popen([*by, *command(*arguments, "--progress", "json")], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    events = []
    try:
        for line in process.stderr:
            events.append(json.loads(line))
            if events[-1]["event"] == "progress" and events[-1]["total"] != 1:
                break
        assert events, "it ended before it began"
        process.send_signal(number)
        began = time.monotonic()
        events += [json.loads(line) for line in process.stderr]
        return process.wait(60), events, time.monotonic() - began
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_picture_told_to_stop_leaves_nothing_and_says_so(tmp_path, tiny_model, number):
    done, big = picture(tmp_path / "a.png"), picture(tmp_path / "big.png", (900, 900))
    work = (
        done,
        big,
        "-n",
        tiny_model,
        "-s",
        "2",
        "-t",
        "64",
        "-o",
        tmp_path / "out",
        "--report",
        tmp_path / "report.json",
    )
    code, events, seconds = stopped_at_work(number, *work)
    assert code == 128 + number
    assert seconds < SOON
    assert [event["event"] for event in events[-2:]] == ["stopped", "summary"]
    report = json.loads((tmp_path / "report.json").read_text())
    statuses = [item["status"] for item in report["items"]]
    assert statuses in (["done", "untried"], ["untried", "untried"], ["done", "done"])
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"a_x2.png"}
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_a_video_told_to_stop_says_what_is_kept_and_where_the_next_run_starts(tmp_path, tiny_model):
    source = clip(tmp_path / "in.mp4", seconds=10, source="testsrc2=size=128x96:rate=25")
    work = (source, "-n", tiny_model, "-s", "2", "--preset", "ultrafast")
    code, events, seconds = stopped_at_work(signal.SIGINT, *work)
    assert code == 130
    assert seconds < SOON
    assert [event["event"] for event in events[-2:]] == ["stopped", "summary"]
    (kept,) = (event for event in events if event["event"] == "kept")
    assert (kept["input"], kept["total"]) == ("in.mp4", 250)
    assert kept["frames"] == max(event["done"] for event in events if event["event"] == "progress")
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp4", ".work"}
    _, events, _ = stopped_at_work(signal.SIGINT, *work)
    (first, *_) = (event for event in events if event["event"] == "progress")
    assert first["done"] == kept["frames"] + 1


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "stopped: nothing is kept"),
        ([DONE], "stopped: 1 result kept; the same command continues with the next input"),
        ([Kept(Path("a.mp4"), 240, 325)], "240 frames of a.mp4 kept; the same command continues at frame 241 of 325"),
        ([DONE, DONE, Kept(Path("a.mp4"), 1, None)], "2 results and 1 frame of a.mp4 kept; the same command continues"),
    ],
)
def test_a_run_that_was_stopped_says_what_it_keeps(capfd, events, words):
    with Reporter("none", quiet=False, verbose=False) as reporter:
        for event in events:
            reporter.show(event)
        reporter.stopped()
    assert words in capfd.readouterr().err


@pytest.mark.slow
def test_a_video_told_to_stop_of_which_nothing_is_kept_leaves_nothing(tmp_path, tiny_model):
    source = clip(tmp_path / "in.mp4", seconds=10, source="testsrc2=size=128x96:rate=25")
    code, events, _ = stopped_at_work(signal.SIGINT, source, "-n", tiny_model, "-s", "2", "--no-resume")
    assert (code, [event for event in events if event["event"] == "kept"]) == (130, [])
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4"}


@pytest.mark.slow
def test_a_run_that_was_killed_left_no_half_file_and_the_next_one_cleans_up(cli, tmp_path, tiny_model):
    source = picture(tmp_path / "big.png", (900, 900))
    code, _, _ = stopped_at_work(signal.SIGKILL, source, "-n", tiny_model, "-s", "2", "-t", "64")
    assert code == -signal.SIGKILL
    assert not (tmp_path / "big_x2.png").exists()
    assert cli(source, "-n", "nearest", "-s", 2).code == 0
    assert pixels(tmp_path / "big_x2.png").shape == (1800, 1800, 3)
    assert left_over(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "by"),
    [(signal.SIGHUP, ("nohup",)), (signal.SIGINT, ("sh", "-c", 'trap "" INT; exec "$@"', "sh"))],
    ids=["nohup", "in the background"],
)
def test_a_signal_that_was_ignored_at_the_start_does_not_stop_the_work(tmp_path, tiny_model, number, by):
    source = picture(tmp_path / "in.png", (160, 160))
    code, events, _ = stopped_at_work(number, source, "-n", tiny_model, "-s", "2", "-t", "64", by=by)
    assert (code, events[-2]["status"]) == (0, "done")
    assert pixels(tmp_path / "in_x2.png").shape == (320, 320, 3)


def test_only_signals_that_are_not_ignored_are_caught():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals().caught() as stop:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == stop._receive
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_hangs_up_twice_still_stops_the_work_in_order():
    """The kernel and the shell both send the signal."""
    with StopSignals().caught() as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert stop()
    assert stop.exit_code == 129


@pytest.mark.slow
def test_signals_are_the_programs_own_again_after_a_run(cli, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    cli(picture(tmp_path / "in.png"), "-n", "nearest")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interruption_before_the_work_exits_with_130(monkeypatch):
    from dagan_cli import __main__

    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["dagan", "doctor"])
    monkeypatch.setattr("dagan_cli.commands.app.run_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 130


@pytest.mark.slow
def test_a_stop_between_two_inputs_keeps_what_is_done(cli, tmp_path, monkeypatch):
    from dagan_cli.commands.shown.progress import Reporter

    stops: list[StopSignals] = []
    before = StopSignals.__init__
    monkeypatch.setattr(StopSignals, "__init__", lambda self: (before(self), stops.append(self))[0])

    def stop_after_one(_: Reporter, item: Item) -> None:
        if item.status == "done" and not stops[0]():
            stops[0]._receive(signal.SIGTERM, None)

    monkeypatch.setattr(Reporter, "_item", stop_after_one)
    sources = [picture(tmp_path / f"{number:02}.png") for number in range(20)]  # more than are in flight at once
    ran = cli(*sources, "-n", "nearest", "-s", 2, "--json")
    assert ran.code == 143
    statuses = [item["status"] for item in json.loads(ran.out)["items"]]
    done = statuses.count("done")
    assert statuses == ["done"] * done + ["untried"] * (20 - done)
    assert 1 <= done < 20
    made = sorted(tmp_path.glob("*_x2.png"))
    assert [path.name for path in made] == [f"{number:02}_x2.png" for number in range(done)]
    assert {pixels(path).shape for path in made} == {(16, 24, 3)}
    assert left_over(tmp_path) == []
