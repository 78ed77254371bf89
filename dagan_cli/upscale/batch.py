"""Run a request: find inputs, plan outputs, upscale each input and report it.

The only place where media, engine, model and weights meet.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dagan_cli.engine.memory import attempt
from dagan_cli.errors import BadInput, BadModel, BadOption, CannotWrite, DaganError, NoInput, OutOfMemory
from dagan_cli.media import images
from dagan_cli.media.find import Found, Source, find_inputs, plan_naming, plan_targets
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.segments import forget_finished
from dagan_cli.media.video.source import open_video
from dagan_cli.media.y4m.reader import Y4mSource, is_y4m
from dagan_cli.upscale.events import STDOUT, Abandoned, Item, Start, Stopped, Tell
from dagan_cli.upscale.forecast import Forecaster
from dagan_cli.upscale.picture import upscale_picture
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.video import upscale_video
from dagan_cli.upscale.work import Engines, Work

STREAM = "-"  # stdin as the input, stdout as the output

_log = logging.getLogger(__name__)


def run(request: Request, engines: Engines, tell: Tell, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Upscale all inputs of the request, and report events to `tell`, with one Item for each input.

    A bad input becomes an Item with status "failed"; the others continue. Errors that concern all inputs are raised:
    NoInput, BadModel, BadOption, Abandoned for a full or read-only disk; and Stopped once `should_stop` returns True.
    """
    found, piped = _found(request)
    if not found.sources and not found.failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons().items())
        raise NoInput(
            f"nothing to upscale in {', '.join(request.inputs)}" + (f" ({reasons})" if reasons else ""),
            hint="name images or videos, or a folder of them; -r also searches its subfolders",
        )
    if found.sources and (request.model.name or request.goal.factor):  # a bad model is an error of the command
        engines.for_factor(request.goal.factor or 4.0, video=found.sources[0].kind == "video")
    for path, error in found.failed:
        tell(_failure(path, error))
    jobs = []
    for source in found.sources:
        try:
            jobs.append((source, _suffix(source, request, piped)))
        except Exception as error:
            tell(_failure(source.path, error))
    work, forecaster = Work(request, engines, tell, should_stop, piped), Forecaster(request, engines)
    for index, ((source, _), target) in enumerate(zip(jobs, _targets(found, jobs, request), strict=True)):
        if should_stop():
            raise Stopped
        if isinstance(target, BadOption):
            tell(_failure(source.path, target))
        elif target != STDOUT and os.path.exists(target) and not request.overwrite:
            forget_finished(target)
            tell(Item(input=source.path, output=target, status="skipped", reason="it exists; -y overwrites it"))
        elif request.dry_run:
            _forecast(source, target, forecaster, tell)
        else:
            tell(Start(index, len(jobs), source.path))
            _one(source, target, work)


def _found(request: Request) -> tuple[Found, bytes | Y4mSource | None]:
    """Return the inputs, and the image or video from stdin. Raises BadOption for streams that cannot be combined."""
    if request.dry_run and STREAM in (*request.inputs, request.output):
        raise BadOption("--dry-run does not work with - (stdin or stdout)", hint="name files, or leave out --dry-run")
    if STREAM not in request.inputs:
        out = Path(request.output) if request.output not in (None, STREAM) else None
        keywords = {"recursive": request.recursive, "include": request.include, "exclude": request.exclude}
        return find_inputs(request.inputs, out=out, **keywords), None
    if len(request.inputs) > 1:
        raise BadOption("- (stdin) cannot be combined with other inputs", hint="upscale it in a separate run")
    if request.output is None:
        raise BadOption("- (stdin) needs -o: its output has no name", hint="give -o FILE, or -o - for stdout")
    name, stdin = Path("stdin"), sys.stdin.buffer
    head = stdin.read(10)
    try:
        piped = Y4mSource(stdin, name, head) if is_y4m(head) else head + stdin.read()
    except BadInput as error:
        return Found((), (), ((name, error),), is_one_file=True), None
    kind = "picture" if isinstance(piped, bytes) else "video"
    return Found((Source(name, kind),), (), (), is_one_file=True), piped


def _targets(found: Found, jobs: list[tuple[Source, str]], request: Request) -> list[Path | BadOption]:
    if request.output != STREAM:
        naming = plan_naming(found, request.output, request.goal.name)
        return plan_targets([source for source, _ in jobs], naming, [suffix for _, suffix in jobs])
    if len(jobs) + len(found.failed) > 1:
        raise BadOption("-o - (stdout) takes one image or video", hint="name a file or folder with -o")
    if sys.stdout.isatty():
        raise BadOption("refusing to write image data to a terminal", hint="-o - | PROGRAM, or -o FILE")
    return [STDOUT for _ in jobs]


def _forecast(source: Source, target: Path, forecaster: Forecaster, tell: Tell) -> None:
    try:
        tell(forecaster.look_at(source, target))
    except BadModel:
        raise
    except Exception as error:
        tell(_failure(source.path, error))


def _one(source: Source, target: Path, work: Work) -> None:
    """Upscale one input; an error becomes a failed Item."""
    started = time.monotonic()
    upscale = upscale_picture if source.kind == "picture" else upscale_video
    try:
        item = attempt(lambda: upscale(source.path, target, work))
        if item is None:
            raise OutOfMemory(f"out of memory at {source.path}", hint="use a smaller --scale or --size")
    except (BadModel, Stopped):
        raise
    except Exception as error:
        item = replace(_failure(source.path, error), output=target)
        if isinstance(error, CannotWrite) and error.ends_the_batch:
            work.tell(replace(item, seconds=time.monotonic() - started))
            raise Abandoned from error
    work.tell(replace(item, seconds=time.monotonic() - started))


def _suffix(source: Source, request: Request, piped: bytes | Y4mSource | None) -> str:
    """Return the suffix of an output, which depends on the content of the input. Raises BadInput, BadOption."""
    if isinstance(piped, Y4mSource):
        return ".mkv"
    if source.kind == "video":
        with open_video(source.path) as video:
            return default_suffix(video.info, request.encoding.codec)
    with images.open_picture(source.path if piped is None else piped) as picture:
        info = picture.info
        size = request.goal.size_for(info.width, info.height)
        return images.output_suffix(
            info, size, format=request.format, lossless=request.lossless, kept=source.path.suffix
        )


def _failure(path: Path, error: Exception) -> Item:
    """Return the Item of a failed input; a bug is logged with its traceback, and other inputs continue."""
    if not isinstance(error, DaganError):
        _log.error("bug in dagan, at %r", str(path), exc_info=error)
        error = BadInput(f"{path} triggered a bug in dagan: {error!r}", hint="please report it, with the file")
    return Item(input=path, output=None, status="failed", reason=str(error), hint=error.hint, exit_code=error.exit_code)
