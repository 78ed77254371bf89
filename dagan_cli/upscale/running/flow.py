"""Overlap the stages of images: the next ones are read and the previous ones written while one is computed.

Only the main thread computes, and only it tells events, in the order of the inputs: what later inputs tell waits for
the results of earlier ones. Files get their names in that order too, so that a run that ends early leaves what a run of
one image at a time would have left. The images in flight are limited in number and in bytes; a larger one is alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dagan_cli.device import free_host_memory
from dagan_cli.engine.memory import attempt
from dagan_cli.errors import CannotWrite
from dagan_cli.files import acting_for
from dagan_cli.prefetch import processors
from dagan_cli.upscale.events import Event, Item, Tell, failed
from dagan_cli.upscale.picture import Made, Opened, bytes_of, open_ahead, out_of_memory
from dagan_cli.upscale.work import Work

_MOST_BYTES = 1 << 30  # of all images in flight, before and after upscaling
_SHARE = 8  # and at most this part of the free memory


class _Dropped(Exception):
    """The work on an image has no purpose any more: the run has ended, or an earlier image ended it."""


class Budget:
    """Room for images in flight: `count` of them, with `size` bytes together; one that is larger is alone."""

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._taken: list[int] = []
        self._is_closed = False
        self._changed = threading.Condition()

    def take(self, size: int) -> Callable[[], None]:
        """Wait until there is room; return what gives it back. Raises _Dropped once the budget is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._fits(size))
            if self._is_closed:
                raise _Dropped
            self._taken.append(size)
        return lambda: self._give(size)

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._taken or (len(self._taken) < self._count and sum(self._taken) + size <= self._size)

    def _give(self, size: int) -> None:
        with self._changed:
            self._taken.remove(size)
            self._changed.notify_all()


class _Outcome(NamedTuple):
    """End of the writing of an image: what went wrong, and the seconds of work."""

    error: Exception | None
    seconds: float

    @property
    def ends_the_batch(self) -> bool:
        return isinstance(self.error, _Dropped) or (isinstance(self.error, CannotWrite) and self.error.ends_the_batch)


@dataclass(slots=True)
class _Result:
    """An image that is computed and being written."""

    item: Item  # if nothing goes wrong; its seconds are those before writing
    outcome: Future[_Outcome]


@dataclass(slots=True)
class _Later:
    """An event that waits for the results before it."""

    event: Event
    tell: Tell


class Flow:
    """Images on their way, for one run; leaving the block ends the threads, after what is being written."""

    def __init__(self, work: Work, images: Iterable[tuple[Path, Path] | None]) -> None:
        """`images` will be asked for in this order: input and target; None is where no other may be read ahead."""
        self.error: CannotWrite | None = None  # of the disk, because of which the run cannot go on
        self._tell, self._should_stop = work.tell, work.should_stop
        self._engines_tell = work.engines.tell
        self.work = replace(work, tell=self.teller(work.tell), should_stop=self.should_stop)
        self._thread, threads = threading.get_ident(), processors()
        self._ahead = threads + 3
        self._budget = Budget(self._ahead, min(_MOST_BYTES, free_host_memory() // _SHARE))
        self._readers = ThreadPoolExecutor(1, "dagan-read")
        self._writers = ThreadPoolExecutor(threads, "dagan-write")
        self._next = deque(images)
        self._read: dict[Path, Future[Opened]] = {}
        self._told: deque[_Result | _Later] = deque()
        self._last: Future[_Outcome] | None = None

    def __enter__(self) -> Flow:
        self.work.engines.tell = self.teller(self._engines_tell)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.drain()
        finally:
            self._budget.close()
            for path in list(self._read):
                self.forget(path)
            self._readers.shutdown()
            self._writers.shutdown()
            self.work.engines.tell = self._engines_tell

    def teller(self, tell: Tell) -> Tell:
        """Return a receiver of events that passes each on to `tell` once all results before it are told."""

        def later(event: Event) -> None:
            self._told.append(_Later(event, tell))
            self._settle()

        return later

    def should_stop(self) -> bool:
        """True if the user asked for it, or the disk is full. Any thread may call it."""
        if threading.get_ident() == self._thread:
            self._settle()
        return self.error is not None or self._should_stop()

    def opened(self, path: Path, target: Path, stack: ExitStack) -> Opened:
        """Return an image, opened and decoded, to be closed by `stack`. Raises BadInput."""
        self._read_ahead(path, target)
        reading = self._read.pop(path)
        while not reading.done():
            awaited: list[Future[Any]] = [entry.outcome for entry in self._told if isinstance(entry, _Result)][:1]
            wait([reading, *awaited], return_when=FIRST_COMPLETED)
            self._settle()
        opened = reading.result()
        stack.callback(opened.close)
        return opened

    def forget(self, path: Path) -> None:
        """Close an image that may have been read ahead, and is not needed."""
        if (reading := self._read.pop(path, None)) is not None and not reading.cancel():
            reading.add_done_callback(lambda done: None if done.exception() else done.result().close())

    def write(self, made: Made, item: Item, stack: ExitStack) -> None:
        """Write an image that is computed, in another thread, and close `stack` then; its Item is told in its turn."""
        before = self._last

        def written() -> _Outcome:
            started, waited = time.monotonic(), 0.0

            def turn() -> None:
                nonlocal waited
                arrived = time.monotonic()
                if before is not None and before.result().ends_the_batch:
                    raise _Dropped
                waited = time.monotonic() - arrived

            error = None
            try:
                with stack, acting_for(self._thread):
                    if attempt(lambda: made.write(turn) or True) is None:
                        raise out_of_memory(made.path)
            except Exception as raised:
                error = raised
            return _Outcome(error, time.monotonic() - started - waited)

        self._last = self._writers.submit(written)
        self._told.append(_Result(item, self._last))
        self._settle()

    def drain(self) -> bool:
        """Wait until all images that are computed are written and told; return False if there was none."""
        if not self._told:
            return False
        for entry in list(self._told):
            if isinstance(entry, _Result):
                wait([entry.outcome])
        self._settle()
        return True

    def _read_ahead(self, path: Path, target: Path) -> None:
        if path not in self._read:
            while self._next and self._next.popleft() != (path, target):
                pass  # its place in the order, behind those that were not needed
            self._read[path] = self._readers.submit(self._open, path, target)
        while len(self._read) < self._ahead and self._next and (following := self._next[0]):
            self._read[following[0]] = self._readers.submit(self._open, *following)
            self._next.popleft()

    def _open(self, path: Path, target: Path) -> Opened:
        request = self.work.request
        return open_ahead(path, self.work, lambda info: self._budget.take(bytes_of(info, target, request)))

    def _settle(self) -> None:
        """Tell what can be told by now."""
        while self._told:
            entry = self._told[0]
            if isinstance(entry, _Result) and not entry.outcome.done():
                return
            self._told.popleft()
            if self.error is not None:
                continue  # what came after it is as if it had not been tried
            if isinstance(entry, _Later):
                entry.tell(entry.event)
                continue
            error, seconds = entry.outcome.result()
            item, seconds = entry.item, entry.item.seconds + seconds
            if error is None:
                self._tell(replace(item, seconds=seconds))
                continue
            self._tell(replace(failed(item.input, error), output=item.output, seconds=seconds))
            if isinstance(error, CannotWrite) and error.ends_the_batch:
                self.error = error
