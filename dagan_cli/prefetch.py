"""Run work in threads, a few items ahead of its consumer."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def in_order(work: Callable[[S], T], items: Sequence[S], threads: int | None = None) -> Iterator[Iterator[T]]:
    """Yield an iterator over the results of `work` on each item, in order, computed by `threads` (None: processors).

    At most two results per thread wait to be taken, and one more is computed by each. An error is raised in the place
    of the result. However the block is left, nothing runs afterwards.
    """
    threads = min(threads or processors(), len(items))
    if threads <= 1:
        yield map(work, items)
        return
    pool = ThreadPoolExecutor(threads, "dagan-work")

    def results() -> Iterator[T]:
        running: deque[Future[T]] = deque()
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) == 3 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)


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
