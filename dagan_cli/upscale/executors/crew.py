"""Give units of work to idle workers, and repeat those of workers that died.

When nothing else is left to begin, an idle worker takes a copy of the segment that takes longest, if it takes far
longer than others did: a film does not wait for one slow worker. The first answer counts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from dagan_cli.upscale.events import Event, Stopped
from dagan_cli.upscale.executors.units import (
    Answer,
    Died,
    Done,
    Inputs,
    Message,
    Piece,
    Raised,
    Told,
    Unit,
    WorkerDied,
)

_RETRIES = 2  # times that a unit is repeated after its worker has died
_SLOW = 2.0  # times the usual duration of a segment, after which another worker may take a copy of it
_LAST_CHANCE = 3  # workers that die in a row in one place, with nothing done, before the place is given up


class Member(Protocol):
    """A worker, somewhere; it is sent one unit at a time."""

    @property
    def name(self) -> str:
        """Where it computes, for people: "cuda:1"."""
        ...

    def send(self, unit: Unit) -> None:
        """Let it perform a unit. Its end may come as a message, even here."""
        ...

    def stop(self) -> None:
        """Let it end its unit soon, with `Raised(Stopped())`."""
        ...


class Pool(Protocol):
    """Where workers live. One thread uses it."""

    def places(self) -> list[str]:
        """Return the places that can hold a worker now, one each, by name."""
        ...

    def hire(self, place: str) -> Member:
        """Start a worker in a place; it may take its first unit at once."""
        ...

    def wait(self, seconds: float) -> list[tuple[Member, Message]]:
        """Return messages as soon as there are some, or none after so many seconds."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


@dataclass(eq=False, slots=True)
class Task:
    """A unit that is to be done."""

    unit: Unit
    tell: Callable[[str, Event], None]  # receives the name of the worker, and what it tells
    answer: Future[tuple[str, Answer]] = field(default_factory=Future)  # the name of the worker, and its answer
    deaths: list[str] = field(default_factory=list)  # places of the workers that died over it
    since: float | None = None  # when it was given to its first worker
    copies: int = 0  # workers that have it


class Crew:
    """Workers of a pool. `submit` may be called by any thread, everything else by one."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._usual = 0.0  # seconds that a segment takes, on average of the last ones
        self._waiting: deque[Task] = deque()
        self._lock = threading.Lock()
        self._busy: dict[Member, Task] = {}
        self._idle: list[Member] = []
        self._places: dict[Member, str] = {}
        self._fruitless: dict[str, int] = {}  # workers that died in a place since one has done a unit there
        self._why = ""  # the last worker died
        self._stops = False

    @property
    def size(self) -> int:
        """How many workers there can be."""
        return max(1, len(self._usable()))

    @property
    def appetite(self) -> int:
        """How many more units would be begun, or given up, at once."""
        return self.size - len(self._busy) - len(self._waiting)

    def submit(self, unit: Unit, tell: Callable[[str, Event], None], deaths: list[str] | None = None) -> Task:
        """Let a worker do a unit; `tell` is called by the thread of `pump`. `deaths`: places where it failed before.

        The answer raises what the worker raises, Stopped, or WorkerDied.
        """
        task = Task(unit, tell, deaths=list(deaths or ()))
        with self._lock:
            self._waiting.append(task)
        return task

    def pump(self, seconds: float) -> None:
        """Hand out units, and take in what workers say; wait for that at most so long."""
        self._assign()
        for member, message in self._pool.wait(seconds):
            self._take(member, message)
        self._assign()

    def stop(self) -> None:
        """Ask all workers to stop, and begin no more units."""
        self._stops = True
        for member in self._busy:
            member.stop()
        self._end_waiting(Stopped())

    def close(self) -> None:
        """End all workers; units that are not done raise Stopped."""
        self._pool.close()
        for task in self._busy.values():
            _fail(task, Stopped())
        self._busy.clear()
        self._stops = True
        self._end_waiting(Stopped())

    def _usable(self) -> list[str]:
        return [place for place in self._pool.places() if self._fruitless.get(place, 0) < _LAST_CHANCE]

    def _assign(self) -> None:
        if self._stops:
            self._end_waiting(Stopped())
            return
        usable = self._usable()
        if not usable and not self._busy:
            self._end_waiting(WorkerDied(self._why or "there is no worker"))
            return
        while (task := self._next()) is not None:
            member = self._member_for(task, usable)
            if member is None:
                with self._lock:
                    self._waiting.appendleft(task)
                return
            self._give(task, member)
        self._copy_slowest(usable)

    def _give(self, task: Task, member: Member) -> None:
        self._busy[member] = task
        task.copies += 1
        task.since = self._clock() if task.since is None else task.since
        member.send(task.unit)

    def _copy_slowest(self, usable: list[str]) -> None:
        """Give the segment that has taken longest to an idle worker too, if it takes far longer than usual."""
        if not self._idle or not self._usual:
            return
        late = self._clock() - _SLOW * self._usual
        alone = [task for task in self._busy.values() if isinstance(task.unit, Piece) and task.copies == 1]
        slow = min(alone, key=lambda task: task.since or 0.0, default=None)
        if slow is None or slow.since is None or slow.since > late or slow.answer.done():
            return
        if (member := self._member_for(slow, usable)) is not None:
            self._give(slow, member)

    def _next(self) -> Task | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _member_for(self, task: Task, usable: list[str]) -> Member | None:
        """Return an idle worker or a new one, if possible in a place where the task has not failed."""
        taken = set(self._places.values())
        free = [place for place in usable if place not in taken]
        unlike = [place for place in usable if place not in task.deaths]
        for member in self._idle:
            if self._places[member] not in task.deaths or not unlike:
                self._idle.remove(member)
                return member
        for place in free:
            if place not in task.deaths or not unlike:
                member = self._pool.hire(place)
                self._places[member] = place
                return member
        return None

    def _take(self, member: Member, message: Message) -> None:
        if isinstance(message, Died):
            self._bury(member, message.reason)
            return
        task = self._busy.get(member)
        if task is None:  # it was asked to stop, and has just been done
            return
        if isinstance(message, Told):
            task.tell(self._places[member], message.event)
            return
        del self._busy[member]
        self._idle.append(member)
        task.copies -= 1
        if isinstance(message, Done):
            self._fruitless.pop(self._places[member], None)
            if isinstance(task.unit, Piece) and task.since is not None:
                took = self._clock() - task.since
                self._usual = 0.8 * self._usual + 0.2 * took if self._usual else took
            if not task.answer.done():
                task.answer.set_result((self._places[member], message.answer))
        else:
            assert isinstance(message, Raised)
            if task.copies and not message.is_fatal:
                return  # another worker has it too
            _fail(task, Fatal(message.error) if message.is_fatal else message.error)

    def _bury(self, member: Member, reason: str) -> None:
        place = self._places.pop(member, member.name)
        with suppress(ValueError):
            self._idle.remove(member)
        task = self._busy.pop(member, None)
        self._why = reason
        if task is None:
            return
        task.copies -= 1
        self._fruitless[place] = self._fruitless.get(place, 0) + 1
        if self._stops:
            _fail(task, Stopped())
            return
        if task.copies or task.answer.done():
            return
        task.deaths.append(place)
        is_single = not (isinstance(task.unit, Inputs) and len(task.unit.jobs) > 1)
        if not is_single or len(task.deaths) > _RETRIES:
            _fail(task, WorkerDied(reason))
            return
        with self._lock:
            self._waiting.appendleft(task)

    def _end_waiting(self, error: Exception) -> None:
        while (task := self._next()) is not None:
            _fail(task, error)


class Fatal(Exception):
    """No worker can work for this request: `error` says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _fail(task: Task, error: Exception) -> None:
    if not task.answer.done():
        task.answer.set_exception(error)
