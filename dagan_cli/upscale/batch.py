"""Run a request: find inputs, plan outputs, upscale each input and report it.

The only place where media, engine, model and weights meet.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dagan_cli.analysis.measure import Analysis, analyse_image, analyse_video
from dagan_cli.engine.cache import cache_folder
from dagan_cli.errors import BadInput, BadOption, DaganError, NoInput
from dagan_cli.media import images
from dagan_cli.media.find import Found, Places, Source, find_inputs
from dagan_cli.media.made.seen import Seen
from dagan_cli.media.sniff import HEAD, starts_like_video
from dagan_cli.media.targets import plan_naming, plan_targets, told_apart
from dagan_cli.media.template import Facts
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.source import open_video
from dagan_cli.media.y4m.reader import ADVICE, Y4mSource, is_y4m
from dagan_cli.upscale.events import (
    STDOUT,
    Amount,
    BadReport,
    Event,
    Item,
    Notice,
    Outlook,
    Stopped,
    Tell,
    failed,
)
from dagan_cli.upscale.inputs.scope import Scope
from dagan_cli.upscale.job import Job, is_due, settle
from dagan_cli.upscale.plan import outline
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines, Work

STREAM = "-"  # stdin as the input, stdout as the output
_OTHER = {"picture": "a video", "video": "an image"}
_POLL = 0.2  # seconds between looks at an output that another process owns


def run(
    request: Request,
    engines: Engines,
    tell: Tell,
    should_stop: Callable[[], bool] = lambda: False,
    scope: Scope | None = None,
) -> None:
    """Upscale all inputs of the request, or of `scope`, and report events to `tell`, with one Item for each input.

    A bad input becomes an Item with status "failed"; the others continue. Errors that concern all inputs are raised:
    NoInput, BadModel, BadOption, Abandoned for a full or read-only disk; and Stopped once `should_stop` returns True.
    However it ends, every input has its Item: those that were not reached are "untried".
    """
    seen = Seen(None if request.overwrite else cache_folder() / "seen.sqlite")
    try:
        _run(request, engines, tell, should_stop, seen, scope)
    finally:
        seen.close()


def _run(
    request: Request, engines: Engines, tell: Tell, should_stop: Callable[[], bool], seen: Seen, scope: Scope | None
) -> None:
    with _no_garbage():
        scope, piped = _scope(request, seen) if scope is None else (scope, None)
    found = scope.found
    some = bool(found.sources or found.failed)
    if found.left_out:
        notice = left_out(found)
        tell(notice if some else replace(notice, text=""))
    if scope.left:
        tell(Notice(f"left to other shards: {scope.left} input{'' if scope.left == 1 else 's'}", ()))
    if not (some or found.earlier) and (scope.left or request.retry):
        what = (
            f"all inputs of {request.retry.path} are done" if request.retry else f"shard {request.shard} has no inputs"
        )
        tell(Notice(f"nothing to do: {what}", ()))
        return
    if not some and not scope.left:
        raise NoInput(
            f"nothing to upscale in {', '.join(request.inputs)}" + (f" ({_reasons(found)})" if found.left_out else ""),
            hint="name images or videos, or a folder of them; -r also searches its subfolders",
        )
    kinds = {source.kind for source in (*found.sources, *scope.others)}
    if kinds and not request.watch and (flags := request.without_effect(kinds)):
        tell(Notice(f"{', '.join(flags)}: without effect, as no input is {_OTHER[kinds.pop()]}", ()))
    below = {source.path: source.below for source in found.sources} | dict(found.below)
    untried: dict[Path, Path | None] = {source.path: None for source in found.sources}  # in order, with their results

    def account(event: Event) -> None:
        if isinstance(event, Item):
            untried.pop(event.input, None)
            event = replace(event, below=below.get(event.input, event.below))
        tell(event)

    for path, error in found.failed:
        account(failed(path, error))
    for path in found.earlier:
        account(Item(input=path, output=path, status="skipped", reason="dagan made it from another input"))
    work = Work(request, engines, account, should_stop, piped, seen)
    try:
        with _no_garbage():
            jobs, has_work = _planned(scope, work)
        untried |= {job.source.path: job.target for job in jobs if isinstance(job.target, Path)}
        is_shared = has_work and _is_shared(work)
        if has_work and not is_shared:
            _import_engine()
        is_named = request.model.is_fixed or request.goal.factor  # then a bad model is an error of the command
        # Where all results exist, no network is loaded: the header of its file tells if they are those of this run.
        if found.sources and is_named and (has_work or not jobs) and not is_shared:
            engines.require_usable(request.goal.factor or 4.0)
        if is_shared:
            _share(jobs, work)
        elif has_work:
            from dagan_cli.upscale.running.turns import run_all

            run_all(jobs, work)
        else:
            with _no_garbage():
                _settle_all(jobs, work)
    except BaseException as error:
        reason = "the run was stopped before it was done" if isinstance(error, Stopped) else "the run ended before it"
        for path, target in tuple(untried.items()):
            account(Item(input=path, output=target, status="untried", reason=reason))
        raise


def left_out(found: Found) -> Notice:
    """Return what was found and is no input, in words."""
    details = tuple(f"{skipped.path}: {skipped.reason}" for skipped in found.left_out)
    return Notice(f"left out: {_reasons(found)}", details)


def _reasons(found: Found) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in found.reasons().items())


def _planned(scope: Scope, work: Work) -> tuple[list[Job], bool]:
    """Return the inputs with the paths of their results, and True if any is to be made.

    An input whose result cannot be named becomes an Item.
    """
    found = scope.found
    suffixes: list[tuple[Source, str]] = []
    amounts: list[Amount] = []
    facts: dict[Path, Facts] = {}
    question = _question(work.request)
    for source in found.sources:
        if work.should_stop():
            raise Stopped
        try:
            header = _header(source, question, work)
            if work.request.template is not None:
                facts[source.path] = header.facts
            amounts.append(Amount(source.kind, header.pixels, header.frames))
            suffixes.append((source, header.suffix))
        except Exception as error:
            work.tell(failed(source.path, error))
    suffixes += _of_others(scope, facts, question, work)
    targets = _targets(found, suffixes, facts, work)
    _require_apart(scope, targets, work)
    planned = zip(suffixes[: len(amounts)], targets, amounts, strict=False)  # the others come last
    jobs = [
        Job(source, _former(target, scope.former.get(source.path), work.request), amount.pixels)
        for (source, _), target, amount in planned
    ]
    due = {job.source.path: amount for job, amount in zip(jobs, amounts, strict=True) if is_due(job, work.request)}
    work.tell(Outlook(len(found.sources) + len(found.failed) + len(found.earlier), due))
    return jobs, bool(due)


def _of_others(scope: Scope, facts: dict[Path, Facts], question: str, work: Work) -> list[tuple[Source, str]]:
    """Return the inputs that this run leaves alone, with the suffixes of their results; the facts are added."""
    suffixes: list[tuple[Source, str]] = []
    for source in scope.heard if work.request.template is None else scope.others:
        if work.should_stop():
            raise Stopped
        with suppress(DaganError):  # whoever works on it reports that
            suffix = scope.others[source]
            if work.request.template is not None or not suffix:
                header = _header(source, question, work)
                suffix = header.suffix
                if work.request.template is not None:
                    facts[source.path] = header.facts
            suffixes.append((source, suffix))
    return suffixes


def _former(target: Path | BadOption, former: Path | None, request: Request) -> Path | BadOption:
    """Return the target, or that of an earlier run if the results are in the same folder and of the same kind."""
    if former is None or isinstance(target, BadOption) or former.suffix != target.suffix:
        return target
    is_near = former.parent == target.parent or (request.output and former.is_relative_to(request.output))
    return former if is_near else target


def _settle_all(jobs: list[Job], work: Work) -> None:
    """Report inputs none of which is to be upscaled."""
    for job in jobs:
        if work.should_stop():
            raise Stopped
        if isinstance(job.target, BadOption):
            work.tell(failed(job.source.path, job.target))
        else:
            settle(job.source, job.target, work)


def _is_shared(work: Work) -> bool:
    """True if several workers are to do the work: streams and estimates need one process."""
    request = work.request
    if (len(request.devices) < 2 and request.cluster is None) or request.dry_run:
        return False
    if work.piped is None and request.output != STREAM:
        return True
    if request.cluster is not None:
        raise BadOption("- (stdin or stdout) does not go with --cluster", hint="name files, or leave out --cluster")
    work.tell(Notice("a stream is upscaled by one worker", ()))
    return False


def _share(jobs: list[Job], work: Work) -> None:
    """Upscale all inputs by several workers: on the nodes of a cluster, or processes of this machine."""
    from dagan_cli.upscale.executors.execution import run_on

    if work.request.cluster is None:
        from dagan_cli.upscale.executors.processes import Processes

        run_on(Processes(work.request, work.request.devices), jobs, work)
        return

    from dagan_cli.upscale.executors.cluster.pool import Cluster

    cluster = Cluster(work)
    try:
        run_on(cluster, jobs, work)
    finally:
        work.engines.nodes = cluster.report()


def _import_engine() -> None:
    """Import PyTorch and what needs it, without looking for garbage meanwhile, nor among all that again later."""
    if "torch" in sys.modules:
        return
    with _no_garbage():
        import dagan_cli.upscale.running.turns  # noqa: F401
    gc.freeze()


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Do not look for garbage in the block: it makes many objects, which stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _require_apart(scope: Scope, targets: list[Path | BadOption], work: Work) -> None:
    """Raise BadReport if the report would replace an input or a result."""
    request, seen, place = work.request, work.seen, Places()
    if request.report is None:
        return
    file, name = seen.place(request.report), place(request.report)
    inputs = [source.path for source in (*scope.found.sources, *scope.others)]
    inputs += [path for path, _ in scope.found.failed]
    folder = [] if request.output in (None, STREAM) else [Path(request.output)]
    taken = (
        ("an input", [*inputs, *request.own_files]),
        ("the name of a result", targets),
        ("the output folder", folder),
    )
    for what, paths in taken:
        for path in paths:
            if isinstance(path, Path) and (seen.place(path) == file if file else place(path) == name):
                raise BadReport(f"--report {request.report} is {what}", hint="name another file for the report")


def _scope(request: Request, seen: Seen) -> tuple[Scope, bytes | Y4mSource | None]:
    """Return what the run works on, and the image or video from stdin. Raises BadOption, as `_found` does."""
    if request.retry is not None:
        scope, piped = request.retry.scope(request), None
    else:
        found, piped = _found(request, seen)
        scope = Scope(found)
    if request.shard is None:
        return scope, piped
    if STREAM in request.inputs:
        raise BadOption("--shard does not work with - (stdin)", hint="name files or folders, or leave out --shard")
    return scope.within(request.shard), piped


def _found(request: Request, seen: Seen) -> tuple[Found, bytes | Y4mSource | None]:
    """Return the inputs, and the image or video from stdin. Raises BadOption for streams that cannot be combined."""
    if request.dry_run and STREAM in (*request.inputs, request.output):
        raise BadOption("--dry-run does not work with - (stdin or stdout)", hint="name files, or leave out --dry-run")
    if STREAM not in request.inputs:
        out = Path(request.output) if request.output not in (None, STREAM) else None
        keywords = {"recursive": request.recursive, "include": request.include, "exclude": request.exclude}
        return find_inputs(request.inputs, out=out, template=request.template, seen=seen, **keywords), None
    if len(request.inputs) > 1:
        raise BadOption("- (stdin) cannot be combined with other inputs", hint="upscale it in a separate run")
    if request.output is None:
        raise BadOption("- (stdin) needs -o: its output has no name", hint="give -o FILE, or -o - for stdout")
    name, stdin = Path("stdin"), sys.stdin.buffer
    try:
        head = stdin.read(10)
        if is_y4m(head):
            piped = Y4mSource(stdin, name, head)
        elif starts_like_video(head := head + stdin.read(HEAD)):
            raise BadInput(
                "the input is a video file, and a video from stdin must be y4m", hint=f"name the file, or {ADVICE}"
            )
        else:
            piped = head + stdin.read()
    except BadInput as error:
        return Found((), (), ((name, error),), is_one_file=True), None
    except OSError as error:  # it is open for writing only, or a folder
        failed = BadInput(f"cannot read stdin: {(error.strerror or str(error)).lower()}", hint="pipe a file into it")
        return Found((), (), ((name, failed),), is_one_file=True), None
    kind = "picture" if isinstance(piped, bytes) else "video"
    return Found((Source(name, kind),), (), (), is_one_file=True), piped


def _targets(
    found: Found, jobs: list[tuple[Source, str]], facts: dict[Path, Facts], work: Work
) -> list[Path | BadOption]:
    request = work.request
    if request.output != STREAM:
        naming = plan_naming(
            found, request.output, request.goal.name, request.part.name, template=request.template, facts=facts
        )
        if naming.out_is_file and request.template is not None and "--name" not in request.defaulted:
            work.tell(Notice("--name: without effect, as -o names the file", ()))
        sources = [source for source, _ in jobs]
        own = [*request.own_files, *([request.retry.path] if request.retry else [])]
        targets = plan_targets(sources, naming, [suffix for _, suffix in jobs], apart=own, seen=work.seen)
        if apart := told_apart(sources, naming, targets):
            text = f"{len(apart)} inputs share their names, so their results keep their folders, such as {apart[0][1]}"
            work.tell(Notice(text, tuple(f"{source} -> {target}" for source, target in apart)))
        return targets
    if len(jobs) + len(found.failed) > 1:
        raise BadOption("-o - (stdout) takes one image or video", hint="name a file or folder with -o")
    if sys.stdout.isatty():
        raise BadOption("refusing to write image data to a terminal", hint="-o - | PROGRAM, or -o FILE")
    return [STDOUT for _ in jobs]


class _Header(NamedTuple):
    """What an input decides before the work."""

    suffix: str  # of its result
    pixels: int  # of a frame, before upscaling
    frames: int | None  # None if unknown
    factor: float  # final factor
    width: int  # pixels of the result
    height: int
    model: str  # if the name of the result states it

    @property
    def facts(self) -> Facts:
        """What the name of a result may state about it."""
        return Facts(scale=self.factor, model=self.model, width=self.width, height=self.height)


def _question(request: Request) -> str:
    """Return what identifies all that decides a header beside the input."""
    asked = request.goal, request.part, request.format, request.lossless, request.max_pixels
    return sha256(repr(asked).encode()).hexdigest()[:16]


def _header(source: Source, question: str, work: Work) -> _Header:
    """Return what an input decides before the work; of an unchanged file, as an earlier run knew it.

    Only its header is read, unless the name states a model that has to be chosen. Raises BadInput, BadOption, BadModel.
    """
    request = work.request
    names_model = request.template is not None and request.template.names_model
    if work.piped is not None or names_model or (source.kind == "video" and request.encoding.codec):
        return _read_header(source, work)
    return _as_header(work.seen.answer(source.path, question, lambda: json.dumps(_read_header(source, work))))


@lru_cache(1024)  # images of one size have equal headers
def _as_header(text: str) -> _Header:
    return _Header(*json.loads(text))


def _read_header(source: Source, work: Work) -> _Header:
    request, piped, path = work.request, work.piped, source.path
    if isinstance(piped, Y4mSource):
        return _of_video(piped.info, ".mkv", work, Analysis)
    if source.kind == "video":
        with open_video(path) as video:
            suffix = default_suffix(video.info, request.encoding.codec)
            return _of_video(video.info, suffix, work, lambda: analyse_video(path))
    opened = path if piped is None else piped
    with images.open_picture(opened, limit_pixels=request.max_pixels) as picture:
        info = picture.info
        factor, size = request.goal.factor_for(info.width, info.height), request.goal.size_for(info.width, info.height)
        suffix = images.output_suffix(info, size, format=request.format, lossless=request.lossless, kept=path.suffix)
        model = _model(work, path, factor, lambda: analyse_image(opened, picture.peek(), info))
        return _Header(suffix, info.width * info.height, info.frames, factor, *size, model)


def _of_video(info: VideoInfo, suffix: str, work: Work, analyse: Callable[[], Analysis]) -> _Header:
    result = outline(info, work.request.goal)
    frames = work.request.part.frames_of(info.frames, info.rate)
    model = _model(work, info.path, result.factor, analyse)
    return _Header(suffix, info.width * info.height, frames, result.factor, *result.size, model)


def _model(work: Work, path: Path, factor: float, analyse: Callable[[], Analysis]) -> str:
    """Return the model that the name of a result states; "" if it states none. Raises BadModel."""
    template = work.request.template
    if template is None or not template.names_model:
        return ""
    return work.engines.choice_for(path, factor, analyse).short_name
