"""Upscale one image, still or animated, to a file or stdout."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from dagan_cli.analysis.measure import analyse_image
from dagan_cli.engine.memory import free_host_memory
from dagan_cli.errors import OutOfMemory
from dagan_cli.files import cannot_write
from dagan_cli.media import images
from dagan_cli.media.made.record import to_text
from dagan_cli.upscale.events import STDOUT, Advance, Item
from dagan_cli.upscale.made import made_from
from dagan_cli.upscale.work import Work


def upscale_picture(path: Path, target: Path, work: Work) -> Item:
    request = work.request
    source = work.piped if isinstance(work.piped, bytes) else path
    with images.open_picture(source, limit_pixels=request.max_pixels) as picture:
        info = picture.info
        size = request.goal.size_for(info.width, info.height)
        factor = request.goal.factor_for(info.width, info.height)
        upscaler = work.engines.for_source(path, factor, lambda: analyse_image(source, picture.peek(), info))
        to_stdout = target == STDOUT
        output = images.plan_output(
            info,
            None if to_stdout else target,
            size,
            format=request.format or ("png" if to_stdout else None),
            quality=request.quality,
            lossless=request.lossless,
            made_by=upscaler.signature,
            record=to_text(made_from(source, target, "picture", request, upscaler)),
        )
        _require_memory(path, output)
        noticed = len(upscaler.notices)

        def enlarged(frames: Tensor) -> Tensor:
            return work.watch(upscaler, frames, size, "tiles" if info.frames == 1 else None)

        def results() -> Iterator[np.ndarray]:
            for index, pixels in enumerate(picture.frames):
                yield upscaler.enlarged(pixels, size, enlarged, request.engine.folder)
                if info.frames > 1:
                    work.tell(Advance(index + 1, info.frames, "frames"))

        if to_stdout:
            _write_to_stdout(output, results())
        else:
            images.write_picture(target, output, results(), replace=request.overwrite)
    return Item(
        input=path,
        output=target,
        status="done",
        model=upscaler.words,
        frames=output.info.frames,
        in_size=(info.width, info.height),
        out_size=size,
        warnings=(*info.warnings, *output.warnings, *upscaler.notices[noticed:]),
    )


def _require_memory(path: Path, output: images.PictureOutput) -> None:
    """Raise OutOfMemory if the encoder would need more memory than there is: it is known before the work."""
    info = output.info
    needed = info.width * info.height * images.ENCODER_BYTES.get(info.format, 0)
    if needed > (free := free_host_memory()):
        what = f"encoding {path} as {info.format} needs about {needed / 1e9:.1f} GB of memory"
        raise OutOfMemory(
            f"{what}, and {free / 1e9:.1f} GB are free",
            hint="write a PNG with -f png, which needs far less, or use a smaller --scale",
        )


def _write_to_stdout(output: images.PictureOutput, frames: Iterator[np.ndarray]) -> None:
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
