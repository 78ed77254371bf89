"""Standard streams that may be closed, full or cut: messages are forgotten, results end in an error for the user."""

from __future__ import annotations

import atexit
import errno
import os
import sys
import threading
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn

from dagan_cli.errors import CannotWrite

_ADVICE = {
    errno.ENOSPC: "free some space, or send the output elsewhere",
    errno.EDQUOT: "free some space, or send the output elsewhere",
    errno.EBADF: "send the output to a file, to a program or to /dev/null",
}


class NoStdout(CannotWrite):
    """Results cannot be written to stdout."""


class Messages:
    """A stream that forgets what it cannot write; everything else is passed through."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> Any:
        return type(self)(self._stream.buffer)

    def write(self, content: Any) -> int:
        try:
            return self._stream.write(content)
        except (OSError, ValueError) as error:
            self._failed(error)
            return len(content)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        pass


class Results(Messages):
    """A stream whose reader may leave early: the rest is dropped. Any other failure of writing raises NoStdout."""

    def _failed(self, error: Exception) -> None:
        if isinstance(error, BrokenPipeError):
            _drop(self._stream)
            return
        number = error.errno if isinstance(error, OSError) else None
        reason = "it is closed" if number == errno.EBADF else getattr(error, "strerror", None) or str(error)
        hint = _ADVICE.get(number or 0, "send the output to a file instead")
        raise NoStdout(f"cannot write to stdout: {reason.lower()}", hint=hint) from error


def prepare() -> None:
    """Fill closed standard streams, and replace stdout and stderr by streams that handle failures.

    A descriptor that stayed closed would be given to the next file that is opened, which would then receive stray
    output. os.devnull is opened for reading as stdout too: then writing results fails, as it does for a closed stream.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            _point(descriptor, flags)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # "µ" in ASCII
    sys.stdout, sys.stderr = Results(sys.stdout), Messages(sys.stderr)  # type: ignore[assignment]


def finish() -> None:
    """Flush stdout, and drop what cannot be written: Python would try it again, and fail, at the end of the program."""
    try:
        sys.stdout.flush()
    except NoStdout:
        _drop(sys.stdout)


def end(code: Any) -> NoReturn:
    """End the process with this exit code, after what Python does at the end of every program.

    Except one thing: taking all modules apart, which takes a third of a second once PyTorch is loaded, and in which
    Ray crashes if its cluster has gone.
    """
    if not {"torch", "ray"} & sys.modules.keys():
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    finish()
    sys.stderr.flush()
    os._exit(code)


def _drop(stream: Any) -> None:
    """Send what the stream still holds, and all that follows, to os.devnull."""
    with suppress(OSError, ValueError):
        _point(stream.fileno(), os.O_WRONLY)
        stream.flush()


def _point(descriptor: int, flags: int) -> None:
    """Make the descriptor one of os.devnull, which child processes inherit."""
    opened = os.open(os.devnull, flags)
    if opened == descriptor:
        os.set_inheritable(opened, True)
    else:
        os.dup2(opened, descriptor)
        os.close(opened)
