"""Run an iterator in its own thread, a few items ahead of its consumer."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def prefetch(items: Iterable[T], ahead: int = 2) -> Iterator[Iterator[T]]:
    """Yield an iterator over `items` that a thread keeps up to `ahead` items ahead, plus the one it is making.

    An error of `items` is raised when the consumer takes the failed item. However the block is left, the thread ends
    after its current item, `items` is closed (in that thread) and the thread is joined.
    """
    room = threading.Semaphore(ahead)
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()  # (item,), an error, None = the end
    leaving = threading.Event()

    def produce() -> None:
        end = None
        try:
            try:
                for item in items:
                    room.acquire()
                    if leaving.is_set():
                        break
                    made.put((item,))
            finally:
                if isinstance(items, Generator):
                    items.close()
        except BaseException as error:  # not swallowed: the consumer raises it
            end = error
        made.put(end)

    def consume() -> Iterator[T]:
        while (entry := made.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            room.release()
            yield entry[0]

    thread = threading.Thread(target=produce, name="dagan-prefetch", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        leaving.set()
        room.release()
        thread.join()
