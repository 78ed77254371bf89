"""Measure the stages of `dagan upscale` for one input, alone and together, and predict the time of the whole input.

Everything runs in this process, in interleaved rounds, so that load on the machine affects all stages; the best round
counts.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import ParamSpec, TypeVar

from dagan_cli.bench.result import Candidate, StageBench
from dagan_cli.bench.stages import PictureStages, Run, VideoStages
from dagan_cli.errors import BadInput
from dagan_cli.media.find import Source
from dagan_cli.media.named import kind_of
from dagan_cli.prefetch import processors
from dagan_cli.upscale.batch import run
from dagan_cli.upscale.events import Advance, Item
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines, Work
from dagan_cli.upscaler import ModelChoice

P = ParamSpec("P")
T = TypeVar("T")

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
    file, are timed for every order of the model, and without a network. Nothing is left on the disk. `shown` is the
    name of the input in commands, `note` receives progress messages. Raises NoInput for anything but a file of an image
    or a video, and the errors of upscaling.
    """
    load = os.getloadavg()[0] / processors() if hasattr(os, "getloadavg") else 0.0
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
        before, after = stages.before(engine), _apart(stages.after, engine)
        paces = {name: _Pace(run, stages.batch(engine)) for name, run in (before | after).items()}
        ways = []
        for asked in _ways(request, engine.orders):
            is_main = asked.model.name == request.model.name and asked.model.order in (
                request.model.order,
                engine.order,
            )
            engines = main if is_main else Engines(asked)
            network = _apart(engines.for_factor, factor)
            paces[f"network, {_label(asked)}"] = alone = _Pace(stages.network(network), stages.batch(network))
            end_to_end = _EndToEnd(asked, engines, folder)
            apart = [paces[name] for name in (*before, *after)] + [alone]
            together = _Pace(end_to_end, 2 * stages.batch(network), of=tuple(apart))
            paces[f"together, {_label(asked)}"] = together
            ways.append((asked, is_main, alone, together, end_to_end))
        _measure(paces, seconds, rounds, request.part.frames, note)

    _, _, alone, together, end_to_end = next(way for way in ways if way[1])
    rates = {name: pace.rate for name, pace in paces.items()}
    return StageBench(
        input=shown or str(path),
        kind=stages.kind,
        frames=stages.frames,
        in_size=stages.in_size,
        out_size=stages.out_size,
        model=engine.name,
        order=engine.order,
        device=engine.choice.why,
        output=stages.output,
        stages={
            **{name: rates[name] for name in before},
            "network": alone.rate,
            **{name: rates[name] for name in after},
        },
        rate=together.rate,
        reused=end_to_end.reused,
        busy=end_to_end.busy,
        load=load,
        candidates=tuple(
            Candidate(
                command=_command(asked, shown or str(path)),
                note="no network" if asked.model.is_baseline else "",
                alone=alone.rate,
                rate=together.rate,
                seconds=stages.frames / together.rate if stages.frames else None,
            )
            for asked, _, alone, together, _ in ways
        ),
    )


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
    reused: float | None = None  # share of reused tiles in the last run
    busy: float = 0.0  # share of the processor time that the last run used

    def __call__(self, frames: int) -> tuple[int, float]:
        total, seconds = 0, 0.0
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
        self.busy = (process_time() - used) / (ended - started) / processors()
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


def _ways(request: Request, orders: tuple[int, ...]) -> list[Request]:
    """Return the request with each order of the model, the best first, and without a network."""
    if request.model.is_baseline:
        return [request]
    with_network = [
        replace(request, model=replace(request.model, order=order)) for order in sorted(orders, reverse=True)
    ] or [request]
    return [*with_network, replace(request, model=ModelChoice("bicubic"))]


def _label(request: Request) -> str:
    choice = request.model
    return f"order {choice.order}" if choice.order else choice.name or "the model"


def _command(request: Request, shown: str) -> str:
    """Return the command line, with all options that affect speed or quality."""
    engine, encoding = request.engine, request.encoding
    options = {
        "-s": f"{request.goal.factor:g}",
        "-n": request.model.name,
        "--order": request.model.order,
        "--device": engine.device if engine.device != "auto" else None,
        "--precision": engine.precision if engine.precision != "auto" else None,
        "--tile": engine.tile if engine.tile != "auto" else None,
        "--codec": encoding.codec,
        "--preset": encoding.preset,
    }
    words = [word for key, value in options.items() if value is not None for word in (key, str(value))]
    return shlex.join(["dagan", "upscale", shown, *words])
