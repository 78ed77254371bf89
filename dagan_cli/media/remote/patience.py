"""Try again what may work later: waits that double, with jitter, and end when the run is stopped."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import ClassVar, TypeVar

T = TypeVar("T")

TRIES = 8  # without progress; the waits between them sum up to half a minute at most
PROGRESS = 1 << 16  # bytes: a server that sends a few each time makes none
_FIRST, _LONGEST = 0.25, 15.0  # seconds
_MOST_TRIES = 10_000
_TOLD = 4  # failures in a row, about two seconds, after which the user should know
_POLL = 0.1  # seconds
TRANSIENT = frozenset((408, 409, 423, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524))  # status codes


class Transient(Exception):
    """Something that may work when it is tried again; the text is the reason. `after`: seconds that the server asks."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Permanent(Exception):
    """Something that will not work when it is tried again; the text is the reason, and `hint` the next thing to try."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class Cancelled(Exception):
    """The run was stopped, or ended, while something was being transferred."""


class Retries:
    """Tells why something is tried again, each reason once, and only in the thread that made this object."""

    _open: ClassVar[list[Retries]] = []

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell_user = tell
        self._thread = threading.get_ident()
        self._heard: SimpleQueue[str] = SimpleQueue()
        self._told: set[str] = set()

    def __enter__(self) -> Retries:
        self._open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.remove(self)

    @classmethod
    def note(cls, reason: str) -> None:
        """Note that something has failed some times, and is tried again. Any thread may call it."""
        for each in tuple(cls._open):
            each._heard.put(reason)
            if threading.get_ident() == each._thread:
                each.tell()

    def tell(self) -> None:
        """Tell what was noted."""
        while not self._heard.empty():
            if (reason := self._heard.get()) not in self._told:
                self._told.add(reason)
                self._tell_user(f"{reason}; trying again")


class Patience:
    """Counts failures of one transfer and waits between them."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop = should_stop
        self._failures = 0  # since the last progress
        self._all = 0

    def progress(self) -> None:
        """Note that the transfer is further than it ever was."""
        self._failures = 0

    def check(self) -> None:
        """Raise Cancelled once the run is stopped."""
        if self.should_stop():
            raise Cancelled

    def wait(self, error: Transient) -> None:
        """Wait after a failure. Raises Permanent after too many, and Cancelled."""
        self._failures += 1
        self._all += 1
        if self._failures >= TRIES or self._all >= _MOST_TRIES:
            raise Permanent(
                f"{error} ({self._all} tries)", "check the network and the server; the same command goes on"
            )
        if self._failures == _TOLD:
            Retries.note(str(error))
        longest = min(_LONGEST, _FIRST * 2 ** (self._failures - 1))
        until = time.monotonic() + max(min(error.after, 4 * _LONGEST), random.uniform(longest / 2, longest))
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(_POLL, left))
        self.check()


def patiently(action: Callable[[], T], should_stop: Callable[[], bool]) -> T:
    """Return the result of an action that is tried again. Raises Permanent, and Cancelled."""
    patience = Patience(should_stop)
    patience.check()
    while True:
        try:
            return action()
        except Transient as error:
            patience.wait(error)
