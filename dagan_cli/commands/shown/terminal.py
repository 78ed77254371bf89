"""Find out which images the terminal can draw: by what the environment says, else by asking the terminal itself."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic

from dagan_cli.commands.shown.inline import Protocol

PATIENCE = 0.5  # seconds for the answer; over a slow connection it may take some tenths

# Is kitty's protocol known, and: who are you? Every terminal answers the second question, after the first.
_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\" + b"\x1b[c"
_KITTY = b"\x1b_Gi=31;OK"
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL = b"4"  # among the attributes


def protocol_here(environ: Mapping[str, str] = os.environ) -> Protocol | str:
    """Return what stdout's terminal can draw, or the reason why it cannot, as "reason: ..."."""
    if not sys.stdout.isatty():
        return "reason: stdout is not a terminal"
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if "TMUX" in environ or "STY" in environ or term.startswith(("tmux", "screen")):
        return "reason: it is not certain that tmux or screen passes images on"
    if "KITTY_WINDOW_ID" in environ or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm"):
        return "iterm2"
    if term in ("", "dumb"):
        return "reason: the terminal cannot show images"
    return asked()


def asked(patience: float = PATIENCE) -> Protocol | str:
    """Ask the terminal, and return the answer like `protocol_here`. Its settings are restored, whatever happens."""
    try:
        file = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return "reason: the terminal cannot be asked whether it shows images"
    try:
        if os.tcgetpgrp(file) != os.getpgrp():  # in the background, asking would stop this process
            return "reason: the terminal cannot be asked from the background"
        with _unbuffered(file):
            os.write(file, _QUESTION)
            answer = _answer(file, patience)
    except OSError:
        return "reason: the terminal cannot be asked whether it shows images"
    finally:
        os.close(file)
    if _KITTY in answer:
        return "kitty"
    found = _ATTRIBUTES.search(answer)
    if found is None:
        return "reason: the terminal does not answer whether it shows images"
    return "sixel" if _SIXEL in found[1].split(b";") else "reason: the terminal cannot show images"


def pixels_across() -> int:
    """Return the width of stdout's terminal in pixels; if it does not tell, for columns of eight."""
    import shutil
    import struct

    with suppress(ImportError, OSError):
        import fcntl
        import termios

        _, columns, width, _ = struct.unpack("4H", fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8)))
        if columns and width:
            return width
    return 8 * shutil.get_terminal_size().columns


def _answer(file: int, patience: float) -> bytes:
    """Read until the terminal has answered the last question, or the time is over."""
    answer, until = b"", monotonic() + patience
    while not _ATTRIBUTES.search(answer) and (left := until - monotonic()) > 0:
        if select.select([file], [], [], left)[0]:
            answer += os.read(file, 1024)
    return answer


@contextmanager
def _unbuffered(file: int) -> Iterator[None]:
    """Let the terminal pass on what is typed at once and not show it; Ctrl-C still works."""
    try:
        import termios
    except ImportError as error:  # on Windows
        raise OSError from error
    before = termios.tcgetattr(file)
    during = termios.tcgetattr(file)
    during[3] &= ~(termios.ICANON | termios.ECHO)
    try:
        termios.tcsetattr(file, termios.TCSADRAIN, during)
        yield
    except termios.error as error:
        raise OSError from error
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
