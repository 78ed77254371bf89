"""Workers in processes of this machine, one for each device."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from dagan_cli.prefetch import processors
from dagan_cli.upscale.events import Stopped
from dagan_cli.upscale.executors.crew import Member
from dagan_cli.upscale.executors.units import Died, Done, Message, Raised, Told, Unit, sendable
from dagan_cli.upscale.request import Request

_STOP = "stop"  # what is sent instead of a unit
_END = "end"
Serve = Callable[[Any, Request, str, int], None]

_LEAVING = 10.0  # seconds that a worker has to end by itself


@dataclass(eq=False)
class _Process:
    """A worker in a process of its own, and our end of the pipe to it."""

    name: str
    process: BaseProcess
    pipe: Any  # a connection of `multiprocessing`
    is_dead: bool = False

    def send(self, unit: Unit | str) -> None:
        with suppress(OSError):  # its death is noticed by what it does not say
            self.pipe.send(unit)

    def stop(self) -> None:
        self.send(_STOP)


@dataclass
class Processes:
    """A pool of local processes; `devices` has an entry for each, which may be equal.

    Where the system can, they are forked from a server that has loaded PyTorch, and used it for nothing.
    """

    request: Request
    devices: Sequence[str]
    serve: Serve | None = None  # what a process runs; None: `_serve`
    _members: dict[str, _Process] = field(default_factory=dict)  # by place

    def places(self) -> list[str]:
        """Return one name for each worker: the device, with a number where it has several."""
        several = {device for device in self.devices if self.devices.count(device) > 1}
        counts: dict[str, int] = {}
        names = []
        for device in self.devices:
            counts[device] = counts.get(device, 0) + 1
            names.append(f"{device} ({counts[device]})" if device in several else device)
        return names

    def hire(self, place: str) -> Member:
        """Start a process in a place."""
        context = _context()
        ours, theirs = context.Pipe()
        device = self.devices[self.places().index(place)]
        threads = max(1, processors() // len(self.devices))
        shares = {"on_device": self.devices.count(device), "on_machine": len(self.devices)}
        request = replace(self.request, engine=replace(self.request.engine, **shares))
        arguments = theirs, request, device, threads
        process = context.Process(target=self.serve or _serve, args=arguments, name=f"dagan {place}", daemon=True)
        with _signals_held():
            process.start()
        theirs.close()
        self._members[place] = member = _Process(place, process, ours)
        return member

    def wait(self, seconds: float) -> list[tuple[Member, Message]]:
        """Return what workers say, or that they have died."""
        members = [member for member in self._members.values() if not member.is_dead]
        by_pipe: dict[Any, _Process] = {member.pipe: member for member in members}
        said: list[tuple[Member, Message]] = []
        for pipe in wait(list(by_pipe), seconds):
            member = by_pipe[pipe]
            try:
                said.append((member, member.pipe.recv()))
            except (EOFError, OSError):
                member.is_dead = True
                said.append((member, Died(_end_of(member.process))))
        return said

    def close(self) -> None:
        """End all workers; those that do not react are killed."""
        for member in self._members.values():
            member.send(_END)
            member.pipe.close()
        for member in self._members.values():
            member.process.join(_LEAVING)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dagan_cli.upscale.executors.worker"])
    return context


def _end_of(process: BaseProcess) -> str:
    """Return how a process has ended, in words."""
    process.join(_LEAVING)
    code = process.exitcode
    if code is None:
        process.kill()
        return "it closed its pipe"
    if code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            why = ", perhaps by the system for lack of memory" if -code == getattr(signal, "SIGKILL", 9) else ""
            return f"it was ended by {name}{why}"
    return f"it ended with code {code}"


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start processes that are not reached by Ctrl-C, nor by SIGTERM: the first process tells them to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start ends with the signals let through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, request: Request, device: str, threads: int) -> None:
    """Be a worker: perform units until the pipe closes, or the first process says so."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    stops = threading.Event()
    units: SimpleQueue[Unit | None] = SimpleQueue()

    def receive() -> None:
        while True:
            try:
                given = pipe.recv()
            except (EOFError, OSError):  # the first process has died
                given = _END
            if given == _END:
                stops.set()
                units.put(None)
                return
            if given == _STOP:
                stops.set()
            else:
                units.put(given)

    threading.Thread(target=receive, name="dagan-receive", daemon=True).start()
    with suppress(BrokenPipeError, ConnectionError):
        _work(pipe, units, stops, request, device, threads)


def _work(
    pipe: Connection,
    units: SimpleQueue[Unit | None],
    stops: threading.Event,
    request: Request,
    device: str,
    threads: int,
) -> None:
    lock = threading.Lock()

    def say(message: Message) -> None:
        with lock:
            pipe.send(message)

    import torch

    from dagan_cli.errors import DaganError
    from dagan_cli.upscale.executors.worker import Worker

    torch.set_num_threads(threads)
    worker, is_ready = Worker(request, device), False
    while (unit := units.get()) is not None:
        try:
            if stops.is_set():
                raise Stopped
            if not is_ready:
                worker.prepare()
                is_ready = True
            say(Done(worker.perform(unit, lambda event: say(Told(event)), stops.is_set)))
        except (BrokenPipeError, ConnectionError):
            raise
        except DaganError as error:
            say(Raised(error, is_fatal=not is_ready))
        except Exception as error:
            say(Raised(sendable(error)))
