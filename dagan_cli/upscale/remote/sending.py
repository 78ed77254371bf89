"""Send results to their stores while the next inputs are upscaled; each is reported once it is there, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from dagan_cli.files import open_regular, remove_tree
from dagan_cli.media.made.beside import path_beside
from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.patience import Cancelled, Permanent
from dagan_cli.media.remote.store import Stores
from dagan_cli.upscale.events import Item, Tell, failed
from dagan_cli.upscale.remote.hands import Hands
from dagan_cli.upscale.remote.sources import as_output_error
from dagan_cli.upscale.remote.spool import Spool, bytes_in, discard, in_words

_SENDERS = 4  # threads
_GRACE = 3.0  # seconds in which small results are still sent when the run is stopped
_LAST = 20.0  # seconds for the end of what was cancelled: parts of an upload are removed


class Results:
    """A folder of the spool with results until they are sent. That of a film, which is owned, may be kept."""

    def __init__(self, folder: Path, stack: ExitStack | None = None) -> None:
        """`stack` ends the ownership of the folder of a film."""
        self.folder = folder
        self._stack = stack
        self._users = 1  # results on their way, and who makes them
        self._is_kept = False

    @property
    def is_film(self) -> bool:
        return self._stack is not None

    def use(self) -> Results:
        """Count one more result."""
        self._users += 1
        return self

    def release(self, *, keep: bool) -> None:
        """Count one less. After the last one the folder is removed, unless it is of a film and one was to be kept."""
        self._users -= 1
        self._is_kept = self._is_kept or (keep and self.is_film)
        if not self._users:
            if not self._is_kept:
                remove_tree(self.folder)
            if self._stack is not None:
                self._stack.close()

    def __str__(self) -> str:
        return f"{self.folder} ({in_words(bytes_in(self.folder))})"


@dataclass(slots=True)
class _Sent:
    """A result on its way, or an Item that waits for those before it."""

    item: Item
    sending: Future[None] | None = None
    path: Path | None = None
    size: int = 0
    results: Results | None = None  # with its folder


class Sending:
    """Results in flight, for one run. Only the main thread calls it."""

    def __init__(self, stores: Stores, spool: Spool, tell: Tell, is_over: Callable[[], bool]) -> None:
        self._stores, self._spool, self._tell, self._is_over = stores, spool, tell, is_over
        self._senders = Hands(_SENDERS, "dagan-send")
        self._queue: deque[_Sent] = deque()
        self._targets: dict[str, Path] = {}  # of this run, with their inputs

    def report(self, item: Item) -> None:
        """Report an Item once those before it are reported."""
        self._queue.append(_Sent(item))
        self.settle()

    def send(self, item: Item, path: Path, address: Address, results: Results) -> None:
        """Send the result of an Item and then report it. One that cannot be sent is kept if it is that of a film."""
        other = self._targets.setdefault(str(address), item.input)
        if other != item.input:
            error = Permanent(f"it is the result of {other} too", "name one output folder for each with -o")
            self.report(replace(failed(item.input, as_output_error(address.shown, error)), output=item.output))
            return
        size = path.stat().st_size
        self._spool.take(1, size)

        def sent() -> None:
            hidden = path_beside(path)
            if hidden.exists():
                with open_regular(hidden) as file:
                    self._stores.of(address).put(file, address.parent.child(hidden.name), self._is_over)
            with open_regular(path) as file:
                self._stores.of(address).put(file, address, self._is_over)

        self._queue.append(_Sent(item, self._senders.do(sent), path, size, results.use()))
        self.settle()

    def is_full(self) -> bool:
        """True if no further result should be made before some are sent."""
        return not self._spool.fits(1, 0) and any(each.sending for each in self._queue)

    @property
    def left(self) -> str:
        """The results that are not sent yet, in words."""
        left = [each.size for each in self._queue if each.sending is not None and not each.sending.done()]
        return f"{len(left)} result{'' if len(left) == 1 else 's'}, {in_words(sum(left))}"

    def settle(self) -> None:
        """Report what is sent."""
        while self._queue and ((sending := self._queue[0].sending) is None or sending.done()):
            self._tell(self._ended(self._queue.popleft()))

    def wait(self, seconds: float) -> bool:
        """Wait for the next result to be sent, at most so long; return False if there is none left."""
        self.settle()
        wait([each.sending for each in self._queue if each.sending is not None][:1], seconds)
        self.settle()
        return bool(self._queue)

    def close(self) -> None:
        """Let the threads end."""
        self._senders.close()

    def end_early(self, end: Callable[[], None]) -> None:
        """Report all results when the run ends early: small ones are sent, others are cancelled by `end`."""
        wait([each.sending for each in self._queue if each.sending is not None], _GRACE)
        end()
        wait([each.sending for each in self._queue if each.sending is not None], _LAST)
        while self._queue:
            self._tell(self._ended(self._queue.popleft()))

    def _ended(self, sent: _Sent) -> Item:
        """Return the Item of a result that was sent, or was not."""
        sending, path, item, results = sent.sending, sent.path, sent.item, sent.results
        if sending is None or path is None or results is None:
            return item
        self._spool.take(-1, -sent.size)
        error = sending.exception() if sending.done() else Cancelled()
        if error is not None:
            kept = ""
            if results.is_film:
                kept = f"; it is kept in {results}, and the same command sends it"
            if isinstance(error, Cancelled):
                reason = f"the run was stopped before its result was sent{kept}"
                item = replace(item, status="stopped", reason=reason)
            else:
                shown = as_output_error(item.output or path, error) if isinstance(error, Permanent) else error
                if not isinstance(shown, Exception):
                    raise shown
                problem = failed(item.input, shown)
                item = replace(problem, reason=problem.reason + kept, output=item.output, seconds=item.seconds)
        if error is None or not results.is_film:
            discard(path_beside(path))
            discard(path)
        results.release(keep=error is not None)
        return item
