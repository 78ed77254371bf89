"""The use case: inputs through a network into outputs. The only place where media, engine, model and weights meet."""

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
    """Upscale everything that was asked for, and tell what happens, with one Item for each input.

    A bad input is an Item that failed and stops nothing. Raises what concerns all inputs: NoInput, BadModel, BadOption,
    Abandoned for a full or read-only disk; and Stopped once `should_stop` says so.
    """
    found, piped = _found(request)
    if not found.sources and not found.failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons().items())
        raise NoInput(
            f"nothing to upscale in {', '.join(request.inputs)}" + (f" ({reasons})" if reasons else ""),
            hint="name pictures or videos, or a folder of them; -r looks into folders inside",
        )
    if found.sources and (
        request.model.name or request.goal.factor
    ):  # a wrong model is the command's error, no input's
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
            tell(Item(input=source.path, output=target, status="skipped", reason="it exists; -y overwrites"))
        elif request.dry_run:
            _forecast(source, target, forecaster, tell)
        else:
            tell(Start(index, len(jobs), source.path))
            _one(source, target, work)


def _found(request: Request) -> tuple[Found, bytes | Y4mSource | None]:
    """The inputs, and the picture or video that comes from stdin. Raises BadOption where streams do not go together."""
    if request.dry_run and STREAM in (*request.inputs, request.output):
        raise BadOption("--dry-run cannot look into a stream", hint="name files, or leave --dry-run out")
    if STREAM not in request.inputs:
        out = Path(request.output) if request.output not in (None, STREAM) else None
        keywords = {"recursive": request.recursive, "include": request.include, "exclude": request.exclude}
        return find_inputs(request.inputs, out=out, **keywords), None
    if len(request.inputs) > 1:
        raise BadOption("- (stdin) was named among other inputs", hint="upscale it in a run of its own")
    if request.output is None:
        raise BadOption("the result of - (stdin) has no name", hint="give -o FILE, or -o - for stdout")
    name, stdin = Path("stdin"), sys.stdin.buffer
    begun = stdin.read(10)
    try:
        piped = Y4mSource(stdin, name, begun) if is_y4m(begun) else begun + stdin.read()
    except BadInput as error:
        return Found((), (), ((name, error),), is_one_file=True), None
    kind = "picture" if isinstance(piped, bytes) else "video"
    return Found((Source(name, kind),), (), (), is_one_file=True), piped


def _targets(found: Found, jobs: list[tuple[Source, str]], request: Request) -> list[Path | BadOption]:
    if request.output != STREAM:
        naming = plan_naming(found, request.output, request.goal.name)
        return plan_targets([source for source, _ in jobs], naming, [suffix for _, suffix in jobs])
    if len(jobs) + len(found.failed) > 1:
        raise BadOption("-o - (stdout) takes one picture or video", hint="name a file or folder with -o")
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
    """Upscale one input; what goes wrong with it becomes a failed Item."""
    started = time.monotonic()
    upscale = upscale_picture if source.kind == "picture" else upscale_video
    try:
        item = attempt(lambda: upscale(source.path, target, work))
        if item is None:
            raise OutOfMemory(f"memory ran out at {source.path}", hint="use a smaller --scale or --size")
    except (BadModel, Stopped):
        raise
    except Exception as error:
        item = replace(_failure(source.path, error), output=target)
        if isinstance(error, CannotWrite) and error.ends_the_batch:
            work.tell(replace(item, seconds=time.monotonic() - started))
            raise Abandoned from error
    work.tell(replace(item, seconds=time.monotonic() - started))


def _suffix(source: Source, request: Request, piped: bytes | Y4mSource | None) -> str:
    """The suffix of an input's result, as its content decides. Raises BadInput, BadOption."""
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
    """The item of an input that failed; a bug keeps its traceback, but harms no other input."""
    if not isinstance(error, DaganError):
        _log.error("a bug in dagan, met at %r", str(path), exc_info=error)
        error = BadInput(f"{path} met a bug in dagan: {error!r}", hint="please report it, with the file")
    return Item(input=path, output=None, status="failed", reason=str(error), hint=error.hint, exit_code=error.exit_code)
