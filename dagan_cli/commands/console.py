"""Terminal output: lines on stderr, tables for stdout, two-line errors, and signals that stop the work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import category

from dagan_cli.errors import DaganError


def printable(text: str) -> str:
    """Make one printable line: control characters and undecodable bytes are escaped."""
    return "".join(c.encode("unicode_escape").decode() if category(c) in ("Cc", "Cs") else c for c in text)


def say(text: str) -> None:
    """Print a line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def fail(error: DaganError) -> int:
    """Print two lines, the error and what to try next; return the exit code."""
    say(f"error: {error}")
    say(f"  try: {error.hint}")
    return error.exit_code


class StopSignals:
    """SIGINT and SIGTERM ask for a clean stop; the second one ends the program at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or 0)

    def _receive(self, number: int, _: object) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number

    @contextmanager
    def caught(self) -> Iterator[StopSignals]:
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
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


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """Format rows as plain columns; the first `left` columns are left-aligned, the others right-aligned."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
