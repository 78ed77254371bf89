"""Run a request with remote inputs or outputs: each is fetched, upscaled as a local file, and its result sent.

What upscales is `batch.run`, for a few inputs at a time. Events and errors that it tells name files of the spool; they
are passed on with the addresses of what those stand for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from dagan_cli.errors import BadInput, BadOption, DaganError, NoInput
from dagan_cli.files import Taken, owned, private_folder
from dagan_cli.media.find import Found
from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.patience import Cancelled, Permanent, Retries
from dagan_cli.media.remote.store import Stores
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
from dagan_cli.upscale.remote.existing import Looked, finished, look
from dagan_cli.upscale.remote.group import Group, join
from dagan_cli.upscale.remote.sending import Results, Sending
from dagan_cli.upscale.remote.sources import STREAM, Entry, Inputs, as_output_error, destination, find
from dagan_cli.upscale.remote.spool import Spool, open_spool
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines

_TOGETHER = 16  # families of images that are upscaled in one go
_POLL = 0.05  # seconds
_PATIENCE = 1.0  # seconds between reports of a download
_LONG = 3.0  # seconds after which it is told that results are still being sent
_MOST_AMOUNTS = 100_000  # inputs whose work is estimated
_OTHER = {"picture": "a video", "video": "an image"}


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
    with open_spool() as spool, Retries(lambda text: tell(Notice(text, ()))) as retries:
        try:
            inputs = find(request, stores, should_stop)
        except Cancelled:
            raise Stopped from None
        _Run(request, engines, tell, should_stop, stores, spool, inputs, retries).work()


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
        retries: Retries,
    ) -> None:
        self._request, self._engines, self._tell, self._should_stop = request, engines, tell, should_stop
        self._stores, self._spool, self._inputs = stores, spool, inputs
        self._retries = retries
        self._is_closed = False
        self._ahead = Ahead(inputs, request, stores, spool, self._is_over, self._decided)
        self._sending = Sending(stores, spool, tell, lambda: self._is_closed)
        self._started = 0
        self._next_told = time.monotonic() + _PATIENCE
        self._notices: set[str] = set()
        self._writable: dict[str, Permanent | None] = {}  # by bucket
        self._group: Group | None = None

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
            started = time.monotonic()
            while self._sending.wait(_POLL):
                self._stop_if_asked()
                self._retries.tell()
                if time.monotonic() > started + _LONG:
                    self._notice(f"sending {self._sending.left}", ())
        except BaseException as error:
            self._end_early(error)
            if isinstance(error, Cancelled):
                raise Stopped from None
            raise
        finally:
            self._is_closed = True
            self._ahead.close()
            self._sending.close()
            self._engines.tell = tell

    def _next(self) -> list[Load] | None:
        """Return what is to be upscaled next; [] if it is not here yet, None if that was all."""
        self._ahead.pump()
        self._settle()
        if self._sending.is_full():
            self._sending.wait(_POLL)
            return []
        return self._ahead.next(join, _TOGETHER)

    def _settle(self) -> None:
        """Report what has come of transfers: what is sent, and what is tried again."""
        self._sending.settle()
        self._retries.tell()

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
        if inputs.left:
            self._tell(Notice(f"left to other shards: {inputs.left} input{'' if inputs.left == 1 else 's'}", ()))
        if not len(inputs) and inputs.left:
            self._tell(Notice(f"nothing to do: shard {request.shard} has no inputs", ()))
        elif not len(inputs):
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
        self._group = group = Group(loads)
        for load in loads:
            group.paths |= dict(load.paths())
            for entry, error in load.errors.items():
                self._fail(entry, error)
        try:
            if group.paths and self._may_write(group) and self._has_place(group):
                self._run_batch(group)
        finally:
            for load in loads:
                self._ahead.release(load)
            if group.results is not None:
                self._close(group.results)
        self._group = None

    def _may_write(self, group: Group) -> bool:
        """Return False, with all inputs reported, if results cannot be written where they should be."""
        place = group.first.target
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

    def _has_place(self, group: Group) -> bool:
        """Make the folder of the spool for the results; return False if another run has made them meanwhile."""
        if group.place is None:
            return True
        if not group.has_film:
            group.results = Results(self._spool.new_folder("out"))
        else:
            folder = self._spool.film_folder(group.film_key)
            stack, has_waited = self._owned(folder, group)
            private_folder(folder)
            group.results = Results(folder, stack)
            if has_waited and not self._request.overwrite:
                self._look_again(group)
        if group.paths:
            group.put_stand_ins()
        return bool(group.paths)

    def _owned(self, folder: Path, group: Group) -> tuple[ExitStack, bool]:
        """Own a folder once no other run does; return also whether one did."""
        stack, has_waited = ExitStack(), False
        while True:
            try:
                stack.enter_context(owned(folder))
                return stack, has_waited
            except Taken:
                if not has_waited:
                    self._tell(Wait(group.first.path, "another run on this machine makes its result"))
                has_waited = True
                self._stop_if_asked()
                self._settle()
                self._ahead.pump()
                time.sleep(_POLL)

    def _look_again(self, group: Group) -> None:
        """Leave out the inputs whose results have appeared meanwhile."""
        for load in group.loads:
            for entry in [entry for entry in load.fetching if entry in group.paths]:
                try:
                    looked = look(entry, self._request, self._stores, False, self._is_over)
                except (Permanent, DaganError):  # it was there a moment ago; sending will tell
                    continue
                load.existing[entry] = looked.existing
                if (result := finished(entry, looked, self._request, self._engines)) is not None:
                    self._skip(entry, *result)
                    del group.paths[entry]

    def _run_batch(self, group: Group) -> None:
        """Upscale the files of a group. Raises what `batch.run` raises about all inputs."""
        is_one_file = self._is_one_file()
        try:
            self._batch(group.request(self._request, is_one_file=is_one_file))
            if group.is_other:  # an earlier run, with other settings, could not send it
                group.forget_leftovers()
                self._batch(group.request(self._request, is_one_file=is_one_file))
        except DaganError as error:
            raise group.error(error) from None
        for entry, path in group.paths.items():
            if path not in group.told:
                self._fail(entry, BadInput(f"{entry.path} is no image or video that is read", hint="leave it out"))

    def _batch(self, request: Request) -> None:
        with suppress(NoInput):  # all of them were left out, with a notice
            batch.run(request, self._engines, self._passed_on, self._should_stop)

    def _passed_on(self, event: Event) -> None:
        """Pass an event on, with addresses in place of files of the spool; a result is sent before it is told."""
        group = self._group
        self._ahead.pump()
        self._settle()
        if group is None:
            self._tell(event)
            return
        match event:
            case Outlook():
                return
            case Start(_, _, path):
                event = Start(self._started, len(self._inputs), group.shown(path))
                self._started += 1
            case Notice(text, details):
                self._notice(group.text(text), tuple(map(group.text, details)))
                return
            case Wait(path, reason):
                event = Wait(group.shown(path), group.text(reason))
            case Chosen() | Expected() | Kept():
                event = replace(event, input=group.shown(event.input))
            case Item():
                self._item(event, group)
                return
        self._tell(event)

    def _notice(self, text: str, details: tuple[str, ...]) -> None:
        """Tell a notice, each text once."""
        if text not in self._notices:
            self._notices.add(text)
            self._tell(Notice(text, details))

    def _item(self, item: Item, group: Group) -> None:
        path = item.output
        if item.is_usable and group.is_leftover(path):
            group.is_other = True
            return
        group.told.add(Path(STREAM) if self._request.inputs == (STREAM,) else item.input)
        item, place = group.item(item), group.address(path)
        if item.status == "skipped" and group.is_leftover(path):
            if self._request.dry_run:
                item = replace(item, reason="an earlier run made it; it only has to be sent")
            else:
                item = replace(item, status="done", reason="an earlier run made it; now it is sent")
        if place is not None and path is not None and group.results and item.status in ("done", "partial"):
            self._sending.send(item, path, place, group.results)
        else:
            self._sending.report(item)

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

        self._sending.end_early(end)
        stopped = isinstance(error, Stopped | Cancelled)
        reason = "the run was stopped before it was done" if stopped else "the run ended before it"
        left = list(self._ahead.left())
        if (group := self._group) is not None:
            told = group.told
            left = [entry for entry, path in group.paths.items() if path not in told] + left
        for entry in left:
            self._tell(Item(input=entry.path, output=None, status="untried", reason=reason))
