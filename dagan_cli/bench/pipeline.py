"""Measure the stages of `dagan upscale` for one input, alone and together, and predict the time of the whole input.

Everything runs in this process, in interleaved rounds, so that load on the machine affects all stages; the best round
counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import ParamSpec, TypeVar

import torch

from dagan_cli.bench.busy import Watch
from dagan_cli.bench.history import compare
from dagan_cli.bench.result import Candidate, StageBench
from dagan_cli.bench.stages import PictureStages, Run, VideoStages
from dagan_cli.bench.ways import Way, other_qualities, same_quality, usual_runtime
from dagan_cli.errors import BadInput
from dagan_cli.media.find import Source
from dagan_cli.media.named import kind_of
from dagan_cli.prefetch import processors
from dagan_cli.upscale.batch import run
from dagan_cli.upscale.events import Advance, Item
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines, Work
from dagan_cli.upscaler import Upscaler

P = ParamSpec("P")
T = TypeVar("T")

_CLEARLY = 1.05  # times as fast: enough for another setting than the usual one
_PUT_OFF = 50  # frames: lookahead of encoders, before they do most of their work
_LONG = 5 * _PUT_OFF  # frames: enough to skip the start, where encoders only read, and the end, where they run alone


def bench(
    request: Request,
    *,
    shown: str | None = None,
    seconds: float = 10,
    rounds: int = 3,
    note: Callable[[str], None] = lambda _: None,
) -> StageBench:
    """Time the stages of upscaling `request.inputs[0]` by a factor, each for about `seconds`, on its first frames.

    It uses `request.part.frames` frames, or as many as fit into memory. The network, and the whole run from file to
    file, are timed for every order of the model, for published models of other shapes, and without a network, in the
    runtime and with the threads with which the network alone is fastest. Nothing is left on the disk. `shown` is the
    name of the input in commands, `note` receives progress messages. Raises NoInput for anything but a file of an image
    or a video, and the errors of upscaling.
    """
    watch = Watch()
    path = Path(request.inputs[0])
    found = kind_of(path)
    factor = request.goal.factor or 4.0
    with TemporaryDirectory(prefix="dagan-bench-") as name:
        folder = Path(name)
        note("loading and warming up the network")
        main = Engines(request)
        if request.model.is_open:  # the run would choose it by what the input is
            choose = Work(request, main, lambda _: None, lambda: False, None).choice_for
            request = replace(request, model=choose(Source(path, found)))
            main = Engines(request)
        engine = _apart(main.for_factor, factor)
        if found == "picture":
            stages = _apart(PictureStages, path, request, engine, folder)
        else:
            stages = _apart(VideoStages, path, request, engine, folder, seconds / rounds)
        request = replace(request, model=replace(request.model.for_factor(factor), order=engine.order))
        usual = usual_runtime(request, engine, stages.in_size, many=found == "video")
        subjects = [_Subject.of(way, stages, folder) for way in same_quality(request, engine, usual)]
        first = subjects[0]
        quickest = _quickest(subjects, seconds / 2, rounds, request.part.frames, note)
        finalists = [one for one in subjects if one is first or one is quickest]
        for way in other_qualities(quickest.way, engine):
            if way.request.model == request.model:
                for one in subjects:
                    one.quality = way.quality
            else:
                finalists.append(_Subject.of(way, stages, folder))
        before, after = stages.before(first.upscaler), _apart(stages.after, first.upscaler)
        paces = {name: _Pace(run, first.batch) for name, run in (before | after).items()}
        parts = tuple(paces.values())
        for one in finalists:
            paces[f"network, {one.words}"] = one.alone
            paces[f"together, {one.words}"] = one.together = _Pace(one.whole, 2 * one.batch, of=(*parts, one.alone))
        _measure(paces, seconds, rounds, request.part.frames, note)

    busy = watch.result()
    assert first.together is not None
    measured = {
        "input": shown or str(path.resolve()),
        "model": engine.sha256 or engine.name,
        "order": engine.order,
        "sizes": (stages.in_size, stages.out_size),
        "output": stages.output,
        "device": first.upscaler.choice.why,
        "runtime": first.way.runtime,
        "threads": torch.get_num_threads(),
    }
    last = compare(first.together.rate, measured, keep=not busy.is_busy)
    subjects = sorted({id(one): one for one in (*subjects, *finalists)}.values(), key=lambda one: one.quality)
    return StageBench(
        input=shown or str(path),
        kind=stages.kind,
        frames=stages.frames,
        in_size=stages.in_size,
        out_size=stages.out_size,
        model=engine.name,
        order=engine.order,
        device=first.upscaler.choice.why,
        output=stages.output,
        stages={
            **{name: paces[name].rate for name in before},
            "network": first.alone.rate,
            **{name: paces[name].rate for name in after},
        },
        rate=first.together.rate,
        reused=first.whole.reused,
        used=first.whole.used,
        busy=busy,
        last=None if busy.is_busy else last,
        candidates=tuple(one.candidate(shown or str(path), stages.frames) for one in subjects if one.is_as_named),
    )


@dataclass(slots=True)
class _Subject:
    """A way to upscale the input, ready to be timed."""

    way: Way
    upscaler: Upscaler
    batch: int  # frames that the network takes at once
    alone: _Pace
    whole: _EndToEnd
    quality: int
    together: _Pace | None = None  # timed from file to file, unless it cannot win

    @classmethod
    def of(cls, way: Way, stages: VideoStages | PictureStages, folder: Path) -> _Subject:
        engines = Engines(way.request)

        def load() -> tuple[Upscaler, int]:
            with _threads(way.threads):
                upscaler = engines.use(way.request.model)
                return upscaler, stages.batch(upscaler)

        upscaler, batch = _apart(load)
        alone = _Pace(_with_threads(stages.network(upscaler), way.threads), batch)
        return cls(way, upscaler, batch, alone, _EndToEnd(way.request, engines, folder, way.threads), way.quality)

    @property
    def words(self) -> str:
        """Describe the way: model, order, runtime and threads."""
        choice = self.way.request.model
        if choice.is_baseline:
            return self.upscaler.name
        order = "" if choice.order is None else f" order {choice.order}"
        threads = self.way.threads or torch.get_num_threads()
        on_cpu = f", {threads} thread{'s' * (threads > 1)}" if self.upscaler.choice.name == "cpu" else ""
        return f"{self.upscaler.name}{order}, {self.way.runtime}{on_cpu}"

    @property
    def is_as_named(self) -> bool:
        """True unless another runtime had to execute the network than the one to be timed."""
        is_usual = self.way.runtime == self.way.usual
        return is_usual or self.way.request.model.is_baseline or self.upscaler.choice.runtime == self.way.runtime

    def candidate(self, shown: str, frames: int | None) -> Candidate:
        rate = None if self.together is None else self.together.rate
        return Candidate(
            command=self.way.command(shown),
            words=self.words,
            note="no network" if self.way.request.model.is_baseline else "",
            quality=self.quality,
            alone=self.alone.rate,
            rate=rate,
            seconds=frames / rate if frames and rate else None,
        )


def _quickest(
    subjects: list[_Subject], seconds: float, rounds: int, most: int | None, note: Callable[[str], None]
) -> _Subject:
    """Return the one whose network is fastest alone; the first, unless another is clearly faster."""
    if len(subjects) > 1:
        _measure({f"network, {one.words}": one.alone for one in subjects}, seconds, rounds, most, note)
    best = max((one for one in subjects if one.is_as_named), key=lambda one: one.alone.rate)
    return best if best.alone.rate > _CLEARLY * subjects[0].alone.rate else subjects[0]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use so many threads, also in threads that start here; None: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_threads(run: Run, count: int | None) -> Run:
    def limited(frames: int) -> tuple[int, float]:
        with _threads(count):
            return run(frames)

    return limited


@dataclass(slots=True)
class _Pace:
    """A timed run, and its best rate up to now."""

    run: Run
    least: int  # minimum number of frames
    of: tuple[_Pace, ...] = ()  # stages that this run combines; its rate should approach that of the slowest
    rate: float = 0.0  # frames per second
    spent: float = 0.0  # seconds, without the warm-up

    def take(self, frames: int) -> None:
        done, seconds = _apart(self.run, max(self.least, frames))
        self.spent += seconds
        self.rate = max(self.rate, done / seconds)


def _apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call in a new thread, which ends with it.

    OpenMP keeps workers for every thread that has computed. If there are more workers than processors, they sleep
    instead of spinning, which slows down later runs, above all `dagan upscale` with its own threads.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="bench") as pool:
        return pool.submit(work, *args, **kwargs).result()


def _measure(
    paces: dict[str, _Pace], seconds: float, rounds: int, most: int | None, note: Callable[[str], None]
) -> None:
    """Run each for about `seconds` in total, in interleaved rounds; runs that take longer get fewer rounds.

    All stages together get fewer rounds of more frames, because encoders delay a part of their work.
    """
    guesses = {}
    for name, pace in paces.items():
        note(f"warming up: {name}")
        done, taken = _apart(pace.run, pace.least)
        guesses[name] = done / taken
        if taken > seconds:  # so slow a run needs no warm-up
            pace.rate, pace.spent = guesses[name], taken
    for turn in range(rounds):
        for name, pace in paces.items():
            rate = pace.rate or (0.8 * min(part.rate for part in pace.of) if pace.of else guesses[name])
            share = min(int(rate * seconds), _LONG) if pace.of else int(rate * seconds / rounds)
            frames = min(max(pace.least, share), most or share)
            if pace.rate and pace.spent + frames / rate > 1.5 * seconds:
                continue
            note(f"round {turn + 1} of {rounds}: {name}, {frames} frames")
            pace.take(frames)


@dataclass(slots=True)
class _EndToEnd:
    """`dagan upscale` itself, from file to file."""

    request: Request
    engines: Engines
    folder: Path
    threads: int | None = None
    reused: float | None = None  # share of reused tiles in the last run
    used: float = 0.0  # share of the processor time that the last run used

    def __call__(self, frames: int) -> tuple[int, float]:
        total, seconds = 0, 0.0
        with _threads(self.threads):
            while total < frames:  # a short input is repeated
                done, taken = self._once(frames - total)
                total += done
                seconds += taken
        return total, seconds

    def _once(self, frames: int) -> tuple[int, float]:
        """Return frames and seconds of the span in which all stages run; short runs include the end, see `_LONG`."""
        done: list[tuple[int, float]] = []
        items: list[Item] = []

        def tell(event: object) -> None:
            if isinstance(event, Advance) and event.unit == "frames":
                done.append((event.done, perf_counter()))
            elif isinstance(event, Item):
                items.append(event)

        started, used = perf_counter(), process_time()
        _upscale(
            replace(self.request, output=f"{self.folder}{os.sep}", part=replace(self.request.part, frames=frames)),
            self.engines,
            tell,
        )
        ended = perf_counter()
        self.used = (process_time() - used) / (ended - started) / processors()
        (item,) = items
        if item.status == "failed":
            raise BadInput(item.reason, hint=item.hint)
        if item.output is not None:
            item.output.unlink()
        self.reused = item.reused
        if len(done) < 2:
            return item.frames, item.seconds
        full = [at for at in done if at[0] >= _PUT_OFF] if len(done) >= 3 * _PUT_OFF else []
        (first, start), (last, end) = (full[0], full[-1]) if full else (done[0], (item.frames, ended))
        return last - first, end - start


def _upscale(request: Request, engines: Engines, tell: Callable[[object], None]) -> None:
    """Run the real pipeline."""
    run(request, engines, tell)
