"""What decides the pixels of a result, as the fields of its record, and how they differ from those of an older one.

Device, tiles, threads and memory are no fields: they change nothing. The precision is none either: half precision
differs from fp32 by rounding, about one code value of eight bits, and `--precision auto` follows the device, so that
results of one machine would not count as done on another. Neither is dagan's version: the model is identified by its
file, and a new version would otherwise make everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dagan_cli.errors import BadInput, DaganError
from dagan_cli.media.find import Kind, Source
from dagan_cli.media.images.formats import PictureFormat, format_of_suffix
from dagan_cli.media.made.identity import identity_of
from dagan_cli.media.made.record import SOURCE
from dagan_cli.media.video.segments import ASKED, OtherSettings
from dagan_cli.upscale.auto import RULE
from dagan_cli.upscale.events import STDOUT
from dagan_cli.upscale.identity import Identity
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.used import Used
from dagan_cli.upscale.work import Engines, Work
from weights.catalog import published
from weights.choice import ModelChoice

if TYPE_CHECKING:  # it imports torch
    from dagan_cli.upscaler import Upscaler

_STREAM = "stream"  # identity of a video from stdin, which is read only once
_MODEL, _WEIGHTS = "--model", "weights"  # its name, and the digest of its file
_RULE = "rule"  # by which the model was chosen for the source; absent if it was named
_LOSSY = ("JPEG", "WEBP", "AVIF")


class Different(DaganError):
    """The output exists, and was not made from this source with these settings."""


def made_from(
    source: Path | bytes | None, target: Path, kind: Kind, request: Request, model: Identity | Upscaler | Used
) -> dict[str, str]:
    """Return the fields of the record of a result: the identity of the source, and the options that decide the pixels.

    `source` is None for a video from stdin. Options that have their default are left out. Raises BadInput.
    """
    return {SOURCE: _identity(source, identity_of), **_settings(target, kind, request, model)}


def _settings(target: Path, kind: Kind, request: Request, model: Identity | Upscaler | Used) -> dict[str, str]:
    """Return the fields of a record without the source."""
    fields: dict[str, object] = {
        _MODEL: model.name,
        _WEIGHTS: model.sha256 and model.sha256[:16],
        _RULE: RULE if request.model.is_open else None,
        "--scale": request.goal.factor,
        "--size": request.goal.name if request.goal.factor is None else None,
        "--order": model.order,
        "--detail": model.detail,
        "--denoise": model.denoise,
        "--grain": model.grain or None,
        "--window": model.window,
        "--ensemble": request.engine.ensemble,
        **(_of_picture(target, request) if kind == "picture" else _of_video(request)),
    }
    return {name: _text(value) for name, value in fields.items() if value is not None and value is not False}


def require_same(source: Source, target: Path, work: Work) -> str:
    """Return the model of a result, as options name it. Raises BadInput.

    Raises Different unless `target` was made from this source with the settings of the run.

    It reads metadata and the source's identity. The source itself is read only if the model is open and the result does
    not say which one it is, or if a model for a size is.
    """
    hint = "replace it with -y, or keep it with --skip-existing"
    before = work.seen.record(target)
    if before is None:
        raise Different(f"{target} exists, and does not say that dagan made it", hint=hint)
    settings, model = _expected(source, target, before, work)
    identity = _identity(work.content_of(source.path), work.seen.identity)
    if words := difference(before, {SOURCE: identity, **settings}):
        raise Different(f"{target} exists, but was made {words}", hint=hint)
    return model


def known_result(
    before: Mapping[str, str], identity: str, kind: Kind, target: Path, request: Request, engines: Engines
) -> str | None:
    """Return the model of a result with this record, as options name it, if it is that of a run, else None.

    The source, which has this identity, is not read: None is also what cannot be known without. Raises BadModel.
    """
    choice = _known_choice(before, request) if before.get(SOURCE) == identity else None
    if choice is None:
        return None
    model = engines.identity(choice)
    now = {SOURCE: identity, **_settings(target, kind, request, model)}
    return None if difference(before, now) else model.words


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return how two records differ, in words that follow "made": "with --scale 2, now 4"; "" if they are equal."""
    if before == now:
        return ""
    names = [name for name in dict.fromkeys((*before, *now)) if name != _RULE]  # two rules can choose the same model
    unequal = [name for name in names if before.get(name) != now.get(name)]
    words = []
    if now.get(SOURCE) == _STREAM:
        words.append("from a source that cannot be compared with a stream")
    elif SOURCE in unequal:
        words.append("from another source")
    if _MODEL not in unequal and _WEIGHTS in unequal:
        words.append(f"with another version of {now.get(_MODEL)}")
    is_renamed = _WEIGHTS in now and _WEIGHTS not in unequal  # a model file under another name
    hidden = {SOURCE, _WEIGHTS}
    if is_renamed:
        hidden.add(_MODEL)
    elif _MODEL in unequal:
        hidden |= {"--order", "--window"}  # each model has its own defaults
    options = [name for name in unequal if name not in hidden]
    was, due = (_as_written(record, options) for record in (before, now))
    if was and due:
        alone = len(options) == 1 and now[options[0]]
        words.append(f"with {was}, now {alone or due}")
    elif was:
        words.append(f"with {was}, now without")
    elif due:
        words.append(f"without {due}")
    return ", and ".join(words)


def settings_of(made: dict[str, str], request: Request, model: Upscaler | Used) -> dict[str, object]:
    """Return what decides the frames before they are encoded, for `create_video`, and all options in words."""
    part = request.part
    return {
        ASKED: {name: value for name, value in made.items() if name not in ("--audio", "--streams")},  # no frames
        "model": model.signature,
        "--window": model.window,
        "part": [part.start, part.end, part.frames],
        "--deinterlace": request.deinterlace,
        **({"--square": True} if request.goal.square else {}),
    }


@contextmanager
def in_words(target: Path) -> Iterator[None]:
    """Word the refusal to resume with other settings by the options that differ, if they are the reason."""
    try:
        yield
    except OtherSettings as error:
        before, now = (settings.get(ASKED) for settings in (error.before, error.now))
        if not (
            isinstance(before, dict) and isinstance(now, dict) and all(isinstance(v, str) for v in before.values())
        ):
            raise
        raise OtherSettings(target, error.before, error.now, difference(before, now)) from None


def _identity(source: Path | bytes | None, of_file: Callable[[Path], str]) -> str:
    try:
        return _STREAM if source is None else of_file(source) if isinstance(source, Path) else identity_of(source)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"cannot read {source}: {reason}", hint="check the path and its permissions") from error


def format_for(target: Path, request: Request) -> PictureFormat | None:
    """Return the format of an image that is written to `target`; None for an unknown suffix."""
    return format_of_suffix(f".{request.format or 'png'}" if target == STDOUT else target.suffix)


def _of_picture(target: Path, request: Request) -> dict[str, object]:
    form = format_for(target, request)
    name = form.name if form else ""
    lossless = request.lossless and name == "WEBP"  # the other formats have no choice
    return {"--lossless": lossless, "--quality": request.quality if name in _LOSSY and not lossless else None}


def _of_video(request: Request) -> dict[str, object]:
    encoding, part = request.encoding, request.part
    return {
        "--codec": encoding.codec,
        "--crf": encoding.crf,
        "--preset": encoding.preset,
        "--pix-fmt": encoding.pix_fmt,
        "-e": ",".join(f"{key}={value}" for key, value in sorted(encoding.options.items())) or None,
        "--audio": None if encoding.audio == "copy" else encoding.audio,
        "--streams": None if encoding.streams == "all" else encoding.streams,
        "--deinterlace": None if request.deinterlace == "auto" else request.deinterlace,
        "--square": request.goal.square,
        "--start": part.start,
        "--end": part.end,
        "--frames": part.frames,
    }


def _text(value: object) -> str:
    return "" if value is True else repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _as_written(record: Mapping[str, str], options: list[str]) -> str:
    """Return those of the options that a record has, as a user writes them."""
    return " ".join(f"{name} {record[name]}".rstrip() for name in options if name in record)


def _expected(source: Source, target: Path, before: Mapping[str, str], work: Work) -> tuple[dict[str, str], str]:
    """Return what this run would record of the settings for a result, and its model, as options name it.

    Results of one kind share them, unless the model depends on the source.
    """
    shared = source.kind, target.suffix, before.get(_MODEL), before.get(_RULE)
    if shared in work.expected:
        return work.expected[shared]
    choice = _known_choice(before, work.request)
    model = work.engines.identity(choice or work.choice_for(source))
    expected = _settings(target, source.kind, work.request, model), model.words
    if choice:
        work.expected[shared] = expected
    return expected


def _known_choice(before: Mapping[str, str], request: Request) -> ModelChoice | None:
    """Return the model that a run uses for the source of a result; None if the source has to be read to know."""
    named = before.get(_MODEL, "")
    if request.model.is_open and before.get(_RULE) == RULE and published(named):
        return replace(request.model, name=named)  # the same source gets the same choice
    if not request.model.is_open and (request.goal.factor is not None or request.model.is_fixed):
        return request.model.for_factor(request.goal.factor or 1.0)
    return None
