"""Make one video by several workers: cut it, hand out its segments, and join the results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from dagan_cli.errors import BadOption
from dagan_cli.media.made.record import to_text
from dagan_cli.media.video.source import Irregular, open_video
from dagan_cli.media.video.split.gathering import Gathering, gather_video
from dagan_cli.media.video.split.timeline import timeline_of
from dagan_cli.upscale.events import Advance, Event, Item, Kept, Stopped
from dagan_cli.upscale.executors.crew import Task
from dagan_cli.upscale.executors.units import Answer, Look, Made, OtherKind, Piece, Seen, Unit
from dagan_cli.upscale.made import in_words, made_from, settings_of
from dagan_cli.upscale.plan import outline
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.used import Used

_AHEAD = 2  # segments that are handed out for each worker
_FEWEST = 2  # segments of a video that is cut
_TRIES = 4  # of a segment whose frames do not fit, each decoded from an earlier place, the last from the start

Submit = Callable[[Unit, Callable[[str, Event], None]], Task]


class Uncut(Exception):
    """The video is to be made by one process: it is short, or not regular enough to be cut."""


@dataclass
class Film:
    """A video on its way; `submit` hands out units, `tell` receives its events, `size` is the number of workers."""

    path: Path
    target: Path
    request: Request
    submit: Submit
    tell: Callable[[Event], None]
    size: Callable[[], int]
    should_stop: Callable[[], bool]
    used: list[Used] = field(default_factory=list)
    made: int = 0  # frames that this run has made
    _done: dict[int, int] = field(default_factory=dict)  # frames of segments in work
    _shown: int = 0  # frames that the last event counts
    _workers: Counter[str] = field(default_factory=Counter)
    _notices: list[str] = field(default_factory=list)
    _reused: int = 0
    _tiles: int = 0

    def make(self) -> Item:
        """Make the video; it takes a thread of its own. Raises Uncut, Stopped, WorkerDied, and what the work raises."""
        started, request, part = time.monotonic(), self.request, self.request.part
        with open_video(self.path, request.deinterlace) as source:
            info = source.info
            limits = {"start": part.start, "end": part.end, "limit": part.frames}
            timeline = timeline_of(info, request.deinterlace, **limits)
            if timeline is None:
                raise Uncut
            _, seen = self.submit(Look(self.path), lambda _, event: self.tell(event)).answer.result()
            assert isinstance(seen, Seen)
            length = seen.used.segment_length
            if len(timeline.times) <= length * (_FEWEST - 1):
                raise Uncut
            self.used.append(seen.used)
            result = outline(info, request.goal)
            made = made_from(self.path, self.target, "video", request, seen.used)
            gathered = gather_video(
                self.target,
                result.info,
                result.size,
                request.encoding,
                timeline,
                trim=not part.is_whole,
                made_by=seen.used.signature,
                record=to_text(made),
                resume=settings_of(made, request, seen.used) if request.resume else None,
                segment=length,
                replace=request.replaces(self.target),
            )
            with in_words(self.target), gathered as gathering:
                try:
                    self._make_all(gathering, seen, len(timeline.times))
                except Stopped:
                    if not (request.resume and gathering.frames):
                        raise
                    raise Stopped(Kept(self.path, gathering.frames, len(timeline.times))) from None
        return Item(
            input=self.path,
            output=self.target,
            status="done",
            model=seen.used.words,
            seconds=time.monotonic() - started,
            frames=len(timeline.times),
            in_size=(info.width, info.height),
            out_size=result.size,
            warnings=(*source.warnings, *gathering.warnings, *dict.fromkeys(self._notices)),
            reused=self._reused / self._tiles if self._tiles else None,
            resumed=gathering.resumed,
            workers=tuple(
                f"{name}: {count} segment{'' if count == 1 else 's'}" for name, count in sorted(self._workers.items())
            ),
        )

    def _make_all(self, gathering: Gathering, seen: Seen, total: int) -> None:
        """Hand out all missing segments, and again those that do not fit the one before them."""
        tries: dict[int, int] = {}
        todo = gathering.missing
        while todo:
            self._make_these(todo, tries, gathering, seen, total)
            unlike = gathering.unlike()
            todo = [] if unlike is None else [unlike]
            for index in todo:
                self._again(index, tries)

    def _again(self, index: int, tries: dict[int, int]) -> None:
        tries[index] = tries.get(index, 0) + 1
        if tries[index] >= _TRIES:
            raise Uncut

    def _make_these(self, todo: list[int], tries: dict[int, int], gathering: Gathering, seen: Seen, total: int) -> None:
        running: dict[Future[tuple[str, Answer]], int] = {}
        waiting = iter(todo)
        again: list[int] = []
        while True:
            while len(running) < _AHEAD * self.size():
                index = again.pop() if again else next(waiting, None)
                if index is None:
                    break
                if gathering.is_alone(index):
                    tries.setdefault(index, 1)
                running[self._submit(index, tries.get(index, 0), gathering, seen, total)] = index
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                try:
                    worker, answer = future.result()
                except Irregular:
                    self._again(index, tries)
                    again.append(index)
                    continue
                except OtherKind as error:
                    what = f"workers compute in different ways: {error}"
                    raise BadOption(what, hint="use devices of one kind") from error
                assert isinstance(answer, Made)
                gathering.adopt(index, answer.name, answer.durations, answer.before, answer.last)
                self._done.pop(index, None)
                self._account(worker, answer, gathering)
                self._advance(gathering, total)

    def _submit(
        self, index: int, tries: int, gathering: Gathering, seen: Seen, total: int
    ) -> Future[tuple[str, Answer]]:
        if self.should_stop():
            raise Stopped
        piece = Piece(
            path=self.path,
            plan=gathering.plan,
            choice=seen.choice,
            signature=seen.used.signature,
            stretch=gathering.stretch(index, tries),
            folder=gathering.folder,
            number=index,
        )

        def tell(_: str, event: Event) -> None:
            if isinstance(event, Advance):
                self._done[index] = event.done
                self._advance(gathering, total)

        return self.submit(piece, tell).answer

    def _account(self, worker: str, answer: Made, gathering: Gathering) -> None:
        self._workers[worker] += 1
        self.made += len(answer.durations)
        self._notices += answer.notices
        self._reused += answer.reused
        self._tiles += answer.tiles
        gathering.has_captions |= answer.has_captions
        self.used.append(answer.used)

    def _advance(self, gathering: Gathering, total: int) -> None:
        self._shown = min(total, max(self._shown, gathering.frames + sum(list(self._done.values()))))
        self.tell(Advance(self._shown, total, "frames", gathering.resumed))
