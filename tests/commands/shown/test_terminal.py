"""Which images a terminal can draw: the environment says it, or the terminal, played by the test, answers."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dagan_cli.commands.shown import terminal
from tests.commands.shown.test_inline import from_kitty, from_sixel
from tests.support.tiny import picture

ROOT = Path(__file__).parent.parent.parent.parent
ASK = "import sys; from dagan_cli.commands.shown.terminal import protocol_here as p; sys.stdout.write('<' + p() + '>')"
PLAIN = {"TERM": "xterm-256color"}
QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
DROPPED = ("TMUX", "STY", "KITTY_WINDOW_ID", "TERM_PROGRAM")


class Session:
    """A program on a terminal that this test plays."""

    def __init__(self, code: list[str], environ: dict[str, str], answer: bytes = b"", before: Callable | None = None):
        self.output = b""
        self.began = time.monotonic()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            for name in DROPPED:
                os.environ.pop(name, None)
            os.environ.update(environ, PYTHONPATH=str(ROOT))
            os.execv(sys.executable, [sys.executable, *code])
        self.settings = termios.tcgetattr(self.master)
        answered = False
        while self._read(30):
            if QUERY in self.output and not answered:
                answered = True
                self.asked = time.monotonic()
                self.during = termios.tcgetattr(self.master)
                if before is not None:
                    before(self.pid)
                os.write(self.master, answer)
        _, status = os.waitpid(self.pid, 0)
        self.ended = time.monotonic()
        self.code = os.waitstatus_to_exitcode(status)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"it hangs after {self.output!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the program has ended
            return False
        self.output += data
        return bool(data)

    @property
    def found(self) -> str:
        return self.output.decode().rpartition("<")[2].partition(">")[0]


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(terminal, "asked", lambda: "asked")


@pytest.mark.usefixtures("tty")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color"}, "asked"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, "asked"),
        ({"TERM": "dumb"}, "reason: the terminal cannot show images"),
        ({}, "reason: the terminal cannot show images"),
    ],
)
def test_the_environment_says_what_a_terminal_can(environ, expected):
    assert terminal.protocol_here(environ) == expected


@pytest.mark.usefixtures("tty")
@pytest.mark.parametrize("extra", [{"TMUX": "/tmp/x,1,0"}, {"STY": "1.pts"}, {"TERM": "screen-256color"}])
def test_inside_tmux_and_screen_nothing_is_drawn_whatever_else_the_environment_says(extra):
    found = terminal.protocol_here({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"} | extra)
    assert "tmux or screen" in found


def test_where_stdout_goes_elsewhere_nothing_is_asked():
    assert "not a terminal" in terminal.protocol_here({"TERM": "xterm-kitty"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x1b[?62;4;22c", "sixel"),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", "kitty"),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c", "kitty"),
        (b"\x1b_Gi=31;ENOTSUPPORTED:no\x1b\\\x1b[?62;4c", "sixel"),
        (b"\x1b[?64;1;44;14c", "reason: the terminal cannot show images"),
        (b"typed ahead\x1b[?4;6c", "sixel"),
    ],
)
def test_a_terminal_that_answers_is_believed_and_its_settings_are_restored(answer, expected):
    session = Session(["-c", ASK], PLAIN, answer)
    assert session.found == expected
    assert not session.during[3] & (termios.ICANON | termios.ECHO)
    assert session.during[3] & termios.ISIG  # Ctrl-C still works
    assert session.code == 0


RESTORED = f"""
import termios, sys
before = termios.tcgetattr(0)
try:
    {ASK.partition("; ")[2].replace("; ", chr(10) + "    ")}
finally:
    after = termios.tcgetattr(0)
    sys.stdout.write("same" if after == before else "other")
"""


@pytest.mark.slow
def test_a_terminal_that_does_not_answer_holds_nothing_up_and_gets_its_settings_back():
    session = Session(["-c", ASK], PLAIN)
    assert session.found == "reason: the terminal does not answer whether it shows images"
    assert session.ended - session.asked < 1.0
    assert "same" in Session(["-c", "import sys\n" + RESTORED], PLAIN).output.decode()


@pytest.mark.slow
def test_after_ctrl_c_during_the_question_the_settings_are_as_before():
    def interrupt(pid: int) -> None:
        os.kill(pid, signal.SIGINT)

    session = Session(["-c", "import sys\n" + RESTORED], PLAIN, b"", before=interrupt)
    assert b"same" in session.output
    assert session.code != 0


@pytest.mark.slow
@pytest.mark.parametrize("environ", [PLAIN, {"TERM": "xterm-kitty"}])
def test_the_command_draws_a_row_for_each_place_with_a_line_of_labels(environ, tmp_path):
    source = picture(tmp_path / "in.png", (40, 30))
    arguments = ["preview", str(source), "-n", "nearest", "-n", "bicubic", "-s", "2", "--inline", "--progress", "none"]
    page = ["-o", str(tmp_path / "page.html")]
    session = Session(["-m", "dagan_cli", *arguments, *page], environ, b"\x1b[?62;4c")
    assert session.code == 0
    assert b"input (nearest) | nearest | bicubic" in session.output
    if environ is PLAIN:
        drawing = session.output[session.output.index(b"\x1bP") :]
        pixels = from_sixel(drawing[: drawing.index(b"\x1b\\") + 2])
    else:
        drawing = session.output[session.output.index(b"\x1b_G") :]
        pixels = from_kitty(drawing[: drawing.rindex(b"\x1b\\") + 2])
    assert pixels.shape == (60, 3 * 80 + 8, 3)
    assert (tmp_path / "page.html").is_file()
