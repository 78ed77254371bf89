"""Look at the next inputs and fetch them while one is upscaled, as many as the spool has room for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from dagan_cli.errors import DaganError
from dagan_cli.files import remove_tree, write_errors
from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.fetch import fetch
from dagan_cli.media.remote.patience import Permanent
from dagan_cli.media.remote.store import Stores
from dagan_cli.upscale.remote.existing import Existing, Looked, look
from dagan_cli.upscale.remote.hands import Hands
from dagan_cli.upscale.remote.sources import Entry, Family, Inputs, as_input_error
from dagan_cli.upscale.remote.spool import Spool, create, discard
from dagan_cli.upscale.request import Request

_LOOKED_AT = 16  # families
_LOOKERS, _FETCHERS = 8, 4  # threads


@dataclass(slots=True, eq=False)
class Load:
    """Inputs of one family on their way to this machine."""

    family: Family
    looking: list[Future[Looked]]
    fetching: dict[Entry, Future[Path]] = field(default_factory=dict)
    errors: dict[Entry, DaganError] = field(default_factory=dict)
    existing: dict[Entry, tuple[Existing, ...]] = field(default_factory=dict)  # where results could go
    due: list[Entry] | None = None  # those to fetch and upscale, once it is decided
    folder: Path | None = None  # of the spool, with the files
    room: tuple[int, int] = 0, 0  # files and bytes of the spool
    received: dict[Entry, tuple[int, int | None]] = field(default_factory=dict)  # bytes so far, and in all if known

    def is_here(self) -> bool:
        """True if all of its files are fetched, or have failed."""
        return all(future.done() for future in self.fetching.values())

    def paths(self) -> Iterator[tuple[Entry, Path]]:
        """Yield the inputs that are here, with their files; the errors of the others are added."""
        for entry, future in self.fetching.items():
            error = future.exception()
            if error is None:
                yield entry, future.result()
            else:
                self.fail(entry, error)

    def fail(self, entry: Entry, error: BaseException) -> None:
        """Note why an input cannot be upscaled. Raises Cancelled, and bugs."""
        if isinstance(error, Permanent):
            self.errors[entry] = as_input_error(entry.path, error)
        elif isinstance(error, DaganError):
            self.errors[entry] = error
        else:
            raise error


class Ahead:
    """The inputs of a run in their order. `decide` says what is done with a family that was looked at: see `Load`."""

    def __init__(
        self,
        inputs: Inputs,
        request: Request,
        stores: Stores,
        spool: Spool,
        is_over: Callable[[], bool],
        decide: Callable[[Load, dict[Entry, Looked]], list[Entry]],
    ) -> None:
        self._inputs, self._request, self._stores, self._spool = inputs, request, stores, spool
        self._is_over, self._decide = is_over, decide
        self._families = inputs.families()
        self._lookers, self._fetchers = Hands(_LOOKERS, "dagan-look"), Hands(_FETCHERS, "dagan-fetch")
        self._looking: deque[Load] = deque()
        self._loads: deque[Load] = deque()
        self._is_pumping = False

    def pump(self) -> None:
        """Start what can be started. Only the main thread calls it, and often."""
        if self._is_pumping:  # an event of a model that is loaded to decide
            return
        self._is_pumping = True
        try:
            self._pump()
        finally:
            self._is_pumping = False

    def _pump(self) -> None:
        while len(self._looking) < _LOOKED_AT and (family := next(self._families, None)) is not None:
            looking = [self._lookers.do(lambda entry=entry: self._look(entry)) for entry in family]
            self._looking.append(Load(family, looking))
        while self._looking and all(future.done() for future in self._looking[0].looking):
            if not self._started(self._looking[0]):
                break
            self._loads.append(self._looking.popleft())

    def next(self, joins: Callable[[Load, Load], bool], most: int) -> list[Load] | None:
        """Return the next families that are here and join the first; [] if it is not here yet, None at the end."""
        if not self._loads:
            return [] if self._looking else None
        found: list[Load] = []
        while self._loads and len(found) < most and self._loads[0].is_here():
            if found and not joins(found[0], self._loads[0]):
                break
            found.append(self._loads.popleft())
        return found

    def wait(self, seconds: float) -> None:
        """Wait until something may have changed, at most so long."""
        loads = self._loads or self._looking
        futures = [*loads[0].fetching.values(), *loads[0].looking] if loads else []
        left = [future for future in futures if not future.done()]
        if left:
            wait(left, seconds)
        else:  # there is no room yet
            time.sleep(seconds)

    def awaited(self) -> tuple[Entry, int, int | None] | None:
        """Return the input that is waited for, with the bytes that are here and in all; None if nothing has come."""
        for load in [*self._loads][:1]:
            for entry, future in load.fetching.items():
                if not future.done() and entry in load.received:
                    return entry, *load.received[entry]
        return None

    def left(self) -> Iterator[Entry]:
        """Yield the inputs that were not returned, when the run ends early."""
        for load in (*self._loads, *self._looking):
            yield from load.family
        for family in self._families:
            yield from family

    def close(self) -> None:
        """Let the threads end."""
        self._lookers.close()
        self._fetchers.close()

    def release(self, load: Load) -> None:
        """Remove the files of a family that are not needed any more."""
        if load.folder is not None:
            remove_tree(load.folder)
        files, size = load.room
        self._spool.take(-files, -size)
        load.folder, load.room = None, (0, 0)

    def _look(self, entry: Entry) -> Looked:
        if isinstance(entry.place, Path) and entry.target is None:
            return Looked(entry.size)
        return look(entry, self._request, self._stores, self._inputs.has_source(entry, self._request), self._is_over)

    def _started(self, load: Load) -> bool:
        """Decide what is done with a family, and start to fetch its files; return False if there is no room yet."""
        looked: dict[Entry, Looked] = {}
        for entry, future in zip(load.family, load.looking, strict=True):
            error = future.exception()
            if error is None:
                looked[entry] = future.result()
            elif load.due is None:
                load.fail(entry, error)
        if load.due is None:
            load.due = self._decide(load, looked)
        remote = [looked[entry] for entry in load.due if isinstance(entry.place, Address)]
        size = sum(self._spool.most // 8 if one.size is None else one.size for one in remote)
        if remote:
            if not self._spool.fits(len(remote), size):
                return False
            load.room = len(remote), size
            self._spool.take(*load.room)
            load.folder = self._spool.new_folder("in")
        taken: set[Path] = set()
        for entry in load.due:
            load.fetching[entry] = self._fetched(entry, load, taken)
            load.existing[entry] = looked[entry].existing
        return True

    def _fetched(self, entry: Entry, load: Load, taken: set[Path]) -> Future[Path]:
        place, folder = entry.place, load.folder
        if isinstance(place, Path) or folder is None:
            here: Future[Path] = Future()
            here.set_result(place if isinstance(place, Path) else Path())
            return here
        path = folder / entry.relative if entry.root.is_folder else folder.joinpath(*_folders_of(place), entry.name)
        while path in taken:  # addresses that only differ in their queries
            path = path.with_name(f"{len(taken)}") / path.name
        taken.add(path)

        def note(done: int, total: int | None) -> None:
            load.received[entry] = done, total

        def fetched() -> Path:
            try:
                with write_errors(path), create(path) as file:
                    fetch(self._stores.of(place), place, file, self._spool.lacks, self._is_over, note)
            except BaseException:
                discard(path)  # a part of it is no input
                raise
            return path

        return self._fetchers.do(fetched)


def _folders_of(place: Address) -> list[str]:
    """Return the folders of an address, so that two files of one name keep what tells them apart."""
    parts = place.path.split("/")[:-1]
    return [part.replace(":", "_")[:80] for part in parts if part not in ("", ".", "..") and "\0" not in part]
