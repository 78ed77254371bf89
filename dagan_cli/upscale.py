"""The use case: inputs through a network into outputs. The only place where media, engine, model and weights meet."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dagan_cli import __version__
from dagan_cli.engine import colour
from dagan_cli.engine.memory import attempt
from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.resample import Resize, resample
from dagan_cli.engine.upscaler import Upscaler as Engine
from dagan_cli.errors import BadInput, BadModel, BadOption, CannotWrite, DaganError, NoInput, OutOfMemory
from dagan_cli.media import images
from dagan_cli.media.atomic import cannot_write
from dagan_cli.media.find import Found, Source, find_inputs, plan_naming, plan_targets
from dagan_cli.media.prefetch import prefetch
from dagan_cli.media.video import Frame, open_video
from dagan_cli.media.video_writer import create_video, default_suffix
from dagan_cli.model.checkpoint import load_model
from dagan_cli.planes import PixelLayout
from dagan_cli.request import Item, Request
from dagan_cli.samples import through
from weights.catalog import default_model, find_model

BASELINES = ("nearest", "bicubic", "lanczos")
AHEAD = 2  # frames in each queue between the stages of a video
STREAM = "-"  # stdin as the input, stdout as the output
_STDOUT = Path(STREAM)

_log = logging.getLogger(__name__)


class Upscaler(Engine):
    """The Python door: frames (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W). See the engine's for all it does."""

    name = ""
    sha256: str | None = None  # of the model's file; None for a baseline

    @property
    def is_baseline(self) -> bool:
        return self.sha256 is None

    @property
    def signature(self) -> str:
        """What the files made by it say of it."""
        words = [f"dagan {__version__}: {self.name}"]
        if self.sha256 is not None:
            words += [f"sha256 {self.sha256[:16]}", f"x{self.scale}", str(self.choice.dtype).removeprefix("torch.")]
            words += [] if self.order is None else [f"order {self.order}"]
            words += ["ensemble"] if self.options.ensemble else []
        return ", ".join(words)

    @property
    def order(self) -> int | None:
        """Position of the model's order dial; None without one."""
        return getattr(self._original, "order", None)

    @classmethod
    def load(
        cls,
        model: str = "dagan-x4-psnr",
        *,
        order: int | None = None,
        window: Literal["global", "local"] = "global",
        options: EngineOptions | None = None,
        **choices: Any,
    ) -> Upscaler:
        """A published model by name, a .safetensors file by path, or a baseline: nearest, bicubic, lanczos.

        order: of the solver, 1, 2 or 4, for models trained with the dial; window: what pooling and global attention
        see. Other keywords are those of `EngineOptions`: device, precision, tile, overlap, batch, ensemble.
        Raises BadModel, BadOption.
        """
        options = options or EngineOptions(**choices)
        if model in BASELINES:
            if order is not None:
                raise BadOption(f"{model} has no solver whose order could be chosen", hint="leave out --order")
            upscaler = cls(Resize(model), options)  # type: ignore[arg-type]
        else:
            path, expected = find_model(model)
            loaded = load_model(path, expected)
            loaded.generator.use_window(window)
            if order is not None:
                loaded.generator.order = order
            upscaler = cls(loaded.generator, options)
            upscaler.sha256 = loaded.sha256
        upscaler.name = model if model in BASELINES else Path(model).name
        return upscaler


@dataclass(frozen=True, slots=True)
class Start:
    """Work on an input begins."""

    index: int  # from 0
    total: int
    input: Path


@dataclass(frozen=True, slots=True)
class Advance:
    """Part of an input is done: tiles of a picture, frames of a video; `total` is None where nobody knows."""

    done: int
    total: int | None
    unit: Literal["tiles", "frames"]


Event = Start | Advance | Item


class Stopped(Exception):
    """The user asked to stop; nothing half-written is left."""


class Abandoned(Exception):
    """The disk is full or read-only, for all that would follow too: the last Item says so, the rest was not tried."""


class Engines:
    """One upscaler for each model that the inputs call for, loaded when first needed and kept."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._loaded: dict[str, Upscaler] = {}

    def for_factor(self, factor: float) -> Upscaler:
        name = self._request.model or default_model(factor)
        if name not in self._loaded:
            self._loaded[name] = Upscaler.load(
                name, order=self._request.order, window=self._request.window, options=self._request.engine
            )
        return self._loaded[name]

    @property
    def used(self) -> list[Upscaler]:
        return list(self._loaded.values())


Tell = Callable[[Event], None]


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
    if found.sources and (request.model or request.goal.factor):  # a wrong model is the command's error, no input's
        engines.for_factor(request.goal.factor or 4.0)
    for path, error in found.failed:
        tell(_failure(path, error))
    jobs = []
    for source in found.sources:
        try:
            jobs.append((source, _suffix(source, request, piped)))
        except Exception as error:
            tell(_failure(source.path, error))
    work = _Work(request, engines, tell, should_stop, piped)
    for index, ((source, _), target) in enumerate(zip(jobs, _targets(found, jobs, request), strict=True)):
        if should_stop():
            raise Stopped
        if isinstance(target, BadOption):
            tell(_failure(source.path, target))
        elif target != _STDOUT and os.path.exists(target) and not request.overwrite:
            tell(Item(input=source.path, output=target, status="skipped", reason="it exists; -y overwrites"))
        else:
            tell(Start(index, len(jobs), source.path))
            _one(source, target, work)


def _found(request: Request) -> tuple[Found, bytes | None]:
    """The inputs, and the bytes of the one that comes from stdin. Raises BadOption where streams do not go together."""
    if STREAM not in request.inputs:
        out = Path(request.output) if request.output not in (None, STREAM) else None
        keywords = {"recursive": request.recursive, "include": request.include, "exclude": request.exclude}
        return find_inputs(request.inputs, out=out, **keywords), None
    if len(request.inputs) > 1:
        raise BadOption("- (stdin) was named among other inputs", hint="upscale it in a run of its own")
    if request.output is None:
        raise BadOption("the result of - (stdin) has no name", hint="give -o FILE, or -o - for stdout")
    return Found((Source(Path("stdin"), "picture"),), (), (), is_one_file=True), sys.stdin.buffer.read()


def _targets(found: Found, jobs: list[tuple[Source, str]], request: Request) -> list[Path | BadOption]:
    if request.output != STREAM:
        naming = plan_naming(found, request.output, request.goal.name)
        return plan_targets([source for source, _ in jobs], naming, [suffix for _, suffix in jobs])
    if len(jobs) + len(found.failed) > 1 or any(source.kind == "video" for source, _ in jobs):
        raise BadOption("-o - (stdout) takes one picture", hint="name a file or folder with -o")
    if sys.stdout.isatty():
        raise BadOption("a picture is nothing for a terminal to show", hint="-o - | PROGRAM, or -o FILE")
    return [_STDOUT for _ in jobs]


@dataclass(frozen=True, slots=True)
class _Work:
    """What every step of the work has at hand."""

    request: Request
    engines: Engines
    tell: Tell
    should_stop: Callable[[], bool]
    piped: bytes | None  # the input, where it came from stdin

    def watch(self, engine: Upscaler, frames: Tensor, size: tuple[int, int], unit: Literal["tiles", None]) -> Tensor:
        """Frames through the engine to `size`, stopping between tiles when asked to."""
        steps = engine.steps(frames, size)
        while True:
            if self.should_stop():
                raise Stopped
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if unit:
                self.tell(Advance(step.done, step.total, unit))

    def watch_beyond(self, engine: Upscaler, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """The same for frames that leave [0, 1], as video's do: what lies beyond goes around the network, not lost."""
        within = frames if engine.is_baseline else frames.clamp(0, 1)
        big, beyond = self.watch(engine, within, size, None), frames - within
        return big + resample(beyond, size) if beyond.any() else big


def _one(source: Source, target: Path, work: _Work) -> None:
    """Upscale one input; what goes wrong with it becomes a failed Item."""
    started = time.monotonic()
    upscale = _upscale_picture if source.kind == "picture" else _upscale_video
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


def _upscale_picture(path: Path, target: Path, work: _Work) -> Item:
    request = work.request
    with images.open_picture(path if work.piped is None else work.piped) as picture:
        info = picture.info
        size = request.goal.size_for(info.width, info.height)
        engine = work.engines.for_factor(request.goal.factor_for(info.width, info.height))
        to_stdout = target == _STDOUT
        output = images.plan_output(
            info,
            None if to_stdout else target,
            size,
            format=request.format or ("png" if to_stdout else None),
            quality=request.quality,
            lossless=request.lossless,
            made_by=engine.signature,
        )
        noticed = len(engine.notices)

        def enlarged(frames: Tensor) -> Tensor:
            return work.watch(engine, frames, size, "tiles" if info.frames == 1 else None)

        def results() -> Iterator[np.ndarray]:
            for index, pixels in enumerate(picture.frames):
                yield through(pixels, enlarged, mixes=engine.name != "nearest")
                if info.frames > 1:
                    work.tell(Advance(index + 1, info.frames, "frames"))

        if to_stdout:
            _write_to_stdout(output, results())
        else:
            images.write_picture(target, output, results())
    return Item(
        input=path,
        output=target,
        status="done",
        frames=output.info.frames,
        in_size=(info.width, info.height),
        out_size=size,
        warnings=(*info.warnings, *output.warnings, *engine.notices[noticed:]),
    )


def _write_to_stdout(output: images.PictureOutput, frames: Iterator[np.ndarray]) -> None:
    buffer = io.BytesIO()  # whole first: some formats go back and forth
    images.encode_picture(buffer, output, frames)
    left = buffer.getbuffer()
    try:
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]
    except OSError as error:
        raise cannot_write(Path("stdout"), error) from error


def _upscale_video(path: Path, target: Path, work: _Work) -> Item:
    """Decode, upscale and encode overlap: decoding and the network run in threads of their own, each a little ahead."""
    request = work.request
    trim = (request.start, request.end, request.frames) != (None, None, None)
    with open_video(path, request.deinterlace) as source:
        info = source.info
        size = request.goal.size_for(info.width, info.height, even=True)
        engine = work.engines.for_factor(request.goal.factor_for(info.width, info.height))
        noticed = len(engine.notices)
        total = request.frames or (info.frames if not trim else None)

        def enlarged(frames: Iterator[Frame], layout: PixelLayout) -> Iterator[tuple[list[np.ndarray], int, int]]:
            for frame in frames:
                planes = [
                    torch.from_numpy(np.array(plane)) for plane in frame.planes
                ]  # the decoder's memory is its own
                big = work.watch_beyond(engine, colour.to_rgb(planes, info.layout)[None], size)[0]
                result = list(colour.from_rgb(big, layout))
                if layout.alpha:
                    alpha = colour.to_alpha(planes, info.layout).expand(1, 3, *planes[0].shape)
                    result.append(colour.from_alpha(work.watch(engine, alpha, size, None)[0].mean(0), layout))
                yield [plane.numpy() for plane in result], frame.pts, frame.duration

        frames = source.frames(start=request.start, end=request.end, limit=request.frames)
        made_by = engine.signature
        with (
            create_video(target, info, size, request.encoding, trim=trim, made_by=made_by) as writer,
            ExitStack() as stack,
        ):
            decoded = stack.enter_context(prefetch(frames, AHEAD))
            for planes, pts, duration in stack.enter_context(prefetch(enlarged(decoded, writer.layout), AHEAD)):
                writer.write(planes, pts, duration)
                work.tell(Advance(writer.frames, total, "frames"))
    short = None if trim else source.shortfall
    return Item(
        input=path,
        output=target,
        status="partial" if short else "done",
        reason=short or "",
        exit_code=1 if short else 0,
        frames=writer.frames,
        in_size=(info.width, info.height),
        out_size=size,
        warnings=(*source.warnings, *writer.warnings, *engine.notices[noticed:]),
    )


def _suffix(source: Source, request: Request, piped: bytes | None) -> str:
    """The suffix of an input's result, as its content decides. Raises BadInput, BadOption."""
    if source.kind == "video":
        with open_video(source.path) as video:
            return default_suffix(video.info)
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
