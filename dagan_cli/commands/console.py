"""Terminal output: lines on stderr, results on stdout, two-line errors, and signals that stop the work."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from dagan_cli.errors import DaganError
from dagan_cli.words import printable, printable_lines


def echo(content: str | bytes, end: str = "\n") -> None:
    """Print results on stdout: text, line by line printable, or bytes as they are. Raises NoStdout.

    A reader that has closed the pipe is no error: the rest is dropped, see `streams`.
    """
    if isinstance(content, str):
        sys.stdout.write(printable_lines(content) + end)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content + end.encode())
        sys.stdout.buffer.flush()
    sys.stdout.flush()


def echo_path(path: Path) -> None:
    """Print a path on stdout: byte for byte for a program, printable on a terminal. Raises NoStdout."""
    echo(printable(str(path)) if sys.stdout.isatty() else os.fsencode(path))


def in_json(document: Any, indent: int | None = None) -> str:
    """Format as JSON of printable ASCII characters; `json` leaves U+007F as it is."""
    return json.dumps(document, indent=indent).replace("\x7f", "\\u007f")


def say(text: str) -> None:
    """Print a line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def fail(error: DaganError) -> int:
    """Print two lines, the error and what to try next; return the exit code."""
    say(f"error: {error}")
    say(f"  try: {error.hint}")
    return error.exit_code


def escape_messages() -> None:
    """Make what Python itself prints on stderr printable: warnings, log records and tracebacks may hold names."""
    import logging
    import warnings

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable_lines(super().format(record))

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Formatter())
    formatted = warnings.formatwarning
    warnings.formatwarning = lambda *facts: printable_lines(formatted(*facts))
    sys.excepthook = _say_traceback


def _say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from traceback import format_exception

    for line in "".join(format_exception(kind, error, trace)).rstrip("\n").split("\n"):
        say(line)


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP ask for a clean stop; a second SIGINT or SIGTERM ends the program at once.

    A terminal that is closed may send SIGHUP twice, so a second one changes nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or 0)

    def _receive(self, number: int, _: object) -> None:
        if self.received is None:
            self.received = number
        elif number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    @contextmanager
    def caught(self) -> Iterator[StopSignals]:
        """Catch the signals inside the context, except ignored ones: `nohup`, or a shell's `&`, wants that."""
        stopping = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        heeded = [number for number in stopping if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._receive) for number in heeded}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 image", "3 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def in_bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def in_time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.1f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
