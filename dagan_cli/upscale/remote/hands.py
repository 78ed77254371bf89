"""Threads that wait for servers. At the end nobody waits for them: one may hang until its server answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_Task = tuple[Future[object], Callable[[], object]]


class Hands:
    """A few threads that do tasks in the order in which they were given."""

    def __init__(self, count: int, name: str) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._left, self._count, self._name = count, count, name

    def do(self, task: Callable[[], T]) -> Future[T]:
        """Give a task; its result or error is in the Future."""
        future: Future[T] = Future()
        self._tasks.put((future, task))  # type: ignore[arg-type]
        if not self._idle.acquire(blocking=False) and self._left:
            self._left -= 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Let each thread end after the tasks that were given so far; no more are given."""
        for _ in range(self._count - self._left):
            self._tasks.put(None)

    def _work(self) -> None:
        while (given := self._tasks.get()) is not None:
            future, task = given
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(task())
                except BaseException as error:
                    future.set_exception(error)
            self._idle.release()
