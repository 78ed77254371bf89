"""A worker on a node of a cluster: the methods that the first process calls, over the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from dagan_cli.errors import DaganError
from dagan_cli.files import Folder, read_regular
from dagan_cli.upscale.events import Advance, Event, Stopped
from dagan_cli.upscale.executors.units import Done, Message, Piece, Raised, Told, Unit, sendable
from dagan_cli.upscale.remote.spool import open_spool
from dagan_cli.upscale.request import Request
from dagan_cli.version import __version__

if TYPE_CHECKING:  # it imports torch
    from dagan_cli.upscale.executors.worker import Worker

_LEAVING = 8.0  # seconds that a unit has to end when the worker leaves


@dataclass(frozen=True, slots=True)
class Mark:
    """What a node recognises a file of the first machine by, if both share a disk or a network folder."""

    path: Path
    size: int  # bytes
    time: int  # of its last change, nanoseconds
    content: bytes = b""  # of a small file with random content, which is compared instead

    @classmethod
    def of(cls, path: Path, content: bytes = b"") -> Mark:
        """Describe a file as this machine sees it. Raises OSError."""
        facts = path.stat()
        return cls(path, facts.st_size, facts.st_mtime_ns, content)

    @property
    def is_seen(self) -> bool:
        """True if this machine sees the same file."""
        try:
            if self.content:  # random: times of a new file may not have reached all machines
                return read_regular(self.path, len(self.content)) == self.content
            facts = self.path.stat()
            return (facts.st_size, facts.st_mtime_ns) == (self.size, self.time)
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides pixels on a node, besides the request."""

    device: str  # its name, such as NVIDIA H200, or what a CPU can do
    precision: str  # such as float16
    runtime: str  # torch or openvino
    versions: str

    @property
    def words(self) -> str:
        return f"{self.device}, {self.precision}, {self.runtime}, {self.versions}"


class Hand:
    """A worker on a node. One unit is performed at a time; the other methods answer meanwhile."""

    def __init__(self, request: Request, device: str, threads: int) -> None:
        folder = request.engine.folder
        engine = replace(request.engine, folder=folder if folder and folder.is_dir() else None)
        self._request = replace(request, engine=engine)
        self._device = device
        self._threads = threads
        self._stops = threading.Event()
        self._worker: Worker | None = None
        self._works: threading.Thread | None = None
        self._spool: Path | None = None
        self._open = ExitStack()

    def ready(self, model: str | None) -> Kind | DaganError:
        """Load the model, perhaps from another file than the request names; return what this node is, or why not."""
        import torch

        from dagan_cli.engine.precision import choose
        from dagan_cli.upscale.executors.worker import Worker

        torch.set_num_threads(self._threads)
        options = self._request.engine
        request = replace(self._request, model=replace(self._request.model, name=model))
        try:
            choice = choose(self._device, options.precision, runtime=options.runtime, compiles=True)
            worker = Worker(request, self._device)
            worker.prepare()
        except DaganError as error:
            return error
        self._worker = worker
        if choice.device.type == "cuda":
            name = torch.cuda.get_device_name(choice.device)
        else:
            name = f"{choice.name.upper()} with {torch.backends.cpu.get_cpu_capability()}"
        versions = f"dagan {__version__}, torch {torch.__version__}, av {version('av')}"
        return Kind(name, str(choice.dtype).removeprefix("torch."), choice.runtime, versions)

    def sees(self, marks: Sequence[Mark]) -> list[bool]:
        """Return which files of the first machine are here."""
        return [mark.is_seen for mark in marks]

    def perform(self, unit: Unit) -> Iterator[list[Message]]:
        """Do one unit; yield what it tells as it does, and its end as the last message."""
        said: SimpleQueue[Message] = SimpleQueue()
        self._works = threading.Thread(target=self._perform, args=(unit, said), name="dagan-unit", daemon=True)
        self._works.start()
        ends = False
        while not ends:
            messages = [said.get()]
            with suppress(Empty):
                while True:
                    message = said.get_nowait()
                    if _is_step(message) and _is_step(messages[-1]):
                        messages.pop()  # only the last step counts
                    messages.append(message)
            ends = not isinstance(messages[-1], Told)
            yield messages

    def stop(self) -> None:
        """Let the unit end soon."""
        self._stops.set()

    def spool(self) -> Path:
        """Return the folder for files of other machines. Raises CannotWrite, BadOption."""
        if self._spool is None:
            self._spool = self._open.enter_context(open_spool()).own
        return self._spool

    def store(self, path: Path, data: bytes) -> None:
        """Append to a file in the spool folder. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with Folder.opened(path.parent) as folder, folder.append(path.name) as file:
            file.write(data)

    def part(self, path: Path, start: int, most: int) -> bytes:
        """Return a part of a file in the spool folder. Raises OSError."""
        with Folder.opened(path.parent) as folder, folder.read(path.name) as file:
            file.seek(start)
            return file.read(most)

    def drop(self, paths: Sequence[Path]) -> None:
        """Remove files from the spool folder."""
        for path in paths:
            with suppress(OSError), Folder.opened(path.parent) as folder:
                folder.remove(path.name)

    def leave(self) -> None:
        """Stop, and remove the spool folder."""
        self._stops.set()
        if self._works is not None:
            self._works.join(_LEAVING)
        self._open.close()
        self._spool = None

    def _perform(self, unit: Unit, said: SimpleQueue[Message]) -> None:
        def tell(event: Event) -> None:
            said.put(Told(event))

        assert self._worker is not None
        try:
            if self._stops.is_set():
                raise Stopped
            if isinstance(unit, Piece) and self._spool is not None and unit.folder.is_relative_to(self._spool):
                unit.folder.mkdir(parents=True, exist_ok=True)
            said.put(Done(self._worker.perform(unit, tell, self._stops.is_set)))
        except Exception as error:
            said.put(Raised(sendable(error)))


def _is_step(message: Message) -> bool:
    return isinstance(message, Told) and isinstance(message.event, Advance)
