"""Copy a remote file to this machine, resumed where it was cut; or read parts of it as a file that can seek."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from hashlib import md5
from typing import BinaryIO, TypeVar

from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.patience import PROGRESS, Cancelled, Patience, Permanent, Transient, patiently
from dagan_cli.media.remote.store import Changed, Facts, Store

Limit = Callable[[int, bool], str]  # size in bytes, and whether it is declared -> why there is no room, or ""
_SLOWEST, _MINUTE = 1 << 10, 60.0  # bytes per second, seconds
_WINDOW = 1 << 16  # bytes that a small read asks for: headers are read in many small steps
_MOST_PARTS = 1000  # of a file that are read to find its metadata
T = TypeVar("T")


def fetch(
    store: Store,
    address: Address,
    file: BinaryIO,
    limit: Limit,
    should_stop: Callable[[], bool],
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> int:
    """Copy a remote file into an empty one; return its size in bytes. Raises Permanent, and Cancelled.

    `progress` is called with the bytes received, and with those in all if they are known.
    """
    patience = Patience(should_stop)
    known: Facts | None = None
    at = furthest = 0
    digest = md5(usedforsecurity=False)
    while True:
        patience.check()
        try:
            with store.read(address, at if known else 0, known) as opened:
                if opened.start != at or known is None:
                    at, digest = opened.start, md5(usedforsecurity=False)
                    file.seek(0)
                    file.truncate()
                known, pace = opened.facts, _Pace(at)
                _require_room(limit, known.size or 0, known.size is not None)
                for block in opened.blocks:
                    patience.check()
                    at += len(block)
                    if known.size is None:
                        _require_room(limit, at, False)
                    elif at > known.size:
                        raise Transient(f"more than the {known.size:,} bytes came that were declared")
                    file.write(block)
                    digest.update(block)
                    progress(at, known.size)
                    if at >= furthest + PROGRESS:
                        furthest = at
                        patience.progress()
                    pace.require(at)
            if known.size is not None and at < known.size:
                raise Transient(f"it ended after {at:,} of {known.size:,} bytes")
            if known.md5 and digest.hexdigest() != known.md5:
                known = None
                raise Transient("its bytes do not match the checksum that its store declares")
            file.flush()
            return at
        except Changed:
            known = None
            patience.wait(Transient("it changes while it is read"))
        except Transient as error:
            if known and known.size is not None and at > known.size:
                known = None
            patience.wait(error)


class _Pace:
    """Ends a connection that is open, and yet sends next to nothing."""

    def __init__(self, at: int) -> None:
        self._since, self._at = time.monotonic(), at

    def require(self, at: int) -> None:
        """Raise Transient if less than a KiB per second came for a minute."""
        now = time.monotonic()
        if now - self._since >= _MINUTE:
            if at - self._at < _SLOWEST * _MINUTE:
                raise Transient(f"the server sends less than {_SLOWEST:,} bytes per second")
            self._since, self._at = now, at


def _require_room(limit: Limit, size: int, is_declared: bool) -> None:
    if reason := limit(size, is_declared):
        raise Permanent(reason, "free some space, or name a folder on a larger disk in DAGAN_SPOOL")


class RemoteFile(io.RawIOBase):
    """A remote file that is read in parts. Reading raises Permanent, Cancelled, and OSError if the file changed."""

    def __init__(self, store: Store, address: Address, facts: Facts, should_stop: Callable[[], bool]) -> None:
        if facts.size is None:
            raise ValueError("a file of unknown size")
        self._store, self._address, self._facts, self._size = store, address, facts, facts.size
        self._should_stop = should_stop
        self.error: Exception | None = None  # the last one, for readers that swallow what they do not know
        self._at = 0
        self._window = (0, b"")  # the bytes that were read last, and their place
        self._parts: list[tuple[int, bytes]] | None = None  # all of them, while nothing is received in between
        self._missing: list[tuple[int, int]] = []  # start and stop of what was not among them

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the start of the file")
        self._at = base + offset
        return self._at

    def readall(self) -> bytes:
        return self.read(-1)

    def read(self, size: int | None = -1) -> bytes:
        """Return all the bytes that are asked for; fewer only at the end."""
        stop = self._size if size is None or size < 0 else min(self._size, self._at + size)
        if self._at >= stop:
            return b""
        for place, data in (self._window, *(self._parts or ())):
            if place <= self._at and stop <= place + len(data):
                break
        else:
            place, last = self._at, min(self._size, max(stop, self._at + _WINDOW))
            if self._parts is not None:
                self._missing.append((place, last))
                raise OSError("a part that is not here yet")
            data = self._received(place, last)
            self._window = place, data
        found = data[self._at - place : stop - place]
        self._at += len(found)
        return found

    def without_waiting(self, action: Callable[[], T]) -> T:
        """Return the result of an action that reads the file from its start, and that others wait for.

        It is repeated until all that it reads is here; the parts are received in between. Raises what it raises, and
        OSError if it reads more than a thousand parts.
        """
        self._parts = []
        try:
            while len(self._parts) < _MOST_PARTS:
                self._at = 0
                self._missing.clear()
                try:
                    result = action()
                except OSError:
                    if not self._missing:
                        raise
                else:
                    if not self._missing:
                        return result
                start, stop = self._missing[0]
                self._parts.append((start, self._received(start, stop)))
        finally:
            self._parts = None
        raise OSError("its metadata is in too many parts")

    def _received(self, start: int, stop: int) -> bytes:
        try:
            return patiently(lambda: self._store.part(self._address, start, stop, self._facts), self._should_stop)
        except Changed as error:
            raise OSError("the remote file changed while it was read") from error
        except (Permanent, Cancelled) as error:
            self.error = error
            raise

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
