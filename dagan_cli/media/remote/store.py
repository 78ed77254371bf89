"""What every store offers: facts, bytes, names and, where files can be written, uploads that are whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from dagan_cli.media.remote.address import HTTP, Address
from dagan_cli.media.remote.patience import patiently

BLOCK = 1 << 20  # bytes that are read at a time


@dataclass(frozen=True, slots=True)
class Facts:
    """A remote file as its store declares it."""

    size: int | None  # bytes; None if unknown
    tag: str = ""  # of its content: another content has another one; "" if there is none
    md5: str = ""  # of its content, in hex, where the store states it
    in_ranges: bool = True  # parts of it can be read


class Listed(NamedTuple):
    """A name in a folder."""

    relative: str  # path below the folder
    size: int | None
    is_folder: bool = False


class Opened(NamedTuple):
    """A body that is being read."""

    facts: Facts
    start: int  # the place of the first byte; 0 if the store sends all again
    blocks: Iterator[bytes]


class Changed(Exception):
    """The file is another one than when it was looked at."""


class Store(Protocol):
    """Files of one protocol. All methods may be called from any thread, and raise Transient and Permanent."""

    can_write: bool

    def look(self, address: Address) -> Facts | None:
        """Return the facts of a file; None if there is none."""
        ...

    def read(self, address: Address, start: int, known: Facts | None) -> AbstractContextManager[Opened]:
        """Read a file from a place on. Raises Changed if it is not the one that is `known`."""
        ...

    def part(self, address: Address, start: int, stop: int, known: Facts) -> bytes:
        """Return the bytes from `start` to before `stop`. Raises Changed."""
        ...

    def names(self, folder: Address, *, recursive: bool, prefix: str = "") -> Iterator[Listed]:
        """Yield what is in a folder, in any order; `prefix` is that of the names that are wanted, others may come."""
        ...

    def put(self, file: BinaryIO, address: Address, should_stop: Callable[[], bool]) -> None:
        """Write a local file, whole or absent. It tries again by itself. Raises Permanent and Cancelled."""
        ...

    def require_writable(self, address: Address) -> None:
        """Raise Permanent if it is known that files cannot be written here."""
        ...


class Stores:
    """The stores of a run, each opened on first use."""

    def __init__(self) -> None:
        self._opened: dict[str, Store] = {}

    def of(self, address: Address) -> Store:
        """Return the store of an address. Raises Permanent if its driver is missing."""
        protocol = "http" if address.protocol in HTTP else address.protocol
        if protocol not in self._opened:
            self._opened[protocol] = patiently(lambda: _open(protocol), lambda: False)  # some log in
        return self._opened[protocol]


def _open(protocol: str) -> Store:
    if protocol == "http":
        from dagan_cli.media.remote.http import HttpStore

        return HttpStore()
    if protocol == "s3":
        from dagan_cli.media.remote.s3 import S3Store

        return S3Store()
    from dagan_cli.media.remote.driver import DriverStore

    return DriverStore(protocol)
