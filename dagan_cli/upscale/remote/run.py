"""Run a request with remote inputs or outputs: each is fetched, upscaled as a local file, and its result sent.

What upscales is `batch.run`, for a few inputs at a time. Events and errors that it tells name files of the spool; they
are passed on with the addresses of what those stand for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dagan_cli.errors import BadInput, BadOption, DaganError, NoInput
from dagan_cli.files import Taken, owned, private_folder
from dagan_cli.media.find import Found, Listed
from dagan_cli.media.made.beside import path_beside
from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.patience import Cancelled, Permanent
from dagan_cli.media.remote.store import Stores
from dagan_cli.media.sniff import looks_like_video
from dagan_cli.media.targets import plan_naming
from dagan_cli.upscale import batch
from dagan_cli.upscale.events import (
    Amount,
    Chosen,
    Event,
    Expected,
    Fetch,
    Item,
    Kept,
    Notice,
    Outlook,
    Start,
    Stopped,
    Tell,
    Wait,
    failed,
)
from dagan_cli.upscale.remote.ahead import Ahead, Load
from dagan_cli.upscale.remote.existing import Looked, finished, look, stand_in
from dagan_cli.upscale.remote.sending import Results, Sending
from dagan_cli.upscale.remote.sources import STREAM, Entry, Inputs, as_output_error, destination, find
from dagan_cli.upscale.remote.spool import Spool, discard, open_spool
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines

_TOGETHER = 16  # families of images that are upscaled in one go
_POLL = 0.05  # seconds
_PATIENCE = 1.0  # seconds between reports of a download
_MOST_AMOUNTS = 100_000  # inputs whose work is estimated
_OTHER = {"picture": "a video", "video": "an image"}
_FLAGS = """
    --codec --crf --preset --pix-fmt -e --audio --streams --start --end --frames --deinterlace --square
    --format --quality --lossless --name
"""  # that may have no effect, which is told once, of all inputs


def run(request: Request, engines: Engines, tell: Tell, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Upscale all inputs of a request that names URLs; events and errors are those of `batch.run`."""
    out = destination(request)
    if request.dry_run and STREAM in (*request.inputs, request.output):
        raise BadOption("--dry-run does not work with - (stdin or stdout)", hint="name files, or leave out --dry-run")
    if STREAM in request.inputs and len(request.inputs) > 1:
        raise BadOption("- (stdin) cannot be combined with other inputs", hint="upscale it in a separate run")
    if STREAM in request.inputs and out is not None and out.is_folder:
        raise BadOption("- (stdin) needs -o: its output has no name", hint=f"name a file, such as -o {out}a.png")
    stores = Stores()
    with open_spool() as spool:
        try:
            inputs = find(request, stores, should_stop)
        except Cancelled:
            raise Stopped from None
        _Run(request, engines, tell, should_stop, stores, spool, inputs).work()


@dataclass(slots=True)
class _Group:
    """Inputs that are upscaled in one go, and how their names in events are replaced."""

    loads: list[Load]
    paths: dict[Entry, Path] = field(default_factory=dict)  # their files
    shown: dict[Path, Path] = field(default_factory=dict)  # of these, and of results
    place: Address | None = None  # what it stands for: a folder, or a file
    results: Results | None = None  # folder of the spool for them
    stand_ins: set[Path] = field(default_factory=set)
    leftovers: list[Path] = field(default_factory=list)  # results of an earlier run that were not sent
    is_other: bool = False  # the leftovers are not what this run makes
    told: set[Path] = field(default_factory=set)  # inputs with an Item

    @property
    def out(self) -> Path | None:
        return self.results.folder if self.results else None


class _Run:
    def __init__(
        self,
        request: Request,
        engines: Engines,
        tell: Tell,
        should_stop: Callable[[], bool],
        stores: Stores,
        spool: Spool,
        inputs: Inputs,
    ) -> None:
        self._request, self._engines, self._tell, self._should_stop = request, engines, tell, should_stop
        self._stores, self._spool, self._inputs = stores, spool, inputs
        self._is_closed = False
        self._ahead = Ahead(inputs, request, stores, spool, self._is_over, self._decided)
        self._sending = Sending(stores, spool, tell, lambda: self._is_closed)
        self._started = 0
        self._next_told = time.monotonic() + _PATIENCE
        self._notices: set[str] = set()
        self._writable: dict[str, Permanent | None] = {}  # by bucket
        self._group: _Group | None = None

    def work(self) -> None:
        """Upscale all inputs."""
        self._introduce()
        tell, self._engines.tell = self._engines.tell, self._passed_on
        try:
            while (loads := self._next()) is not None:
                self._stop_if_asked()
                if loads:
                    self._upscale(loads)
                    self._next_told = time.monotonic() + _PATIENCE
                else:
                    self._ahead.wait(_POLL)
                    self._tell_awaited()
            while self._sending.wait(_POLL):
                self._stop_if_asked()
        except BaseException as error:
            self._end_early(error)
            if isinstance(error, Cancelled):
                raise Stopped from None
            raise
        finally:
            self._is_closed = True
            self._engines.tell = tell

    def _next(self) -> list[Load] | None:
        """Return what is to be upscaled next; [] if it is not here yet, None if that was all."""
        self._ahead.pump()
        self._sending.settle()
        if self._sending.is_full():
            self._sending.wait(_POLL)
            return []
        return self._ahead.next(_join, _TOGETHER)

    def _tell_awaited(self) -> None:
        """Tell how far the download is that is waited for, from time to time."""
        awaited = self._ahead.awaited()
        if awaited is not None and time.monotonic() >= self._next_told:
            entry, done, total = awaited
            self._next_told = time.monotonic() + _PATIENCE
            self._tell(Fetch(entry.name, done, total, "input"))

    def _introduce(self) -> None:
        """Tell what was found. Raises NoInput, and BadOption for an output that cannot hold the results."""
        request, inputs = self._request, self._inputs
        reasons = inputs.reasons()
        if inputs.skipped:
            details = tuple(f"{skipped.path}: {skipped.reason}" for skipped in inputs.skipped)
            self._tell(Notice(f"left out: {reasons}" if len(inputs) else "", details))
        if not len(inputs):
            raise NoInput(
                "nothing to upscale" + (f" ({reasons})" if reasons else ""),
                hint="name images or videos, or a folder of them; -r also searches its subfolders",
            )
        if request.output == STREAM and len(inputs) > 1:
            raise BadOption("-o - (stdout) takes one image or video", hint="name a file or folder with -o")
        if request.output not in (None, STREAM) and destination(request) is None:
            plan_naming(Found((), (), (), is_one_file=self._is_one_file()), request.output, request.goal.name)
        kinds: set[str] = {entry.kind for block in inputs.blocks for entry in block}
        if kinds and (flags := request.without_effect(kinds)):
            text = f"{', '.join(flags)}: without effect, as no input is {_OTHER[kinds.pop()]}"
            self._tell(Notice(text, ()))
        for path, error in inputs.failed:
            self._tell(failed(path, error))
        for path in inputs.earlier:
            reason = "dagan made it from another input"
            self._tell(Item(input=path, output=path, status="skipped", reason=reason))
        # The work is not known before the files are here; their sizes are what is known of it.
        amounts = {
            entry.path: Amount(entry.kind, entry.size or 1, 1 if entry.kind == "picture" else None)
            for block in inputs.blocks
            for entry in block
            if len(inputs) <= _MOST_AMOUNTS
        }
        self._tell(Outlook(len(inputs), amounts))

    def _is_one_file(self) -> bool:
        blocks = self._inputs.blocks
        return len(self._inputs) == 1 and bool(blocks) and not blocks[0][0].root.is_folder

    def _is_over(self) -> bool:
        return self._is_closed or self._should_stop()

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Stopped

    def _decided(self, load: Load, looked: dict[Entry, Looked]) -> list[Entry]:
        """Return those of a family that are due; none if all results are there. The others are reported."""
        request = self._request
        earlier = [entry for entry, one in looked.items() if one.is_earlier]
        for entry in earlier:
            self._sending.report(
                Item(input=entry.path, output=entry.path, status="skipped", reason="dagan made it from another input")
            )
        rest = {entry: one for entry, one in looked.items() if not one.is_earlier}
        results = {entry: finished(entry, one, request, self._engines) for entry, one in rest.items()}
        if not all(results.values()):
            return list(rest)
        for entry, result in results.items():
            if result is not None:
                self._skip(entry, *result)
        return []

    def _skip(self, entry: Entry, place: Address, model: str) -> None:
        reason = "it exists; -y overwrites it"
        self._sending.report(Item(input=entry.path, output=place.shown, status="skipped", reason=reason, model=model))

    def _upscale(self, loads: list[Load]) -> None:
        """Upscale families whose files are here, and send their results."""
        self._group = group = _Group(loads)
        for load in loads:
            group.paths |= dict(load.paths())
            for entry, error in load.errors.items():
                self._fail(entry, error)
        try:
            if group.paths and self._may_write(group) and self._prepared(group):
                self._run_batch(group)
        finally:
            for load in loads:
                self._ahead.release(load)
            if group.results is not None:
                self._close(group.results)
        self._group = None

    def _may_write(self, group: _Group) -> bool:
        """Return False, with all inputs reported, if results cannot be written where they should be."""
        place = next(iter(group.paths)).target
        if place is None or self._request.dry_run:
            return True
        bucket = f"{place.protocol}://{place.path.partition('/')[0]}"
        if bucket not in self._writable:
            self._writable[bucket] = None
            try:
                self._stores.of(place).require_writable(place)
            except Permanent as error:
                self._writable[bucket] = error
        if (problem := self._writable[bucket]) is None:
            return True
        for entry in group.paths:
            shown = entry.target.shown if entry.target else entry.path
            self._fail(entry, as_output_error(shown, problem))
        return False

    def _prepared(self, group: _Group) -> bool:
        """Prepare folders, names and stand-ins of existing results; return False if nothing is left to do."""
        entries = list(group.paths)
        first = entries[0]
        group.shown = {path: entry.path for entry, path in group.paths.items()}
        if first.target is None:
            return True
        root = first.root
        # The results of a folder keep their folders below it; those of named files are next to each other.
        group.place = root.out if root.is_folder else first.target
        existing = {each.name: each for load in group.loads for each in load.existing.values()}
        if any(path != Path(STREAM) and looks_like_video(path) for path in group.paths.values()):
            group.results = self._film(group, f"{group.place}\n{first.below}\n{first.stem.lower()}", entries)
            if group.results is None:
                return False
        else:
            group.results = Results(self._spool.new_folder("out"))
        out = group.results.folder
        for entry in entries if not self._request.overwrite else ():
            folder = out / entry.below if root.is_folder else out
            for each in existing.values():
                path = folder / each.name
                if path not in group.stand_ins:
                    discard(path_beside(path))
                    discard(path)
                    group.stand_ins.add(stand_in(each, folder))
        if group.results.is_film:
            found = (path for path in out.rglob("*") if path.is_file() and path not in group.stand_ins)
            group.leftovers = [path for path in found if "/." not in f"/{path.relative_to(out).as_posix()}"]
        return True

    def _film(self, group: _Group, name: str, entries: list[Entry]) -> Results | None:
        """Own the folder that keeps the work on a film, once no other run does; None if another run has finished it."""
        folder = self._spool.film_folder(Address("", name).key)
        stack = ExitStack()
        told = False
        while True:
            try:
                stack.enter_context(owned(folder))
                break
            except Taken:
                if not told:
                    self._tell(Wait(entries[0].path, "another run on this machine makes its result"))
                    told = True
                self._stop_if_asked()
                self._sending.settle()
                self._ahead.pump()
                time.sleep(_POLL)
        private_folder(folder)
        film = Results(folder, stack)
        if told and not self._request.overwrite:
            try:
                self._look_again(group, entries)
            except BaseException:
                film.release(keep=True)
                raise
            if not group.paths:
                film.release(keep=False)
                return None
        return film

    def _look_again(self, group: _Group, entries: list[Entry]) -> None:
        """Leave out the inputs whose results have appeared meanwhile."""
        for entry in entries:
            try:
                looked = look(entry, self._request, self._stores, False, self._is_over)
            except (Permanent, DaganError):  # it was there a moment ago; sending will tell
                continue
            if (result := finished(entry, looked, self._request, self._engines)) is not None:
                self._skip(entry, *result)
                del group.paths[entry]

    def _run_batch(self, group: _Group) -> None:
        """Upscale the files of a group. Raises what `batch.run` raises about all inputs."""
        request, entries = self._request, list(group.paths)
        root = entries[0].root
        inputs: tuple[str, ...]
        if root.is_folder:
            inputs = tuple(str(load.folder) for load in group.loads if load.folder is not None)
        else:
            inputs = tuple(STREAM if path == Path(STREAM) else Listed(path) for path in group.paths.values())
        output = request.output
        if group.out is not None:
            output = str(group.out / root.out.name) if root.out and root.out_is_file else os.path.join(group.out, "")
        elif output not in (None, STREAM) and not self._is_one_file():
            output = os.path.join(output or "", "")
        inner = replace(
            request,
            inputs=inputs,
            output=output,
            recursive=True,
            include=(),
            exclude=(),
            overwrite=request.overwrite and not group.leftovers,
            defaulted=request.defaulted | set(_FLAGS.split()),
        )
        try:
            self._batch(inner, group)
            if group.is_other:  # an earlier run, with other settings, could not send it
                for path in group.leftovers:
                    discard(path_beside(path))
                    discard(path)
                group.leftovers, group.is_other = [], False
                self._batch(replace(inner, overwrite=request.overwrite), group)
        except DaganError as error:
            raise self._reworded(error, group) from None

    def _batch(self, request: Request, group: _Group) -> None:
        with suppress(NoInput):  # all of them were left out, with a notice
            batch.run(request, self._engines, self._passed_on, self._should_stop)
        for entry, path in group.paths.items():
            if path not in group.told and not group.is_other:
                self._fail(entry, BadInput(f"{entry.path} is no image or video that is read", hint="leave it out"))

    def _passed_on(self, event: Event) -> None:
        """Pass an event on, with addresses in place of files of the spool; a result is sent before it is told."""
        group = self._group
        self._ahead.pump()
        self._sending.settle()
        if group is None:
            self._tell(event)
            return
        match event:
            case Outlook():
                return
            case Start(_, _, path):
                event = Start(self._started, len(self._inputs), self._shown(path, group))
                self._started += 1
            case Notice(text, details):
                self._notice(self._text(text, group), tuple(self._text(detail, group) for detail in details))
                return
            case Wait(path, reason):
                event = Wait(self._shown(path, group), self._text(reason, group))
            case Chosen() | Expected() | Kept():
                event = replace(event, input=self._shown(event.input, group))
            case Item():
                self._item(event, group)
                return
        self._tell(event)

    def _notice(self, text: str, details: tuple[str, ...]) -> None:
        """Tell a notice, each text once."""
        if text not in self._notices:
            self._notices.add(text)
            self._tell(Notice(text, details))

    def _item(self, item: Item, group: _Group) -> None:
        path = item.output
        if item.is_in_the_way and path in group.leftovers:
            group.is_other = True
            return
        group.told.add(Path(STREAM) if self._request.inputs == (STREAM,) else item.input)
        place = self._place(path, group) if path is not None else None
        item = replace(
            item,
            input=self._shown(item.input, group),
            output=place.shown if place else path,
            reason=self._text(item.reason, group),
            hint=self._text(item.hint, group),
            warnings=tuple(self._text(warning, group) for warning in item.warnings),
        )
        if item.status == "skipped" and path in group.leftovers:
            item = replace(item, status="done", reason="an earlier run made it; now it is sent")
        if place is not None and path is not None and group.results and item.status in ("done", "partial"):
            self._sending.send(item, path, place, group.results)
        else:
            self._sending.report(item)

    def _place(self, path: Path, group: _Group) -> Address | None:
        """Return what a result in the spool stands for; None for a local one."""
        if group.out is None or group.place is None or not path.is_relative_to(group.out):
            return None
        if next(iter(group.paths)).root.out_is_file:
            return group.place
        return group.place.child(path.relative_to(group.out).as_posix())

    def _shown(self, path: Path, group: _Group) -> Path:
        return group.shown.get(path, path)

    def _text(self, text: str, group: _Group) -> str:
        """Return a text with addresses in place of files of the spool."""
        if str(self._spool.root) not in text:
            return text
        for path, shown in group.shown.items():
            text = text.replace(str(path), str(shown))
        if group.out is not None and group.place is not None:
            is_file = next(iter(group.paths)).root.out_is_file
            place = str(group.place.parent if is_file else group.place).rstrip("/")
            text = text.replace(str(group.out), place)
        for load in group.loads:
            if load.folder is not None:
                root = load.family[0].root.place
                text = text.replace(str(load.folder), str(root).rstrip("/"))
        return text

    def _reworded(self, error: DaganError, group: _Group) -> DaganError:
        what, hint = self._text(str(error), group), self._text(error.hint, group)
        if (what, hint) == (str(error), error.hint):
            return error
        error.args, error.hint = (what,), hint
        return error

    def _fail(self, entry: Entry, error: DaganError) -> None:
        item = failed(entry.path, error)
        self._sending.report(replace(item, output=entry.target.shown if entry.target else None))

    def _close(self, results: Results) -> None:
        """Give up a folder with results. That of a film is kept if there are frames that the next run continues."""
        has_work = results.is_film and any(path.name.endswith(".work") for path in results.folder.rglob(".dagan-*"))
        if has_work:
            self._notice(f"the work so far is kept in {results}, where the same command continues it", ())
        results.release(keep=has_work)

    def _end_early(self, error: BaseException) -> None:
        """Report every input that has no Item yet."""

        def end() -> None:
            self._is_closed = True

        self._sending.close(end)
        stopped = isinstance(error, Stopped | Cancelled)
        reason = "the run was stopped before it was done" if stopped else "the run ended before it"
        left = list(self._ahead.left())
        if (group := self._group) is not None:
            told = group.told
            left = [entry for entry, path in group.paths.items() if path not in told] + left
        for entry in left:
            self._tell(Item(input=entry.path, output=None, status="untried", reason=reason))


def _join(first: Load, other: Load) -> bool:
    """True if two families can be upscaled in one go: images whose results go to one place."""
    one, two = first.family[0], other.family[0]
    if any(entry.kind == "video" for load in (first, other) for entry in load.family):
        return False
    if one.root.is_folder or two.root.is_folder:
        return one.root is two.root
    return not one.root.out_is_file and str(one.target) == str(two.target) and Path(STREAM) != one.place
