"""Perform units of work with models that are loaded once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2b
from math import inf

from dagan_cli.analysis.measure import analyse_video
from dagan_cli.engine.memory import attempt
from dagan_cli.files import Folder
from dagan_cli.media.video.segments import piece_name
from dagan_cli.media.video.source import Frame, open_video
from dagan_cli.media.video.split.segment import SegmentEncoder
from dagan_cli.media.video.writer import encoder_errors
from dagan_cli.prefetch import prefetch
from dagan_cli.upscale.events import Advance, Tell
from dagan_cli.upscale.executors.units import Answer, Inputs, Left, Look, Made, OtherKind, Piece, Seen, Unit
from dagan_cli.upscale.picture import out_of_memory
from dagan_cli.upscale.plan import outline
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.running.turns import run_turn
from dagan_cli.upscale.used import Used
from dagan_cli.upscale.video import AHEAD, Enlarger
from dagan_cli.upscale.work import Engines, Work

_TELL = 0.5  # seconds between messages about frames of a segment, of which a thousand workers would send too many


class Worker:
    """Performs units of one request on one device, one after the other."""

    def __init__(self, request: Request, device: str) -> None:
        self._request = replace(request, engine=replace(request.engine, device=device))
        self._engines = Engines(self._request)

    def prepare(self) -> None:
        """Load the model if the request names it. Raises BadModel, BadOption."""
        if self._request.model.is_fixed or self._request.goal.factor:
            self._engines.require_usable(self._request.goal.factor or 4.0)

    def perform(self, unit: Unit, tell: Tell, should_stop: Callable[[], bool]) -> Answer:
        """Do one unit. Raises Stopped, Abandoned, Irregular, OtherKind, and what the work raises."""
        self._engines.tell = tell
        work = Work(self._request, self._engines, tell, should_stop, None)
        if isinstance(unit, Inputs):
            left = run_turn(list(unit.jobs), work, waits=unit.waits)
            return Left(tuple(left), tuple(self._engines.used))
        if isinstance(unit, Look):
            return self._seen(unit)
        made = attempt(lambda: self._made(unit, work))
        if made is None:
            raise out_of_memory(unit.path)
        return made

    def _seen(self, unit: Look) -> Seen:
        with open_video(unit.path, self._request.deinterlace) as video:
            factor = outline(video.info, self._request.goal).factor
        choice = self._engines.choice_for(unit.path, factor, lambda: analyse_video(unit.path))
        return Seen(choice, Used.of(self._engines.use(choice)))

    def _made(self, unit: Piece, work: Work) -> Made:
        upscaler = self._engines.use(unit.choice)
        if upscaler.signature != unit.signature:
            raise OtherKind(f"{upscaler.signature}, not {unit.signature}")
        plan, times, noticed = unit.plan, unit.stretch.times, len(upscaler.notices)
        with ExitStack() as stack:
            folder = stack.enter_context(Folder.opened(unit.folder))
            source = stack.enter_context(open_video(unit.path, work.request.deinterlace))
            name = piece_name(unit.number)
            file = folder.create(name)
            stack.callback(file.close)
            try:
                with encoder_errors(unit.path):
                    encoder = SegmentEncoder(plan, file)
                    enlarger = Enlarger(upscaler, work, plan.size, plan.recipe.layout)
                    seen = _Seen(unit)
                    decoded = stack.enter_context(
                        prefetch(
                            seen.through(source.frames_at(seen.times, unit.stretch.key)),
                            AHEAD * upscaler.engine.frames_at_once(plan.source.height, plan.source.width),
                        )
                    )
                    told = -inf
                    for pictures in stack.enter_context(prefetch(enlarger.enlarge(decoded), AHEAD)):
                        for planes, pts, duration in pictures:
                            encoder.add(planes, pts, duration, seen.captions.pop(pts, b""))
                            if (now := time.monotonic()) - told >= _TELL:
                                work.tell(Advance(len(encoder.pts), len(times), "frames"))
                                told = now
                    encoder.finish()
            except BaseException:
                folder.remove(name)
                raise
            return Made(
                name=name,
                durations=encoder.durations,
                before=seen.before,
                last=seen.last,
                has_captions=seen.has_captions,
                reused=enlarger.counts[0],
                tiles=enlarger.counts[1],
                notices=tuple(upscaler.notices[noticed:]),
                used=Used.of(upscaler),
            )


class _Seen:
    """Notes on the frames between decoder and network: captions, and digests of the frames at the ends."""

    def __init__(self, unit: Piece) -> None:
        stretch = unit.stretch
        self.times = stretch.times if stretch.before is None else (stretch.before, *stretch.times)
        self.before = self.last = ""
        self.captions: dict[int, bytes] = {}  # of the frames on their way, by pts
        self.has_captions = False
        self._skips = stretch.before
        self._end = stretch.times[-1]

    def through(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames of the segment."""
        for frame in frames:
            if frame.pts == self._skips:
                self.before = _digest(frame)
                continue
            if frame.pts == self._end:
                self.last = _digest(frame)
            if frame.captions:
                self.captions[frame.pts] = frame.captions
                self.has_captions = True
            yield frame


def _digest(frame: Frame) -> str:
    digest = blake2b(digest_size=16)
    for plane in frame.planes:
        digest.update(plane.tobytes())
    return digest.hexdigest()
