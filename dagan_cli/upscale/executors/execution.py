"""Upscale inputs by the workers of a pool: groups of small images, and videos in segments."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue

from dagan_cli.errors import BadModel, BadOption, CannotWrite, DaganError
from dagan_cli.files import Taken, owned
from dagan_cli.upscale.events import (
    Abandoned,
    Advance,
    Event,
    Expected,
    Item,
    Kept,
    Start,
    Stopped,
    Wait,
    failed,
    interrupted,
)
from dagan_cli.upscale.executors.crew import Crew, Fatal, Pool, Task
from dagan_cli.upscale.executors.film import Film, Uncut
from dagan_cli.upscale.executors.ledger import Ledger
from dagan_cli.upscale.executors.units import Inputs, Left, Piece, Unit, WorkerDied
from dagan_cli.upscale.job import Job, exists, settle
from dagan_cli.upscale.used import Used
from dagan_cli.upscale.work import Work

FILMS = 64  # videos in work at once, at most
_PULSE = 0.05  # seconds between looks at what else is to be done
_POLL = 0.2  # seconds between looks at a result that another process writes
_GROUP = 16, 1 << 20  # images in a group, and pixels of its inputs, at most
_LIKELY = 8  # units that a video is taken to give, while it is being opened
_SHARES = 4  # groups that each worker gets, at least, while there are images enough


def run_on(pool: Pool, jobs: list[Job], work: Work) -> None:
    """Upscale all inputs by the workers of a pool. It tells and raises what `turns.run_all` does."""
    execution = _Execution(pool, jobs, work)
    try:
        execution.run()
    finally:
        execution.close()


class Died(DaganError):
    """Workers have died over an input."""


class _Execution:
    def __init__(self, pool: Pool, jobs: list[Job], work: Work) -> None:
        self._work = work
        self._crew = Crew(pool)
        self._size = self._crew.size  # as threads of videos may ask for it
        self._ledger = Ledger((job.source.path for job in jobs), work.tell)
        self._todo = deque(jobs)
        self._images = sum(job.source.kind == "picture" for job in jobs)  # in `_todo`
        self._later: list[Job] = []  # whose results other processes were writing
        self._open = 0  # units and videos in work
        self._films = ThreadPoolExecutor(FILMS, "dagan-film")
        self._absent: set[Path] = set()  # results that were not there when workers began with them
        self._made: dict[Path, int] = {}  # frames of this run in videos that one worker goes on with
        self._opening: set[Path] = set()  # videos that have not handed out their first segment
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()  # what threads of videos want done here
        self._error: BaseException | None = None
        self._is_stopping = False
        self._kept: Kept | None = None

    def run(self) -> None:
        while self._open or ((self._todo or self._later) and not self._is_stopping):
            if not self._is_stopping and (self._error or self._work.should_stop()):
                self._stop()
            while not self._is_stopping and self._is_hungry() and self._begin():
                pass
            self._crew.pump(_PULSE)
            self._size = self._crew.size
            with suppress(Empty):
                while True:
                    self._inbox.get_nowait()()
        self._ledger.end()
        if self._error is not None:
            raise self._error
        if self._is_stopping:
            raise Stopped(self._kept)

    def close(self) -> None:
        self._crew.close()
        self._films.shutdown()

    def _stop(self) -> None:
        self._is_stopping = True
        self._crew.stop()

    def _is_hungry(self) -> bool:
        """True if workers want more than they have, and before a video, more than those being opened will give."""
        is_video = bool(self._todo) and self._todo[0].source.kind != "picture"
        return self._crew.appetite > (_LIKELY * len(self._opening) if is_video else 0)

    def _begin(self) -> bool:
        """Begin the next input or group of images; return False if there is none."""
        while self._todo:
            job = self._todo.popleft()
            self._images -= job.source.kind == "picture"
            if isinstance(job.target, BadOption):
                self._ledger.item(failed(job.source.path, job.target))
            elif exists(job.target, self._work.request):
                settle(job.source, job.target, replace(self._work, tell=self._tell_settled))
            elif job.source.kind == "picture":
                self._submit((job, *self._more()))
                return True
            else:
                self._begin_film(job, job.target)
                return True
        if self._later and not self._open:
            jobs, self._later = self._later, []
            for job in jobs:
                self._submit((job,), waits=True)
            return True
        return False

    def _tell_settled(self, event: Event) -> None:
        if isinstance(event, Item):
            self._ledger.item(event)

    def _more(self) -> list[Job]:
        """Take the images that follow, as long as the group is small."""
        most, room = _GROUP
        most = min(most, -(-self._images // (_SHARES * self._crew.size)))
        group: list[Job] = []
        while self._todo and len(group) + 1 < most and self._todo[0].source.kind == "picture":
            job = self._todo[0]
            room -= job.pixels
            if isinstance(job.target, BadOption) or exists(job.target, self._work.request) or room < 0:
                break
            group.append(self._todo.popleft())
            self._images -= 1
        return group

    def _submit(self, jobs: tuple[Job, ...], *, waits: bool = False, deaths: list[str] | None = None) -> None:
        """Let a worker upscale whole inputs."""
        now = jobs[0].source.path
        targets = (job.target for job in jobs if isinstance(job.target, Path))
        self._absent.update(target for target in targets if not exists(target, self._work.request))

        def tell(worker: str, event: Event) -> None:
            nonlocal now
            if isinstance(event, Start):
                now = event.input
                self._ledger.start(now)
            elif isinstance(event, Item):
                if event.status == "skipped" and task.deaths and event.output in self._absent:
                    event = replace(event, status="done", reason="")  # a worker had made it, and died before it said so
                resumed = max(0, event.resumed - self._made.pop(event.input, 0))
                workers = () if event.status == "skipped" else (worker,)
                self._ledger.item(replace(event, resumed=resumed, workers=workers))
            elif not isinstance(event, Expected):  # it is for one process alone
                self._ledger.tell(event.input if isinstance(event, Wait | Kept) else now, event)

        self._open += 1
        task = self._crew.submit(Inputs(jobs, waits), tell, deaths)
        task.answer.add_done_callback(lambda _: self._inbox.put(lambda: self._ended(jobs, task)))

    def _ended(self, jobs: tuple[Job, ...], task: Task) -> None:
        """Process the end of a unit of whole inputs."""
        self._open -= 1
        left = [job for job in jobs if not self._ledger.has(job.source.path)]
        try:
            _, answer = task.answer.result()
            assert isinstance(answer, Left)
            self._note(answer.used)
            for job in answer.jobs:
                self._ledger.postpone(job.source.path)
                self._later.append(job)
        except WorkerDied as error:
            if len(jobs) > 1:
                for job in left:  # apart, to find the one that is too much for a worker
                    self._submit((job,), deaths=task.deaths)
            else:
                self._fail(left, _died(error))
        except Exception as error:
            self._take(error, left)

    def _take(self, error: Exception, jobs: list[Job]) -> None:
        """Process an error that ended the work on these inputs."""
        if isinstance(error, Stopped):
            self._kept = self._kept or error.kept
        elif isinstance(error, Fatal):
            self._error = self._error or error.error
        elif isinstance(error, BadModel | Abandoned):
            self._error = self._error or error
        else:
            self._fail(jobs, error)

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            output = job.target if isinstance(job.target, Path) else None
            died = isinstance(error, Died)
            self._ledger.item(replace(failed(job.source.path, error), output=output, is_usable=died))
        if isinstance(error, CannotWrite) and error.ends_the_batch:
            self._error = self._error or Abandoned()

    def _note(self, used: tuple[Used, ...] | list[Used]) -> None:
        """Keep the models of workers, each as it was used last."""
        known = {(one.device, one.signature): one for one in (*self._work.engines.of_workers, *used)}
        self._work.engines.of_workers[:] = known.values()

    def _begin_film(self, job: Job, target: Path) -> None:
        path = job.source.path

        def tell(event: Event) -> None:
            if not isinstance(event, Advance) or event.done:
                self._inbox.put(lambda: self._ledger.tell(path, event))

        def submit(unit: Unit, tell: Callable[[str, Event], None]) -> Task:
            task = self._crew.submit(unit, tell)
            if isinstance(unit, Piece):
                self._inbox.put(lambda: self._opening.discard(path))
            return task

        film = Film(
            path=path,
            target=target,
            request=self._work.request,
            submit=submit,
            tell=tell,
            size=lambda: self._size,
            should_stop=lambda: self._is_stopping,
        )
        self._open += 1
        self._opening.add(path)
        self._ledger.start(path)
        self._films.submit(self._make, film, job)

    def _make(self, film: Film, job: Job) -> None:
        """Make a video, in its own thread, and hand the result to the main thread."""
        started, end = time.monotonic(), self._inbox.put
        try:
            with self._owned(film) as is_mine:
                item = film.make() if is_mine else None
            end(lambda: self._film_ended(job, film, item, None))
        except Exception as error:
            seconds, raised = time.monotonic() - started, error
            end(lambda: self._film_ended(job, film, None, raised, seconds))

    @contextmanager
    def _owned(self, film: Film) -> Iterator[bool]:
        """Own the result of a video, once nobody else does; yield False if it exists then."""
        with ExitStack() as stack:
            for number in count():
                try:
                    stack.enter_context(owned(film.target))
                    if number:
                        self._inbox.put(lambda: self._ledger.start(film.path))
                    break
                except Taken as taken:
                    if self._is_stopping:
                        raise Stopped from None
                    if not number:
                        film.tell(Wait(film.path, str(taken)))
                    time.sleep(_POLL)
            yield not exists(film.target, film.request)

    def _film_ended(
        self, job: Job, film: Film, item: Item | None, error: Exception | None, seconds: float = 0.0
    ) -> None:
        self._open -= 1
        self._opening.discard(film.path)
        self._note(film.used)
        if item is not None:
            self._ledger.item(item)
        elif error is None:  # another process has made it meanwhile
            settle(job.source, film.target, replace(self._work, tell=self._tell_settled))
        elif isinstance(error, Uncut) and not self._is_stopping:
            self._made[film.path] = film.made
            self._submit((job,), waits=True)
        elif isinstance(error, Stopped) and error.kept:
            self._ledger.tell(film.path, error.kept)
            self._ledger.item(interrupted(error.kept, film.target, seconds))
            self._kept = self._kept or error.kept
        elif isinstance(error, WorkerDied):
            self._fail([job], _died(error))
        elif not isinstance(error, Uncut):
            self._take(error, [job])


def _died(error: WorkerDied) -> Died:
    what = f"each worker that was given it has died; of the last one: {error}"
    return Died(what, hint="use smaller tiles, such as -t 128, or fewer workers")
