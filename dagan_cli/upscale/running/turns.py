"""Upscale inputs in their order, each while no other process writes its result. It needs PyTorch; `batch` does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from dagan_cli.engine.memory import attempt
from dagan_cli.errors import BadModel, BadOption, CannotWrite, OutOfMemory
from dagan_cli.files import Lost, Taken, owned, require_replaceable, require_writable
from dagan_cli.media.find import Source
from dagan_cli.upscale.estimate.expected import tell_expected
from dagan_cli.upscale.estimate.forecast import Forecaster
from dagan_cli.upscale.events import STDOUT, Abandoned, Item, Start, Stopped, Tell, Wait, failed, interrupted
from dagan_cli.upscale.job import Job, exists, fail, is_due, settle
from dagan_cli.upscale.picture import Made, Opened, compute, out_of_memory
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.running.flow import Flow
from dagan_cli.upscale.video import upscale_video
from dagan_cli.upscale.work import Work

_POLL = 0.2  # seconds between looks at an output that another process owns


def run_all(jobs: list[Job], work: Work) -> None:
    """Upscale all inputs; those whose results another process is writing come last, when it may be done."""
    if left := run_turn(jobs, work, waits=False):
        run_turn(left, work, waits=True, total=len(jobs))


def run_turn(jobs: list[Job], work: Work, *, waits: bool, total: int | None = None) -> list[Job]:
    """Upscale these inputs, of a `total`; return those whose results another process is writing, unless this `waits`.

    Raises Stopped, and Abandoned for a disk that is full or read-only.
    """
    forecaster = Forecaster(work.request, work.engines)
    total, taken = total or len(jobs), []
    started = total - len(jobs)
    with Flow(work, _ahead(jobs, work.request)) as flow:
        work = flow.work
        try:
            for job in jobs:
                if work.should_stop():
                    raise Stopped
                if isinstance(job.target, BadOption):
                    work.tell(failed(job.source.path, job.target))
                elif exists(job.target, work.request):
                    settle(job.source, job.target, work)
                elif work.request.dry_run:
                    _forecast(job.source, job.target, forecaster, work.tell)
                elif not _in_turn(job.source, job.target, flow, Start(started, total, job.source.path), waits):
                    taken.append(job)
                    continue
                flow.forget(job.source.path)
                started += 1
        except Stopped:
            flow.drain()
            if flow.error is None:
                raise
        flow.drain()
        if flow.error is not None:
            raise Abandoned from flow.error
    return taken


def _ahead(jobs: list[Job], request: Request) -> Iterator[tuple[Path, Path] | None]:
    """Yield the images to upscale, with their targets; None for a video, which images do not overtake."""
    for job in jobs if not request.dry_run else ():
        if is_due(job, request) and isinstance(job.target, Path):
            yield (job.source.path, job.target) if job.source.kind == "picture" else None


def _in_turn(source: Source, target: Path, flow: Flow, start: Start, waits: bool) -> bool:
    """Upscale one input while no other process writes its result; return False if one does, unless this `waits`."""
    work = flow.work
    with ExitStack() as stack:
        told = False
        while target != STDOUT:
            try:
                stack.enter_context(owned(target))
                break
            except Taken as taken:
                if not waits:
                    flow.forget(source.path)
                    return False
                if not told:
                    work.tell(Wait(source.path, str(taken)))
                    told = True
                if work.should_stop():
                    raise Stopped from None
                time.sleep(_POLL)
            except CannotWrite as error:
                fail(source, target, error, work, 0.0)
                return True
        if exists(target, work.request):  # the other process has finished it
            settle(source, target, work)
        else:
            work.tell(start)
            tell_expected(source, target, work, start.total)
            try:
                _one(source, target, flow, stack)
            except Lost as lost:  # this process was asleep, and another one has gone on with the video
                if waits:
                    fail(source, target, lost, work, 0.0)
                return waits
    return True


def _forecast(source: Source, target: Path, forecaster: Forecaster, tell: Tell) -> None:
    try:
        require_replaceable(target)
        require_writable(target)
        tell(forecaster.look_at(source, target))
    except BadModel:
        raise
    except Exception as error:
        tell(failed(source.path, error))


def _one(source: Source, target: Path, flow: Flow, stack: ExitStack) -> None:
    """Upscale one input; an error becomes a failed Item. What holds `target` is in `stack`."""
    started, work = time.monotonic(), flow.work
    try:
        if source.kind == "picture":
            item = _picture(source.path, target, flow, stack)
        else:
            flow.drain()
            item = attempt(lambda: upscale_video(source.path, target, work))
            if item is None:
                raise out_of_memory(source.path)
    except (BadModel, Lost):
        raise
    except Stopped as stopped:
        if stopped.kept:
            work.tell(interrupted(stopped.kept, target, time.monotonic() - started))
        raise
    except Exception as error:
        fail(source, target, error, work, time.monotonic() - started)
        return
    if item is not None:
        work.tell(replace(item, seconds=time.monotonic() - started))


def _picture(path: Path, target: Path, flow: Flow, stack: ExitStack) -> Item | None:
    """Upscale an image. A still is computed, and then handed over with `stack` to be written and told: return None."""
    opened, made, seconds = _computed(path, target, flow, stack)
    if made.is_computed:
        flow.write(made, replace(made.item(), seconds=opened.seconds + seconds), stack.pop_all())
        return None
    flow.drain()
    if flow.work.should_stop():
        raise Stopped
    if attempt(lambda: made.write() or True) is None:
        raise out_of_memory(path)
    return made.item()


def _computed(path: Path, target: Path, flow: Flow, stack: ExitStack) -> tuple[Opened, Made, float]:
    """Return an image, its result and the seconds of computing it; what they hold is added to `stack`.

    Where memory is short, it is tried again once no other image is being written.
    """
    while True:
        with ExitStack() as held:
            opened = flow.opened(path, target, held)
            started = time.monotonic()
            try:
                made = attempt(lambda opened=opened: compute(opened, target, flow.work))
                if made is None:
                    raise out_of_memory(path)
            except OutOfMemory:
                if not flow.drain():
                    raise
                continue
            stack.push(held.pop_all())
            return opened, made, time.monotonic() - started
