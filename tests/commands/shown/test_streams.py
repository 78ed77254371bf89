"""Standard streams that are closed, full or cut: the work is done, and the exit code tells what could not be said."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.tiny import clip, command, left_over, picture, pixels

pytestmark = pytest.mark.slow

NEAREST = ("-n", "nearest", "-s", "2")
ALL_CLOSED = "<&- >&- 2>&-"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def shell(folder: Path, redirections: str, *arguments: object, **environment: str) -> Ended:
    """Run `dagan` in the folder as a shell does with these redirections; it must end in words, not in a traceback."""
    script = ["bash", "-c", f'"$@" {redirections}', "bash", *command(*arguments)]
    done = subprocess.run(
        script, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def without_reader(folder: Path, *arguments: object, stream: str = "stdout") -> Ended:
    """Run `dagan` with a stream whose reader has gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    out, err = (theirs if name == stream else subprocess.PIPE for name in ("stdout", "stderr"))
    script = command(*arguments)
    try:
        done = subprocess.run(script, cwd=folder, stdout=out, stderr=err, text=True, check=False, timeout=60)
    finally:
        os.close(theirs)
    assert "Traceback" not in (done.stderr or "")
    assert "Exception ignored" not in (done.stderr or "")
    return Ended(done.returncode, done.stdout or "", done.stderr or "")


def whole(source: Path) -> bool:
    """True if the result is complete and exact, and nothing else is left."""
    target = source.with_name(f"{source.stem}_x2.png")
    same = (pixels(target) == pixels(source).repeat(2, 0).repeat(2, 1)).all()
    return bool(same) and left_over(source.parent) == []


def could_not_print(ended: Ended, reason: str) -> bool:
    lines = ended.err.splitlines()
    return lines[-2:-1] == [f"error: cannot write to stdout: {reason}"] and lines[-1].startswith("  try: ")


@pytest.mark.parametrize(
    ("redirections", "arguments"),
    [
        (">&-", ["--version"]),
        (">/dev/full", ["--version"]),
        (">/dev/full", ["--help"]),
        (">/dev/full", ["upscale", "in.png", "--help"]),  # printed by click
        (">&-", ["models", "path", "dagan-x4-psnr"]),
        (">/dev/full", ["models", "list"]),
        (">/dev/full", ["eval", "hr", *NEAREST]),
        (">&-", ["probe", "hr/in.png"]),
        (">&-", ["verify", "hr/in.png", "copy.png"]),
    ],
    ids=str,
)
def test_results_that_cannot_be_printed_are_an_error_with_code_6(tmp_path, redirections, arguments):
    source = picture(tmp_path / "hr" / "in.png", (32, 32))
    (tmp_path / "copy.png").write_bytes(source.read_bytes())
    ended = shell(tmp_path, redirections, *arguments)
    assert ended.code == 6
    assert could_not_print(ended, "it is closed" if redirections == ">&-" else "no space left on device")
    assert len(ended.err.splitlines()) == 2


def test_the_shell_s_completion_ends_in_words_too(tmp_path):
    asked = {"_DAGAN_COMPLETE": "complete_bash", "COMP_WORDS": "dagan upscale -n bi", "COMP_CWORD": "3"}
    assert shell(tmp_path, ">/dev/full", **asked).code == 6


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["upscale", "in.png", "--help"], ["models", "list"]],
    ids=" ".join,
)
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, arguments):
    assert without_reader(tmp_path, *arguments) == (0, "", "")


@pytest.mark.parametrize(
    ("redirections", "arguments", "code"),
    [
        ("<&- 2>&-", ["--version"], 0),
        ("2>/dev/full", ["nonsense"], 2),
        (ALL_CLOSED, ["nonsense"], 2),
        ("2>&-", ["models", "path", "missing"], 4),
    ],
    ids=str,
)
def test_the_exit_code_tells_what_messages_cannot(tmp_path, redirections, arguments, code):
    assert shell(tmp_path, redirections, *arguments).code == code


@pytest.mark.parametrize("redirections", ["2>/dev/full", ALL_CLOSED])
def test_a_picture_is_whole_though_nothing_can_be_said_of_it(tmp_path, redirections):
    source = picture(tmp_path / "in.png")
    assert shell(tmp_path, redirections, source, *NEAREST, "--progress", "json", "-v") == (0, "", "")
    assert whole(source)


def test_a_video_is_whole_though_nothing_can_be_said_of_it(tmp_path):
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    assert shell(tmp_path, "2>/dev/full", source, *NEAREST, "--preset", "ultrafast").code == 0
    verified = shell(tmp_path, "2>&-", "verify", "in.mp4", "in_x2.mp4", "--json")
    assert verified.code == 0
    assert json.loads(verified.out)


def test_a_picture_is_whole_though_nobody_reads_of_it(tmp_path):
    source = picture(tmp_path / "in.png")
    assert without_reader(tmp_path, source, *NEAREST, stream="stderr").code == 0
    assert whole(source)
    (tmp_path / "in_x2.png").unlink()
    assert without_reader(tmp_path, source, *NEAREST, "--json").code == 0
    assert whole(source)


def test_the_report_is_written_though_the_same_does_not_fit_on_stdout(tmp_path):
    source = picture(tmp_path / "in.png")
    ended = shell(tmp_path, ">/dev/full", source, *NEAREST, "--json", "--report", "report.json")
    assert ended.code == 6
    assert could_not_print(ended, "no space left on device")
    assert json.loads((tmp_path / "report.json").read_text())["totals"]["done"] == 1
    assert whole(source)


@pytest.mark.parametrize("name", ["in.png", "in.mp4"])
def test_a_result_for_a_closed_stdout_is_not_lost_in_silence(tmp_path, name):
    clip(tmp_path / name, seconds=0.2) if name == "in.mp4" else picture(tmp_path / name)
    ended = shell(tmp_path, ">&-", name, *NEAREST, "-o", "-")
    assert ended.code == 6
    assert [line[:7] for line in ended.err.splitlines()] == ["error: ", "  try: "]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [(["-", "-o", "out.png"], 3, "the input is empty"), (["--files-from", "-"], 2, "no input was given")],
    ids=str,
)
def test_a_closed_stdin_is_an_empty_input(tmp_path, arguments, code, told):
    ended = shell(tmp_path, "<&-", "upscale", *arguments, *NEAREST)
    assert ended.code == code
    assert told in ended.err
    assert len(ended.err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """What libraries print would be written into it."""
    code = (
        "import os; from dagan_cli.commands.shown.streams import prepare; prepare(); file = open('out', 'wb')\n"
        "os.write(2, b'stray'); print('stray', file=os.fdopen(os.dup(2), 'w'))\n"
        "try: os.write(1, b'stray')\n"
        "except OSError: file.write(str(file.fileno()).encode())"
    )
    script = ["bash", "-c", f'"$@" {ALL_CLOSED}', "bash", command()[0], "-c", code]
    subprocess.run(script, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=True)
    assert (tmp_path / "out").read_bytes() == b"3"


def test_the_bar_of_a_terminal_that_closes_does_not_stop_the_work(tmp_path, tiny_model):
    source = picture(tmp_path / "in.png", (160, 160))
    ours, theirs = pty.openpty()
    work = command(source, "-n", tiny_model, "-t", "64", "-s", "2", "--json")
    process = subprocess.Popen(work, stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    seen = b""
    while b"in.png" not in seen:
        seen += os.read(ours, 1000)
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["totals"]["done"] == 1
    assert pixels(tmp_path / "in_x2.png").shape == (320, 320, 3)


@pytest.mark.parametrize("kind", ["in.png", "in.mkv"])
def test_a_pipe_that_another_program_made_non_blocking_gets_everything(kind, tmp_path):
    source = picture(tmp_path / kind, (160, 160)) if kind == "in.png" else clip(tmp_path / kind, seconds=1)
    whole = subprocess.run(command(source, *NEAREST, "-o", "-"), capture_output=True, check=True).stdout
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(command(source, *NEAREST, "-o", "-"), stdout=writing, stderr=subprocess.DEVNULL) as process:
        os.close(writing)
        with open(reading, "rb") as pipe:
            select.select([pipe], [], [], 60)
            time.sleep(0.5)  # it is full by now
            assert pipe.read() == whole
    assert process.returncode == 0
    assert len(whole) > 1 << 16


def test_a_process_ends_at_once_after_its_threads_and_what_was_to_be_done_at_the_end():
    code = (
        "import atexit, sys, threading, time; sys.modules['torch'] = sys\n"
        "from dagan_cli.commands.shown.streams import end, finish, prepare\n"
        "prepare()\n"
        "class Late:\n    def __del__(self):\n        print('taken apart', flush=True)\n"
        "late = Late()\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "print('result'); finish(); end(7)\n"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=buffered)
    assert (ended.returncode, ended.stdout.split("\n"), ended.stderr) == (7, ["result", "thread", "at exit", ""], "")
