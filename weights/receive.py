"""Receive from a server in a thread of its own, at a minimum rate: a server that drips cannot hold the program.

Timeouts of sockets do not help against it. They start again with every byte, and httpx yields nothing at all while
headers, or the chunk headers of a chunked body, arrive slowly.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from queue import Empty, Queue
from threading import Lock, Thread
from typing import Any

THREAD = "dagan-download"  # name of the threads
_END = object()


class TooSlow(Exception):
    """The server sent less than the minimum in time."""


class Line:
    """The connection that a request uses, so that another thread can end it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._stream: Any = None
        self._is_cut = False

    def uses(self, stream: Any) -> None:
        """Note the network stream in use, or None. Raises TooSlow if the line is cut."""
        with self._lock:
            self._stream = stream
            if self._is_cut:
                self._shut_down()
                raise TooSlow("nobody waits for it any more")

    def trace(self, _: str, info: dict[str, Any]) -> None:
        """Note new connections: the `trace` extension of a request, which httpx calls after each of its steps."""
        if hasattr(stream := info.get("return_value"), "get_extra_info"):
            self.uses(stream)

    def cut(self) -> None:
        """End the connection. What waits for it in another thread ends with an error."""
        with self._lock:
            self._is_cut = True
            self._shut_down()

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def _shut_down(self) -> None:
        found = None if self._stream is None else self._stream.get_extra_info("socket")
        if isinstance(found, socket.socket):
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(found, socket.SHUT_RDWR)  # closing it would not wake a thread that waits for it


def arriving(start: Callable[[Line], Generator[Any]], window: float, enough: int) -> Generator[Any]:
    """Yield what `start` yields in a thread of its own: bytes, and other things that count as none.

    At least `enough` bytes must arrive in every `window` seconds of waiting, so it ends after bytes / enough * window
    + window seconds, whatever the server does; the time that the caller takes does not count. Raises TooSlow, and the
    errors of `start`. The thread ends soon after the caller has stopped: its connection is shut down. It stays only
    while a server drips the first headers through a connection that was open before, which nothing gives access to.
    """
    line, items = Line(), Queue(8)

    def work() -> None:
        try:
            with closing(start(line)) as found:
                for item in found:
                    items.put(item)
                    if line.is_cut:
                        return
            items.put(_END)
        except BaseException as error:
            items.put(error)

    Thread(target=work, name=THREAD, daemon=True).start()
    left, count, is_over = window, 0, False
    try:
        while True:
            since = time.monotonic()
            try:
                item = items.get(timeout=max(left, 0))
            except Empty:
                raise TooSlow(f"fewer than {enough} bytes in {window} s") from None
            left -= time.monotonic() - since
            is_over = item is _END or isinstance(item, BaseException)
            if isinstance(item, BaseException):
                raise item
            if item is _END:
                return
            if isinstance(item, bytes):
                count += len(item)
            if count >= enough:
                left, count = window, 0
            yield item
    finally:
        if not is_over:
            line.cut()
            with suppress(Empty):
                while True:  # makes room, for which the thread may wait; it puts at most two more items
                    items.get_nowait()
