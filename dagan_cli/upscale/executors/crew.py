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
from statistics import median
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
_SLOW = 1.5  # times the usual duration of a segment, after which another worker may take a copy of it
_LATE = 1.0  # seconds beyond the usual duration, at least, before that
_LAST = 31  # segments whose median is the usual duration
_LOOK = 1.0  # seconds between looks for new places while all workers are busy
_LAST_CHANCE = 3  # workers that die in a row in one place, with nothing done, before the place is given up


class Member(Protocol):
    """A worker, somewhere; it is sent one unit at a time."""

    @property
    def name(self) -> str:
        """Name of the place where it computes, such as "cuda:1"."""
        ...

    def send(self, unit: Unit) -> None:
        """Let it perform a unit. Its end may come as a message, even here."""
        ...

    def stop(self) -> None:
        """Let it end its unit soon, with `Raised(Stopped())`."""
        ...


class Pool(Protocol):
    """A source of workers, which one thread uses."""

    def places(self) -> list[str]:
        """Return the places that can hold a worker now, one each, by name."""
        ...

    def hire(self, place: str) -> Member:
        """Start a worker in a place; it may take its first unit at once."""
        ...

    def wait(self, seconds: float) -> list[tuple[Member, Message]]:
        """Return messages as soon as there are some, or none after `seconds`."""
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
    copies: int = 0  # workers that have it


class Crew:
    """Workers of a pool. `submit` may be called by any thread, everything else by one."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._took: deque[float] = deque(maxlen=_LAST)  # seconds that workers took for the last segments
        self._began: dict[Member, float] = {}  # when workers were given their units
        self._waiting: deque[Task] = deque()
        self._lock = threading.Lock()
        self._busy: dict[Member, Task] = {}
        self._idle: list[Member] = []
        self._places: dict[Member, str] = {}
        self._fruitless: dict[str, int] = {}  # workers that died in a place since one has done a unit there
        self._given_up: set[str] = set()  # places
        self._full_until = 0.0  # no place is free before
        self._why = ""  # the last worker died
        self._stops = False

    @property
    def size(self) -> int:
        """Number of workers there can be, at least 1."""
        return max(1, len(self._usable()))

    @property
    def appetite(self) -> int:
        """Number of units that would be started, or given up, at once."""
        return self.size - len(self._busy) - len(self._waiting)

    def submit(self, unit: Unit, tell: Callable[[str, Event], None], deaths: list[str] | None = None) -> Task:
        """Let a worker do a unit; `tell` is called by the thread of `pump`. `deaths`: places where it failed before.

        The answer raises what the worker raises, Stopped, or WorkerDied.
        """
        task = Task(unit, tell, deaths=list(deaths or ()))
        with self._lock:
            if not self._stops:
                self._waiting.append(task)
                return task
        _fail(task, Stopped())
        return task

    def pump(self, seconds: float) -> None:
        """Hand out units, and take in what workers say; wait for that at most so long."""
        self._assign()
        for member, message in self._pool.wait(seconds):
            self._take(member, message)
        self._assign()

    def stop(self) -> None:
        """Ask all workers to stop, and begin no more units."""
        self._begin_no_more()
        for member in self._busy:
            member.stop()
        self._end_waiting(Stopped())

    def close(self) -> None:
        """End all workers; units that are not done raise Stopped."""
        self._pool.close()
        for task in self._busy.values():
            _fail(task, Stopped())
        self._busy.clear()
        self._begin_no_more()
        self._end_waiting(Stopped())

    def _begin_no_more(self) -> None:
        with self._lock:
            self._stops = True

    def _usable(self) -> list[str]:
        places = self._pool.places()
        return [place for place in places if place not in self._given_up] if self._given_up else places

    def _assign(self) -> None:
        if self._stops:
            self._end_waiting(Stopped())
            return
        if not self._idle and (not self._waiting or self._clock() < self._full_until):
            return  # as after most messages, of which a thousand workers send many
        usable = self._usable()
        if not usable and not self._busy:
            self._end_waiting(WorkerDied(self._why or "there is no worker"))
            return
        free = self._free_of(usable)
        while (self._idle or free) and (task := self._next()) is not None:
            member = self._member_for(task, usable, free)
            if member is None:
                with self._lock:
                    self._waiting.appendleft(task)
                return
            self._give(task, member)
        if not free:
            self._full_until = self._clock() + _LOOK
        self._copy_slowest(usable, free)

    def _free_of(self, usable: list[str]) -> list[str]:
        """Return the places without a worker."""
        taken = set(self._places.values())
        return [] if taken.issuperset(usable) else [place for place in usable if place not in taken]

    def _give(self, task: Task, member: Member) -> None:
        self._busy[member] = task
        task.copies += 1
        self._began[member] = self._clock()
        member.send(task.unit)

    def _copy_slowest(self, usable: list[str], free: list[str]) -> None:
        """Give the segment that has taken longest to an idle worker too, if it takes far longer than usual."""
        if not self._idle or not self._took:
            return
        alone = (member for member, task in self._busy.items() if _may_be_copied(task))
        slowest = next(alone, None)  # workers are in the order in which they were given their units
        usual = median(self._took)
        if slowest is None or self._clock() - self._began[slowest] < max(_SLOW * usual, usual + _LATE):
            return
        slow = self._busy[slowest]
        if (member := self._member_for(slow, usable, free)) is not None:
            self._give(slow, member)

    def _next(self) -> Task | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _member_for(self, task: Task, usable: list[str], free: list[str]) -> Member | None:
        """Return an idle worker or a new one, if possible in a place where the task has not failed."""
        is_free = not task.deaths or all(place in task.deaths for place in usable)
        for number, member in enumerate(self._idle):
            if is_free or self._places[member] not in task.deaths:
                return self._idle.pop(number)
        for number, place in enumerate(free):
            if is_free or place not in task.deaths:
                member = self._pool.hire(free.pop(number))
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
            if isinstance(task.unit, Piece):
                self._took.append(self._clock() - self._began[member])
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
        self._began.pop(member, None)
        self._full_until = 0.0
        self._why = reason
        if task is None:
            return
        task.copies -= 1
        self._fruitless[place] = self._fruitless.get(place, 0) + 1
        if self._fruitless[place] >= _LAST_CHANCE:
            self._given_up.add(place)
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


def _may_be_copied(task: Task) -> bool:
    return isinstance(task.unit, Piece) and task.copies == 1 and not task.answer.done()


def _fail(task: Task, error: Exception) -> None:
    if not task.answer.done():
        task.answer.set_exception(error)
