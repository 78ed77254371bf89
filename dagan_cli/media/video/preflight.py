"""Configure an encoder from a recipe, and test it before any work, so that refused settings are reported at once."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import cast

import av
import av.logging
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from dagan_cli.errors import BadOption
from dagan_cli.media.video.encoders import has_encoder
from dagan_cli.media.video.frames import frame_of
from dagan_cli.media.video.pixel_formats import Size
from dagan_cli.media.video.recipe import Recipe
from dagan_cli.planes import PixelLayout
from dagan_cli.words import printable_lines

_one_at_a_time = threading.Lock()  # FFmpeg's log and stderr are shared by the whole process
_PRINTED = re.compile(r"(?:x264|x265|Svt) ?\[(?:error|warning)\]: *(.*)")  # printed by the libraries themselves
_PASSED_OVER = re.compile("Error parsing option|Unknown option|Invalid value")  # ignored with a warning
_VAGUE = re.compile("Error setting |Cannot open libx265")  # lines that only refer to another error


def set_up(context: VideoCodecContext, recipe: Recipe, size: Size, time_base: Fraction) -> None:
    """Apply a recipe to a new encoder, except its options, which are passed on creation."""
    if recipe.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: else it floods the terminal with progress
    context.width, context.height = size
    context.pix_fmt = recipe.pix_fmt
    context.time_base = time_base
    context.flags |= Flags.frame_duration
    tags = recipe.layout.tags
    context.color_range, context.colorspace = tags.range, tags.matrix
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer


@contextmanager
def priority_kept(codec: str) -> Iterator[None]:
    """Open an encoder within this context: its threads, and the one that opens it, keep their priority.

    SVT-AV1 gives them the highest real-time priority where it may, as for root: all other programs on the machine, and
    all other threads of this one, would wait for them.
    """
    if codec != "libsvtav1" or sys.platform != "linux":
        yield
        return
    before, kept = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if (now := os.sched_getscheduler(0)) != before:
            for task in map(int, os.listdir("/proc/self/task")):
                with suppress(OSError):  # it has ended
                    if os.sched_getscheduler(task) == now:
                        os.sched_setscheduler(task, before, kept)


def check_encoder(recipe: Recipe, size: Size, rate: Fraction, time_base: Fraction) -> None:
    """Encode one black frame of this size and rate with all settings of the recipe.

    Raises BadOption with the encoder's own message if it refuses an option or its value, a size, a format, or lacks
    hardware; and for an option that FFmpeg would ignore with a warning.
    """
    failure, unknown = None, []
    with _overheard(recipe.codec) as said:
        try:
            unknown = _encode_black(recipe, size, rate, time_base)
        except (FFmpegError, ValueError) as error:
            failure = error
    passed_over = [line for line in said if _PASSED_OVER.search(line)]
    reasons = passed_over or [line for line in said if not _VAGUE.search(line)] or said or [str(failure)]
    if failure is not None:
        what = (
            f"{recipe.codec} refuses {size[0]}x{size[1]} {recipe.pix_fmt} with these settings: {'; '.join(reasons[:2])}"
        )
    elif passed_over:
        what = f"{recipe.codec} does not accept its options: {'; '.join(passed_over)}"
    elif unknown:
        what = f"{recipe.codec} has no option {', '.join(unknown)}"
    else:
        return
    if recipe.codec.endswith("_nvenc") and "option" not in what:
        hint = "it needs an NVIDIA GPU with a video encoder, and its driver; --codec libx264 and libx265 do not"
    else:
        hint = f"check -e, --preset, --pix-fmt and the size; ffmpeg -h encoder={recipe.codec} lists what it supports"
    raise BadOption(what, hint=hint) from failure


def can_encode(name: str) -> bool:
    """True if FFmpeg has the encoder and, for NVENC, a GPU and a driver can open it."""
    if not has_encoder(name) or not name.endswith("_nvenc"):
        return has_encoder(name)
    context = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
    context.width = context.height = 256
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
    with _overheard(name):
        try:
            context.open()
        except (FFmpegError, ValueError):
            return False
    return True


def _encode_black(recipe: Recipe, size: Size, rate: Fraction, time_base: Fraction) -> list[str]:
    """Encode one black frame; return the names of options that the encoder did not use."""
    context = cast(VideoCodecContext, av.CodecContext.create(recipe.codec, "w"))
    set_up(context, recipe, size, time_base)
    context.framerate = rate
    context.options = dict(recipe.options)
    frame = frame_of(_black(recipe.layout, size), recipe.pix_fmt, recipe.layout.tags)
    frame.pts, frame.time_base = 0, time_base
    with priority_kept(recipe.codec):
        encoded = context.encode(frame) + context.encode(None)
    if not encoded:
        raise ValueError("it produces no packet for a frame")
    return sorted(context.options)


def _black(layout: PixelLayout, size: Size) -> list[np.ndarray]:
    """Return the planes of a black frame, opaque if there is alpha."""
    width, height = size
    across, down = layout.chroma_size(width, height)
    step, number = 2 ** (layout.depth - 8), np.uint8 if layout.depth == 8 else np.uint16
    planes = [np.full((height, width), 0 if layout.full_range else 16 * step, number)]
    if layout.chroma == "rgb":
        planes *= 3
    elif layout.chroma != "gray":
        planes += [np.full((down, across), 128 * step, number)] * 2
    return planes + [np.full((height, width), 2**layout.depth - 1, number)] * layout.alpha


@contextmanager
def _overheard(codec: str) -> Iterator[list[str]]:
    """Collect messages of an encoder in the block, from stderr and FFmpeg's log; complete when the block ends."""
    said: list[str] = []
    with _one_at_a_time:
        level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.WARNING)
        try:
            with _printed() as printed, av.logging.Capture(local=False) as logged:
                yield said
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)
        said += printed
        said += [line.strip() for _, name, line in logged if name == codec]
        said[:] = dict.fromkeys(line.rstrip(".") for line in said)  # each once


@contextmanager
def _printed() -> Iterator[list[str]]:
    """Collect what encoders print to stderr in the block; other output is printed when the block ends."""
    lines: list[str] = []
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed
        yield lines
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            for line in file:
                text = line.decode(errors="replace")
                if match := _PRINTED.match(text):
                    lines.append(match[1].strip())
                else:
                    with suppress(OSError):  # stderr is full
                        os.write(2, printable_lines(text).encode())
