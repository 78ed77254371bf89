"""Upscale one image, still or animated, to a file or stdout, in three stages: open, compute, write."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from dagan_cli.analysis.measure import Analysis, analyse_image
from dagan_cli.device import free_host_memory
from dagan_cli.errors import OutOfMemory
from dagan_cli.files import cannot_write
from dagan_cli.media import images
from dagan_cli.media.made.record import to_text
from dagan_cli.upscale.events import STDOUT, Advance, Item
from dagan_cli.upscale.made import format_for, made_from
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Work
from dagan_cli.upscaler import Upscaler


@dataclass(slots=True)
class Opened:
    """An image whose first frame is decoded, or failed to: then `frames` of `picture` raise the error."""

    path: Path
    source: Path | bytes
    picture: images.Picture
    analyse: Callable[[], Analysis]
    seconds: float  # of work on it
    close: Callable[[], None]


@dataclass(slots=True)
class Made:
    """A result, and how it is converted to samples and written; the frames of an animation are computed only then."""

    path: Path
    target: Path
    info: images.PictureInfo  # of the input
    output: images.PictureOutput
    frames: Iterable[np.ndarray]
    upscaler: Upscaler
    replace: bool
    _noticed: int  # notices of the upscaler that concern earlier inputs

    @property
    def is_computed(self) -> bool:
        return self.info.frames == 1

    def write(self, turn: Callable[[], None] = lambda: None) -> None:
        """Write the file; `turn` is called when it is complete, before it gets its name. Raises CannotWrite."""
        if self.target == STDOUT:
            _write_to_stdout(self.output, self.frames)
        else:
            images.write_picture(self.target, self.output, self.frames, replace=self.replace, turn=turn)

    def item(self) -> Item:
        """Return the Item of a result that is written without an error."""
        return Item(
            input=self.path,
            output=self.target,
            status="done",
            model=self.upscaler.words,
            frames=self.output.info.frames,
            in_size=(self.info.width, self.info.height),
            out_size=(self.output.info.width, self.output.info.height),
            warnings=(*self.info.warnings, *self.output.warnings, *self.upscaler.notices[self._noticed :]),
        )


def bytes_of(info: images.PictureInfo, target: Path, request: Request) -> int:
    """Return the bytes that a frame and its result take: samples, floats of a network, and what the encoder needs."""
    width, height = request.goal.size_for(info.width, info.height)
    sample = info.channels * info.depth // 8
    form = format_for(target, request)
    encoder = images.ENCODER_BYTES.get(form.name, 0) if form else 0
    floats = 0 if request.model.name == "nearest" else 3 * 4 * (1 + info.has_alpha)
    return info.width * info.height * sample + width * height * (sample + floats + encoder)


def open_ahead(path: Path, work: Work, room: Callable[[images.PictureInfo], Callable[[], None]]) -> Opened:
    """Open an image and decode its first frame. It tells no event, so that any thread may do it. Raises BadInput.

    `room` is called before decoding; it may wait, and returns what is to be called when the image is closed.
    """
    request, source = work.request, work.piped if isinstance(work.piped, bytes) else path
    with ExitStack() as stack:
        started = time.monotonic()
        picture = stack.enter_context(images.open_picture(source, limit_pixels=request.max_pixels))
        seconds = time.monotonic() - started
        stack.callback(room(picture.info))
        started = time.monotonic()
        try:
            picture.peek()
        except Exception as error:
            picture.frames = _Raising(error)
        analyse = _Once(lambda: analyse_image(source, picture.peek(), picture.info))
        if request.model.is_open:
            analyse.run()
        seconds += time.monotonic() - started
        return Opened(path, source, picture, analyse, seconds, stack.pop_all().close)


def compute(opened: Opened, target: Path, work: Work) -> Made:
    """Choose the model, plan the file, and compute the pixels of a still.

    Raises BadInput, BadModel, BadOption, CannotWrite, OutOfMemory, and Stopped between tiles.
    """
    request, path, picture = work.request, opened.path, opened.picture
    info = picture.info
    size = request.goal.size_for(info.width, info.height)
    factor = request.goal.factor_for(info.width, info.height)
    upscaler = work.engines.for_source(path, factor, opened.analyse)
    to_stdout = target == STDOUT
    output = images.plan_output(
        info,
        None if to_stdout else target,
        size,
        format=request.format or ("png" if to_stdout else None),
        quality=request.quality,
        lossless=request.lossless,
        made_by=upscaler.signature,
        record=to_text(made_from(opened.source, target, "picture", request, upscaler)),
    )
    _require_memory(path, output)
    noticed = len(upscaler.notices)

    def enlarged(frames: Tensor) -> Tensor:
        return work.watch(upscaler, frames, size, "tiles" if info.frames == 1 else None)

    def results() -> Iterator[np.ndarray]:
        for index, pixels in enumerate(picture.frames):
            yield upscaler.enlarged(pixels, size, enlarged, request.engine.folder)()
            work.tell(Advance(index + 1, info.frames, "frames"))

    if info.frames > 1:
        frames = results()
    else:
        frames = _converted(upscaler.enlarged(next(picture.frames), size, enlarged, request.engine.folder))
    return Made(path, target, info, output, frames, upscaler, request.replaces(target), noticed)


def _converted(convert: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    yield convert()


def out_of_memory(path: Path) -> OutOfMemory:
    return OutOfMemory(f"out of memory at {path}", hint="use a smaller --scale or --size")


class _Once:
    """A function that is called at most once; its result is kept, and so is its error."""

    def __init__(self, function: Callable[[], Analysis]) -> None:
        self._function = function
        self._result: Analysis | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._result = self._function()
        except Exception as error:
            self._error = error

    def __call__(self) -> Analysis:
        if self._result is None and self._error is None:
            self.run()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result


class _Raising(Iterator[np.ndarray]):
    """The frames of an image that cannot be decoded."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __next__(self) -> np.ndarray:
        raise self._error


def _require_memory(path: Path, output: images.PictureOutput) -> None:
    """Raise OutOfMemory if the encoder would need more memory than there is: it is known before the work."""
    info = output.info
    needed = info.width * info.height * images.ENCODER_BYTES.get(info.format, 0)
    if needed and needed > (free := free_host_memory()):
        what = f"encoding {path} as {info.format} needs about {needed / 1e9:.1f} GB of memory"
        raise OutOfMemory(
            f"{what}, and {free / 1e9:.1f} GB are free",
            hint="write a PNG with -f png, which needs far less, or use a smaller --scale",
        )


def _write_to_stdout(output: images.PictureOutput, frames: Iterable[np.ndarray]) -> None:
    buffer = io.BytesIO()  # some formats need to seek, which stdout cannot
    images.encode_picture(buffer, output, frames)
    left = buffer.getbuffer()
    try:
        while left:
            try:
                left = left[os.write(sys.stdout.fileno(), left) :]
            except BlockingIOError:  # another program made the pipe so
                select.select([], [sys.stdout.fileno()], [])
    except OSError as error:
        raise cannot_write(Path("stdout"), error) from error
