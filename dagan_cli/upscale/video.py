"""Upscale one video: decoding, the network and encoding overlap, and identical frames are computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from dagan_cli.analysis.measure import analyse_video
from dagan_cli.engine.grain import seed_of
from dagan_cli.engine.planewise import PlaneResizer, plane_resizer
from dagan_cli.engine.resample import Kernel, kernel_of
from dagan_cli.engine.reuse import History
from dagan_cli.media.made.record import to_text
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.source import Frame, open_video
from dagan_cli.media.video.writer import create_video, kept_of
from dagan_cli.media.y4m.reader import Y4mSource
from dagan_cli.media.y4m.writer import create_y4m
from dagan_cli.planes import PixelLayout
from dagan_cli.prefetch import prefetch
from dagan_cli.upscale.events import STDOUT, Advance, Item, Kept, Stopped
from dagan_cli.upscale.frames import through, to_planes, to_rgb
from dagan_cli.upscale.made import in_words, made_from, settings_of
from dagan_cli.upscale.plan import outline
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.used import Used
from dagan_cli.upscale.work import Work
from dagan_cli.upscaler import Upscaler

AHEAD = 2  # frames, or batches of them, in each queue between the stages

Pictures = list[tuple[list[np.ndarray], int, int]]  # planes, timestamp, duration; ticks of the source


def upscale_video(path: Path, target: Path, work: Work) -> Item:
    """Upscale a video; decoding and the network run in separate threads, each a little ahead of the next stage."""
    request = work.request
    part = request.part
    trim = not part.is_whole
    piped = work.piped if isinstance(work.piped, Y4mSource) else None
    with ExitStack() as stack:
        source = piped or stack.enter_context(open_video(path, request.deinterlace))
        info = source.info
        result = outline(info, request.goal)
        size = result.size
        if piped:
            upscaler = work.engines.for_stream(path, result.factor)
        else:
            upscaler = work.engines.for_source(path, result.factor, lambda: analyse_video(path))
        noticed = len(upscaler.notices)
        made = made_from(work.content_of(path), target, "video", request, upscaler)
        if target == STDOUT:
            stdout = stack.enter_context(open(1, "wb", buffering=0, closefd=False))
            output = create_y4m(stdout, result.info, size)
        else:
            output = create_video(
                target,
                result.info,
                size,
                request.encoding,
                trim=trim,
                made_by=upscaler.signature,
                record=to_text(made),
                alone=piped is not None,
                resume=settings_of(made, request, upscaler) if request.resume and piped is None else None,
                segment=Used.of(upscaler).segment_length,
                keep=Used.of(upscaler).is_slow,
                replace=request.replaces(target),
            )
            stack.enter_context(in_words(target))
        writer, total = None, part.frames_of(info.frames, info.rate)
        try:
            with output as writer:
                enlarger = Enlarger(upscaler, work, size, writer.layout)
                frames = writer.missing(source.frames(start=part.start, end=part.end, limit=part.frames))
                decoded = stack.enter_context(
                    prefetch(frames, AHEAD * upscaler.engine.frames_at_once(info.height, info.width))
                )
                for pictures in stack.enter_context(prefetch(enlarger.enlarge(decoded), AHEAD)):
                    for planes, pts, duration in pictures:
                        writer.write(planes, pts, duration)
                        work.tell(Advance(writer.frames, total, "frames", writer.resumed))
        except Stopped:
            if writer is None or not writer.kept:
                raise
            kept = Kept(path, writer.kept, total)
            work.tell(kept)
            raise Stopped(kept) from None
    short = None if trim else source.shortfall
    return Item(
        input=path,
        output=target,
        status="partial" if short else "done",
        model=upscaler.words,
        reason=short or "",
        exit_code=1 if short else 0,
        frames=writer.frames,
        in_size=(info.width, info.height),
        out_size=size,
        warnings=(*source.warnings, *writer.warnings, *upscaler.notices[noticed:]),
        reused=enlarger.reused,
        resumed=writer.resumed,
    )


def resumable(path: Path, target: Path, request: Request, upscaler: Upscaler, info: VideoInfo) -> int:
    """Return the number of frames of an earlier run that upscaling this video would resume after.

    Raises BadOption if that run had other settings, or for settings that cannot be.
    """
    if not request.resume:
        return 0
    result, made = outline(info, request.goal), made_from(path, target, "video", request, upscaler)
    with in_words(target):
        return kept_of(
            target,
            result.info,
            result.size,
            request.encoding,
            trim=not request.part.is_whole,
            made_by=upscaler.signature,
            record=to_text(made),
            resume=settings_of(made, request, upscaler),
            segment=Used.of(upscaler).segment_length,
        )


class Enlarger:
    """Upscales frames: planes -> RGB on the engine's device -> larger planes of the output's layout.

    On a CPU, baselines do without RGB where they can.
    """

    def __init__(self, upscaler: Upscaler, work: Work, size: tuple[int, int], layout: PixelLayout) -> None:
        self._upscaler = upscaler
        self._work = work
        self._size = size
        self._layout = layout
        self._reuse = work.request.reuse
        network = self._reuse and not upscaler.is_baseline
        self._colour, self._alpha = (History(), History()) if network else (None, None)
        self._result: list[np.ndarray] = []  # planes of the last frame
        is_direct = upscaler.choice.device.type == "cpu" and not work.stands_in
        self._kernel: Kernel | None = kernel_of(upscaler.name) if is_direct and upscaler.is_baseline else None
        self._resizers: dict[tuple[PixelLayout, tuple[int, int]], PlaneResizer | None] = {}

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles that were reused from the previous frame, and all tiles; zeros without a network or reuse."""
        history = self._colour
        return (history.reused, history.tiles) if history else (0, 0)

    @property
    def reused(self) -> float | None:
        """Share of the tiles that were reused from the previous frame; None without a network or reuse."""
        reused, tiles = self.counts
        return reused / tiles if tiles else None

    def enlarge(self, frames: Iterable[Frame]) -> Iterator[Pictures]:
        """Yield groups of upscaled frames in order, as many at once as the device takes."""
        for group in self._groups(frames):
            results = iter(self._computed([frame for frame, repeats in group if not repeats]))
            pictures: Pictures = []
            for frame, repeats in group:
                if not repeats:
                    self._result = next(results)
                elif self._colour:
                    self._colour.repeat()
                pictures.append((self._result, frame.pts, frame.duration))
            yield pictures

    def _groups(self, frames: Iterable[Frame]) -> Iterator[list[tuple[Frame, bool]]]:
        """Yield groups of frames of one shape and layout; True marks a frame that equals the previous one."""
        group: list[tuple[Frame, bool]] = []
        before: Frame | None = None
        for lent in frames:
            frame = replace(lent, planes=tuple(np.array(plane) for plane in lent.planes))  # buffers are reused
            if group and not _are_alike(group[0][0], frame):
                yield group
                group = []
            group.append((frame, self._reuse and before is not None and _are_equal(before, frame)))
            if len(group) == self._upscaler.engine.frames_at_once(*frame.planes[0].shape):
                yield group
                group = []
            before = frame
        if group:
            yield group

    def _computed(self, frames: list[Frame]) -> Iterator[list[np.ndarray]]:
        if not frames:
            return
        if resize := self._resizer(frames[0]):
            for frame in frames:
                self._work.stop_if_asked()
                yield resize(frame.planes)
            return
        has_alpha = self._layout.alpha and frames[0].layout.alpha
        rgb, *grey = to_rgb(frames, self._upscaler.choice.device, alpha=has_alpha)
        big = through(partial(self._enlarged, self._colour), rgb, self._size, limited=not self._upscaler.is_baseline)
        if self._upscaler.grain:
            big = self._upscaler.restore_grain(rgb, big, [seed_of(frame.planes) for frame in frames])
        alpha = self._enlarged(self._alpha, grey[0]) if grey else None
        yield from to_planes(big, alpha, self._layout)

    def _resizer(self, frame: Frame) -> PlaneResizer | None:
        """Return what resamples such frames plane by plane; None if they go through RGB."""
        if self._kernel is None or frame.planes[0].shape == self._size[::-1]:  # unscaled, it checks the whole way
            return None
        kind = frame.layout, frame.planes[0].shape
        if kind not in self._resizers:
            self._resizers[kind] = plane_resizer(*kind, self._layout, self._size, self._kernel)
        return self._resizers[kind]

    def _enlarged(self, history: History | None, frames: Tensor) -> Tensor:
        return self._work.watch(self._upscaler, frames, self._size, history=history)


def _are_alike(one: Frame, other: Frame) -> bool:
    return one.layout == other.layout and one.planes[0].shape == other.planes[0].shape


def _are_equal(one: Frame, other: Frame) -> bool:
    return _are_alike(one, other) and all(map(np.array_equal, one.planes, other.planes))
