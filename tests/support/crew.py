"""A pool whose workers are threads of the test, and that can be made to fail at will."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from dagan_cli.errors import DaganError
from dagan_cli.upscale.events import Event, Stopped
from dagan_cli.upscale.executors.units import Died, Done, Message, Raised, Told, Unit
from dagan_cli.upscale.executors.worker import Worker
from dagan_cli.upscale.request import Request

Deadly = Callable[[str, Unit, Event | None], bool]


class Death(BaseException):
    """A worker dies in the middle of its unit."""


class Member:
    def __init__(self, name: str, pool: Threads) -> None:
        self.name = name
        self._pool = pool
        self._stops = threading.Event()
        self.units: SimpleQueue[Unit | None] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, unit: Unit) -> None:
        self.units.put(unit)

    def stop(self) -> None:
        self._stops.set()

    def _run(self) -> None:
        worker, pool, is_ready = Worker(pool_request(self._pool), "cpu"), self._pool, False
        while (unit := self.units.get()) is not None:

            def tell(event: Event, unit: Unit = unit) -> None:
                if pool.deadly(self.name, unit, event):
                    raise Death
                pool.said.put((self, Told(event)))

            try:
                if pool.deadly(self.name, unit, None):
                    raise Death
                if not is_ready:
                    worker.prepare()
                    is_ready = True
                message: Message = Done(worker.perform(unit, tell, self._stops.is_set))
            except Death:
                pool.said.put((self, Died("it was told to")))
                return
            except (DaganError, Stopped) as error:
                message = Raised(error, is_fatal=isinstance(error, DaganError) and not is_ready)
            except Exception as error:
                message = Raised(error)
            pool.units[self.name] = pool.units.get(self.name, 0) + 1
            pool.said.put((self, message))


class Threads:
    """`deadly` is asked before each unit, and for each event; True lets the worker die."""

    def __init__(
        self, request: Request, names: tuple[str, ...] = ("one", "two"), deadly: Deadly = lambda *_: False
    ) -> None:
        self.request = request
        self.names = names
        self.deadly = deadly
        self.said: SimpleQueue[tuple[Member, Message]] = SimpleQueue()
        self.units: dict[str, int] = {}  # that each worker has ended
        self.hired: list[str] = []
        self._members: list[Member] = []

    def places(self) -> list[str]:
        return list(self.names)

    def hire(self, place: str) -> Member:
        self.hired.append(place)
        self._members.append(Member(place, self))
        return self._members[-1]

    def wait(self, seconds: float) -> list[tuple[Member, Message]]:
        found, until = [], time.monotonic() + seconds
        try:
            while True:
                left = 0 if found else max(0.0, until - time.monotonic())
                found.append(self.said.get(timeout=left) if left else self.said.get_nowait())
        except Empty:
            return found

    def close(self) -> None:
        for member in self._members:
            member.stop()
            member.units.put(None)


def pool_request(pool: Threads) -> Request:
    return pool.request
