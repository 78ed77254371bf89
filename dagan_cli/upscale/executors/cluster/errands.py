"""Have a unit done on a node, with the files it needs.

A node that sees the files of this machine reads and writes them itself. To any other, they go through Ray's object
store, in pieces, one at a time for each worker, into a folder that the worker removes; results come back in the same
way, and get their names here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from dagan_cli.errors import BadInput, CannotWrite, DaganError
from dagan_cli.files import Folder, Taken, marked, open_regular, owned, whole_or_absent, write_errors
from dagan_cli.upscale.events import Abandoned, Event, Item, Stopped, failed
from dagan_cli.upscale.executors.cluster.carried import results_of, sources_of, with_paths
from dagan_cli.upscale.executors.cluster.node import Mark
from dagan_cli.upscale.executors.cluster.places import Errand, Place
from dagan_cli.upscale.executors.crew import Member
from dagan_cli.upscale.executors.units import Done, Inputs, Left, Made, Message, Raised, Told, Unit
from dagan_cli.upscale.job import Job, exists, fail, settle
from dagan_cli.upscale.work import Work

_PIECE = 32 << 20  # bytes of a file that are on their way at once, for each worker
_BATCHES = 4  # of messages that wait to be taken, from each worker
_KEPT = 1  # copies of other videos that a worker keeps: segments of several may come in turns


class Unable(Exception):
    """A node cannot keep or return the files of a unit: its disk is full, for instance."""


@dataclass(frozen=True, slots=True)
class _Trip:
    """A unit on its way to a worker, as the user knows it, and where its files are there."""

    place: Place
    member: Member
    unit: Unit
    there: Mapping[Path, Path]  # paths of the unit, as the worker knows them
    fetched: Mapping[Path, Path]  # files and work folders in the worker's spool folder, and their places here
    left: tuple[Job, ...]  # inputs of the unit whose results other processes are writing
    full: list[CannotWrite] = field(default_factory=list)  # errors here that all later inputs would have too

    @property
    def kinds(self) -> dict[Path, str]:
        """The words for what inputs are, in the report."""
        jobs = self.unit.jobs if isinstance(self.unit, Inputs) else ()
        return {job.source.path: "videos" if job.source.kind == "video" else "images" for job in jobs}

    @property
    def back(self) -> dict[Path, Path]:
        """Paths as the worker knows them, and as the user does."""
        pairs = [*self.there.items(), *self.place.model.items()]
        return {there: here for here, there in pairs if there != here}


class Errands:
    """What there is to do for units, step by step, without waiting; `say` receives the messages of workers."""

    def __init__(self, ray: Any, work: Work, say: Callable[[Member, Message], None]) -> None:
        self._ray = ray
        self._work = work
        self._say = say

    def call(self, place: Place, method: str, *arguments: Any) -> Any:
        """Call a method of a worker that answers at once, whatever it does meanwhile; return a reference of Ray."""
        return getattr(place.actor, method).options(concurrency_group="control").remote(*arguments)

    def perform(self, place: Place, member: Member, unit: Unit) -> Errand:
        """Have a unit done."""
        there: dict[Path, Path] = {}
        with ExitStack() as stack:
            try:
                unreadable = yield from self.bring(sources_of(unit), place, there)
                if isinstance(unit, Inputs):
                    unit = replace(unit, jobs=self._readable(unit, unreadable, member))
                elif unreadable:
                    raise unreadable[unit.path]
                fetched = yield from self._prepared(unit, place, there)
                left: tuple[Job, ...] = ()
                if isinstance(unit, Inputs) and fetched:
                    jobs, left = yield from self._owned(unit, member, stack)
                    unit = replace(unit, jobs=jobs)
                yield from self._run(_Trip(place, member, unit, there, fetched, left))
            except (DaganError, OSError, Stopped, Abandoned) as error:  # about files of this machine
                self._say(member, Raised(error))

    def bring(
        self, paths: Sequence[Path], place: Place, there: dict[Path, Path]
    ) -> Generator[Any, None, dict[Path, BadInput]]:
        """Note where a worker finds files of this machine; those that it does not see are sent to it.

        Return those that cannot be read, with the errors.
        """
        marks: dict[Path, Mark] = {}
        unreadable: dict[Path, BadInput] = {}
        others = [path for path in place.spooled if path not in paths]
        for path in others[:-_KEPT]:
            yield from self._answer(place, "drop", [place.spooled.pop(path)])
        for path in dict.fromkeys(paths):
            there[path] = path.absolute()
            try:
                marks[path] = Mark.of(path.absolute())
            except OSError as error:
                unreadable[path] = _unreadable(path, error)
        seen = yield from self._answer(place, "sees", list(marks.values()))
        for (path, mark), is_seen in zip(marks.items(), seen, strict=True):
            if not is_seen:
                try:
                    there[path] = yield from self._sent(path, mark, place)
                except OSError as error:
                    unreadable[path] = _unreadable(path, error)
        return unreadable

    def _answer(self, place: Place, method: str, *arguments: Any) -> Generator[Any, None, Any]:
        answer = self.call(place, method, *arguments)
        del arguments
        yield answer
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:  # its text is a traceback
            if isinstance(error.cause, OSError | DaganError):
                raise Unable(getattr(error.cause, "strerror", None) or str(error.cause)) from error
            raise

    def _sent(self, path: Path, mark: Mark, place: Place) -> Generator[Any, None, Path]:
        """Copy a file to a worker, a piece at a time; return its path there. Raises OSError."""
        spool = yield from self._answer(place, "spool")
        key = sha256(f"{path} {mark.size} {mark.time}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
        copy = Path(spool) / key / path.name
        if place.spooled.get(path) == copy:
            return copy
        # Pieces are appended: nothing may be there of a copy that was broken off.
        yield from self._answer(place, "drop", [copy, place.spooled.pop(path, copy)])
        with open_regular(path) as file:
            start = -_PIECE
            while file.tell() - start >= _PIECE:  # to its end, also if it is shorter by now
                start = file.tell()
                self._work.stop_if_asked()
                yield from self._answer(place, "store", copy, file.read(_PIECE))
        place.spooled[path] = copy
        return copy

    def _prepared(self, unit: Unit, place: Place, there: dict[Path, Path]) -> Generator[Any, None, dict[Path, Path]]:
        """Note where a worker writes results; return those that are to be fetched, with their places here."""
        results = results_of(unit)
        for folder in set(results.values()) - place.shared.keys():
            # A folder that cannot be written is reported for each result.
            with suppress(CannotWrite), marked(folder) as (path, content):
                seen = yield from self._answer(place, "sees", [Mark.of(path.absolute(), content)])
                place.shared[folder] = all(seen)
        fetched: dict[Path, Path] = {}
        for number, (path, folder) in enumerate(results.items()):
            there[path] = path.absolute()
            if not place.shared.get(folder, False):
                spool = yield from self._answer(place, "spool")
                there[path] = Path(spool) / f"result-{number}" / path.name
                fetched[there[path]] = path
        return fetched

    def _owned(
        self, unit: Inputs, member: Member, stack: ExitStack
    ) -> Generator[Any, None, tuple[tuple[Job, ...], tuple[Job, ...]]]:
        """Own the results that are made elsewhere, perhaps after a while.

        Return the inputs to upscale, and those whose results other processes are writing. Those that exist by now, or
        cannot be written, are reported.
        """

        jobs, left, work = [], [], self._told_by(member)
        for job in unit.jobs:
            while isinstance(job.target, Path):
                try:
                    stack.enter_context(owned(job.target))
                except Taken:
                    if not unit.waits:
                        left.append(job)
                        break
                    self._work.stop_if_asked()
                    yield None
                    continue
                except CannotWrite as error:
                    fail(job.source, job.target, error, work, 0.0)
                    break
                if exists(job.target, work.request):
                    settle(job.source, job.target, work)
                else:
                    jobs.append(job)
                break
        return tuple(jobs), tuple(left)

    def _readable(self, unit: Inputs, unreadable: Mapping[Path, BadInput], member: Member) -> tuple[Job, ...]:
        """Report inputs that cannot be read; return the others."""
        for job in unit.jobs:
            if (error := unreadable.get(job.source.path)) is not None and isinstance(job.target, Path):
                fail(job.source, job.target, error, self._told_by(member), 0.0)
        return tuple(job for job in unit.jobs if job.source.path not in unreadable)

    def _told_by(self, member: Member) -> Work:
        """Return the context whose events are those of a worker."""

        def tell(event: Event) -> None:
            self._say(member, Told(event))

        return replace(self._work, tell=tell)

    def _run(self, trip: _Trip) -> Errand:
        """Send the unit, and pass on what the worker says."""
        unit = with_paths(trip.unit, trip.there)
        perform = trip.place.actor.perform.options
        said = perform(num_returns="streaming", _generator_backpressure_num_objects=_BATCHES).remote(unit)
        while True:
            yield said
            try:
                messages = self._ray.get(next(said))
            except StopIteration:
                return
            for message in messages:
                if isinstance(message, Told):
                    yield from self._told(message, trip)
                else:
                    yield from self._ended(message, trip)

    def _told(self, message: Told, trip: _Trip) -> Errand:
        event = with_paths(message.event, trip.back, in_texts=True)
        if isinstance(event, Item) and isinstance(message.event, Item) and event.status in ("done", "partial"):
            there = message.event.output
            if there is not None and there in trip.fetched:
                try:
                    with whole_or_absent(trip.fetched[there], replace=self._work.request.overwrite) as file:
                        yield from self._fetch(trip.place, there, file)
                except CannotWrite as error:
                    if error.ends_the_batch:
                        trip.full.append(error)
                    event = replace(failed(event.input, error), output=event.output, seconds=event.seconds)
                self.call(trip.place, "drop", [there])  # else it is in the way of a result of the same name
            if isinstance(event, Item) and event.status != "failed":
                trip.place.done[trip.kinds.get(event.input, "images")] += 1
        self._say(trip.member, Told(event))

    def _ended(self, message: Message, trip: _Trip) -> Errand:
        place, unit = trip.place, trip.unit
        if isinstance(message, Done) and isinstance(message.answer, Made):
            for there, here in trip.fetched.items():
                name = message.answer.name
                with write_errors(here), Folder.opened(here) as folder:
                    try:
                        with folder.create(name) as file:
                            yield from self._fetch(place, there / name, file)
                    except BaseException:
                        folder.remove(name)
                        raise
                self.call(place, "drop", [there / name])
            place.done["segments"] += 1
        if isinstance(unit, Inputs):
            for path in [path for path in trip.there if path in place.spooled]:
                yield from self._answer(place, "drop", [place.spooled.pop(path)])
        message = with_paths(message, trip.back, in_texts=True)
        if isinstance(message, Done) and isinstance(message.answer, Left):
            message = Done(replace(message.answer, jobs=(*message.answer.jobs, *trip.left)))
        if trip.full:
            message = Raised(Abandoned())
        self._say(trip.member, message)

    def _fetch(self, place: Place, there: Path, file: BinaryIO) -> Errand:
        """Copy a file from a worker's spool folder, a piece at a time."""
        size = 0
        while True:
            data = yield from self._answer(place, "part", there, size, _PIECE)
            file.write(data)
            size += len(data)
            if len(data) < _PIECE:
                break


def _unreadable(path: Path, error: OSError) -> BadInput:
    reason = (error.strerror or str(error)).lower()
    return BadInput(f"cannot read {path}: {reason}", hint="check the path and its permissions")
