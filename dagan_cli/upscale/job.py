"""An input with the path of its result: is there work to do, and if not, the report of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from dagan_cli.errors import BadModel, BadOption, CannotWrite
from dagan_cli.files import require_replaceable, tidy
from dagan_cli.media.find import Source
from dagan_cli.media.video.segments import forget_finished
from dagan_cli.upscale.events import STDOUT, Abandoned, Item, failed
from dagan_cli.upscale.made import Different, require_same
from dagan_cli.upscale.plan import require_possible
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Work


@dataclass(frozen=True, slots=True)
class Job:
    """An input, and the path of its result or why it has none."""

    source: Source
    target: Path | BadOption
    pixels: int = 0  # of a frame of the input


def is_due(job: Job, request: Request) -> bool:
    """True if the result can be named, and is missing or to be overwritten."""
    return isinstance(job.target, Path) and not exists(job.target, request)


def exists(target: Path, request: Request) -> bool:
    """True if there is a result that is not to be overwritten."""
    return target != STDOUT and os.path.lexists(target) and not request.replaces(target)


def settle(source: Source, target: Path, work: Work) -> None:
    """Report an input whose output exists: skipped if it is the result of this run, else failed and left alone."""
    model = ""
    try:
        if not work.request.skip_existing:
            try:
                model = require_same(source, target, work)
            except Different:  # unless -y would not help either
                require_replaceable(target)
                require_possible(work.content_of(source.path), source.kind, target, work.request)
                raise
    except BadModel:
        raise
    except Different as error:
        work.tell(replace(failed(source.path, error), output=target, is_usable=True))
        return
    except Exception as error:
        fail(source, target, error, work, 0.0)
        return
    if source.kind == "video":
        forget_finished(target)
    tidy(target)
    reason = "it exists; -y overwrites it"
    work.tell(Item(input=source.path, output=target, status="skipped", reason=reason, model=model))


def fail(source: Source, target: Path, error: Exception, work: Work, seconds: float) -> None:
    """Report a failed input. Raises Abandoned if the later ones would fail as well."""
    work.tell(replace(failed(source.path, error), output=target, seconds=seconds))
    if isinstance(error, CannotWrite) and error.ends_the_batch:
        raise Abandoned from error
