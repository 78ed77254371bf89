"""Watch folders: upscale what is in them, then each new file once it has stopped growing, until the run is stopped."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dagan_cli.errors import BadOption, NoInput
from dagan_cli.files import place_of
from dagan_cli.media.find import EARLIER_RESULT, Found, Source, find_inputs
from dagan_cli.media.remote.address import is_url, redacted
from dagan_cli.media.targets import plan_naming
from dagan_cli.upscale.batch import STREAM, left_out, run
from dagan_cli.upscale.events import Event, Item, Notice, Outlook, Stopped, Tell
from dagan_cli.upscale.inputs.scope import Scope
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines

SETTLED = 4.0  # seconds without a change after which a file is taken for whole
POLL = 2.0  # seconds between looks, at least
_SHARE = 10  # looking takes at most this part of the time
_STEP = 0.1  # seconds between looks at a signal to stop
# Names of files that programs are still downloading or writing; they get their own name at the end.
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".temp", "~")
_Stamp = tuple[int, int, int]  # size, time of the last change in ns, and number of a file


def require_watchable(names: Sequence[str], output: str | None, others: Mapping[str, object]) -> None:
    """Raise BadOption unless `names` are folders that can be watched with these options, of which some may be given."""
    for flag, given in others.items():
        if given:
            hint = "leave out one of them"
            if flag == "--shard":
                hint = "start the same command on each machine: they share the files between them"
            raise BadOption(f"--watch does not go with {flag}", hint=hint)
    if STREAM in (*names, output):
        raise BadOption("--watch does not work with - (stdin or stdout)", hint="name folders")
    for name in names if output is None else (*names, output):
        if is_url(name):
            raise BadOption(f"--watch does not work with {redacted(name)}", hint="name folders of this machine")
    for name in names:
        if not os.path.isdir(name):
            raise BadOption(f"{name} is not a folder, and --watch takes folders", hint="name a folder that exists")


def run_watching(request: Request, engines: Engines, tell: Tell, should_stop: Callable[[], bool]) -> None:
    """Upscale what is in the folders of the request, and what appears in them, until `should_stop` returns True.

    Events are those of `batch.run`, with one Item each time an input is done. An input is done again once it changes;
    then the result that was made here is replaced. It ends with Stopped if an input was in work or is still growing,
    and else as a run that is done. Raises what `batch.run` raises, and NoInput for a folder that has gone.
    """
    plan_naming(Found((), (), (), is_one_file=False), request.output, request.goal.name)
    if request.model.is_fixed or request.goal.factor:
        engines.require_usable(request.goal.factor or 4.0)
    watched = _Watched(request)
    rounds = _Rounds(request, engines, tell, should_stop, watched)
    names = ", ".join(request.inputs)
    tell(Notice(f"watching {names} for new files, until Ctrl-C", ()))
    is_idle = True
    try:
        while not should_stop():
            looked = time.monotonic()
            ready = watched.ready()
            until = time.monotonic() + max(POLL, _SHARE * (time.monotonic() - looked))
            if ready:
                rounds.take(ready)
            while not should_stop() and time.monotonic() < until:
                time.sleep(_STEP)
    except Stopped:
        is_idle = False
    growing = _found(request, watched.growing())
    for path in (*(source.path for source in growing.sources), *(path for path, _ in growing.failed)):
        tell(Item(input=path, output=None, status="untried", reason="the run was stopped before it was done"))
        is_idle = False
    if not is_idle:
        raise Stopped


def _found(request: Request, files: set[Path]) -> Found:
    """Return these files of the folders of the request, as far as they are inputs."""
    how = {"recursive": request.recursive, "include": request.include, "exclude": request.exclude}
    out = None if request.output is None else Path(request.output)
    found = find_inputs(request.inputs, out=out, template=request.template, only=files, **how)
    failed = tuple(entry for entry in found.failed if entry[0] in files)
    skipped = tuple(each for each in found.skipped if each.path in files)
    return replace(found, failed=failed, skipped=skipped)


class _Rounds:
    """Runs of new files, each with the same models, and with names that fit those of the runs before."""

    def __init__(
        self, request: Request, engines: Engines, tell: Tell, should_stop: Callable[[], bool], watched: _Watched
    ) -> None:
        self._request, self._engines = request, engines
        self._tell, self._should_stop = tell, should_stop
        self._watched = watched
        self._inputs = 0  # of all rounds
        self._made: dict[Path, Path] = {}  # results that were made here, by input
        self._suffixes: dict[Source, str] = {}  # of the results of inputs that are done

    def take(self, ready: set[Path]) -> None:
        """Upscale these files, as far as they are inputs."""
        found, request = _found(self._request, ready), self._request
        if not (found.sources or found.failed):
            if any(each.reason != EARLIER_RESULT for each in found.left_out):
                self._tell(left_out(found))
            return
        for source in found.sources:
            self._engines.forget(source.path)
        sources = {source.path: source for source in found.sources}
        others = {source: suffix for source, suffix in self._suffixes.items() if source.path not in sources}
        again = frozenset(self._made[path] for path in sources if path in self._made)

        def tell(event: Event) -> None:
            if isinstance(event, Outlook):
                event = replace(event, inputs=event.inputs + self._inputs)
            elif isinstance(event, Item) and event.output is not None and (source := sources.get(event.input)):
                if event.status in ("done", "partial"):
                    self._made[source.path] = event.output
                    self._watched.know(event.output)
                if event.status in ("done", "partial", "skipped"):
                    self._suffixes[source] = event.output.suffix
            self._tell(event)

        run(replace(request, replaced=again), self._engines, tell, self._should_stop, Scope(found, others))
        self._inputs += len(found.sources) + len(found.failed)


class _Watched:
    """Files in the folders of a request, and whether they have changed. The folders of results are no part of them."""

    def __init__(self, request: Request) -> None:
        self._roots = [Path(name) for name in request.inputs]
        self._recursive = request.recursive
        self._out = None if request.output is None else Path(request.output)
        self._taken: dict[Path, _Stamp] = {}
        self._waiting: dict[Path, tuple[_Stamp, float]] = {}  # and since when they are as they are

    def ready(self) -> set[Path]:
        """Return the files that are new or have changed, and stopped changing; each state of a file is returned once.

        Raises NoInput for a folder that has gone.
        """
        found, now = dict(self._files()), time.monotonic()
        self._taken = {path: stamp for path, stamp in self._taken.items() if path in found}
        waiting: dict[Path, tuple[_Stamp, float]] = {}
        for path, stamp in found.items():
            if self._taken.get(path) == stamp:
                continue
            before, since = self._waiting.get(path, (None, now))
            waiting[path] = (stamp, since if before == stamp else now)
        ready = {path for path, (_, since) in waiting.items() if now - since >= SETTLED}
        self._taken.update((path, waiting.pop(path)[0]) for path in ready)
        self._waiting = waiting
        return ready

    def growing(self) -> set[Path]:
        """Return the files that were seen, and not ready yet."""
        return set(self._waiting)

    def know(self, path: Path) -> None:
        """Do not return a file in its present state; others may have moved it away already."""
        with suppress(OSError):
            self._taken[path] = _stamp(path.stat())

    def _files(self) -> Iterator[tuple[Path, _Stamp]]:
        out = place_of(self._out) if self._out else None
        for root in self._roots:
            try:
                yield from self._inside(root, out)
            except OSError as error:
                what = f"the watched folder {root} has gone: {(error.strerror or str(error)).lower()}"
                raise NoInput(what, hint="check the folder, and run the same command again") from error

    def _inside(self, folder: Path, out: tuple[object, ...] | None) -> Iterator[tuple[Path, _Stamp]]:
        """Yield the files of a folder. Raises OSError if it cannot be listed; folders below it are left out then."""
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                    continue
                try:
                    if entry.is_dir():
                        folders.append(entry)
                    elif stat.S_ISREG((facts := entry.stat()).st_mode):
                        yield folder / entry.name, _stamp(facts)
                except OSError:  # it was removed
                    continue
        for entry in folders if self._recursive else ():
            path = folder / entry.name
            if not entry.is_symlink() and place_of(path) != out:
                try:
                    yield from self._inside(path, out)
                except OSError:
                    continue


def _stamp(facts: os.stat_result) -> _Stamp:
    return facts.st_size, facts.st_mtime_ns, facts.st_ino
