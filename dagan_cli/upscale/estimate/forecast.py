"""Estimate the cost of upscaling an input without doing it: frames, tiles, memory, disk and time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dagan_cli.analysis.measure import analyse_image, analyse_video
from dagan_cli.engine.tiles import Plan
from dagan_cli.media import images
from dagan_cli.media.find import Source
from dagan_cli.media.video.info import VideoInfo, count_frames
from dagan_cli.media.video.source import open_video
from dagan_cli.planes import HALVINGS
from dagan_cli.upscale.estimate.pace import BUDGET, PATIENCE, Paces
from dagan_cli.upscale.events import Forecast, Item
from dagan_cli.upscale.plan import VideoPlan, outline, plan_image, plan_video
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.video import resumable
from dagan_cli.upscale.work import Engines
from dagan_cli.upscaler import Upscaler

_COUNTING = 5.0  # seconds to spend on counting the frames of a video whose header does not tell
_LOSSLESS = {"ffv1": 0.5, "prores_ks": 0.25}  # bytes written / bytes of raw planes, roughly
_LOSSY = 0.02  # bytes written / bytes of raw planes at CRF 17: 0.008 to 0.03 on upscaled film
_PICTURE = {".png": 0.6, ".tif": 0.6, ".tiff": 0.6, ".bmp": 1.0, ".webp": 0.1, ".jpg": 0.2, ".jpeg": 0.2, ".avif": 0.1}


class Forecaster:
    """Estimates costs: opens inputs, tries a few tiles and frames of each kind, and writes nothing next to them.

    `patience` and `budget`: see `Paces`.
    """

    def __init__(self, request: Request, engines: Engines, patience: float = PATIENCE, budget: float = BUDGET) -> None:
        self._request = request
        self._upscalers = engines
        self._paces = Paces(request, patience, budget)

    def look_at(self, source: Source, target: Path, upscaler: Upscaler | None = None) -> Item:
        """Return the planned Item of `source`, with a model that is not the request's if one is given.

        Raises BadInput, BadOption and BadModel like upscaling it.
        """
        look = self._picture if source.kind == "picture" else self._video
        return look(source.path, target, upscaler)

    def know(self, upscaler: Upscaler, height: int, width: int, pixel: float) -> None:
        """Take the pace of a model from work that was timed; see `Paces.know`."""
        self._paces.know(upscaler, height, width, pixel)

    def _picture(self, path: Path, target: Path, upscaler: Upscaler | None) -> Item:
        request = self._request
        with images.open_picture(path, limit_pixels=request.max_pixels) as picture:
            info = picture.info
            factor = request.goal.factor_for(info.width, info.height)
            if upscaler is None:
                upscaler = self._upscalers.for_source(path, factor, lambda: analyse_image(path, picture.peek(), info))
            chosen = {"format": request.format, "quality": request.quality, "lossless": request.lossless}
            planned = plan_image(info, target, request.goal, **chosen)
            size, output = planned.size, planned.output
            form = {"format": output.format, "depth": output.info.depth}
            item = self._item(path, target, upscaler, (info.width, info.height), size, form)
            resampled = upscaler.is_baseline or size != (info.width * upscaler.scale, info.height * upscaler.scale)
            rest, alpha = self._paces.picture(picture, target, size, resampled=resampled)
        raw = size[0] * size[1] * output.info.channels * (1 if output.info.depth == 8 else 2) * info.frames
        seconds = self._network(upscaler, info.height, info.width, size, info.frames * (1 + alpha))
        return _completed(
            item,
            frames=info.frames,
            disk=raw * _PICTURE.get(target.suffix.lower(), 0.6),
            seconds=seconds + rest.time.of(info.frames),
            warnings=(*info.warnings, *planned.warnings),
        )

    def _video(self, path: Path, target: Path, upscaler: Upscaler | None) -> Item:
        request = self._request
        with open_video(path, request.deinterlace) as source:
            info, warnings = source.info, source.warnings
        factor = outline(info, request.goal).factor
        upscaler = upscaler or self._upscalers.for_source(path, factor, lambda: analyse_video(path))
        kept = resumable(path, target, request, upscaler, info)
        planned = plan_video(info, target, request.goal, request.encoding)
        size, recipe = planned.size, planned.recipe
        total, known = (info.frames, True) if info.frames else count_frames(info, _COUNTING)
        frames = request.part.frames_of(total, info.rate) or 0
        if frames == request.part.frames:
            known = True
        form = {"codec": recipe.codec, "pixel_format": recipe.pix_fmt}
        item = self._item(path, target, upscaler, (info.width, info.height), size, form)
        layout = recipe.layout
        (seconds,) = self.seconds_of_video(target, [upscaler], info, planned, frames, frames - kept)
        chroma = 0 if layout.chroma == "gray" else 2 / 2 ** sum(HALVINGS[layout.chroma])
        raw = size[0] * size[1] * (1 + chroma + layout.alpha) * (1 if layout.depth == 8 else 2) * frames
        written = raw * _LOSSLESS.get(recipe.codec, _LOSSY) + path.stat().st_size  # the input covers the other streams
        return _completed(
            item,
            frames=frames,
            resumed=kept,
            disk=2 * written,
            seconds=seconds,
            warnings=(*warnings, *planned.warnings),
            at_least=not known,
        )

    def seconds_of_video(
        self, target: Path, upscalers: Sequence[Upscaler], info: VideoInfo, planned: VideoPlan, frames: int, left: int
    ) -> list[float]:
        """Return the seconds with each model for the frames that are `left` of all `frames` of a video."""
        if left <= 0:
            return [0.0 for _ in upscalers]
        recipe, size = planned.recipe, planned.size
        kind = info.codec, info.pix_fmt, recipe.codec, recipe.pix_fmt, target.suffix.lower()
        rest = self._paces.video(info.path, target, size, kind, frames)

        def seconds(upscaler: Upscaler) -> float:
            new = 1 + (left - 1) * (1 - self._paces.reused(info.path, upscaler))
            alpha = recipe.layout.alpha and info.layout.alpha
            network = self._network(upscaler, info.height, info.width, size, new * (1 + alpha))
            # The stages overlap: on a GPU the slowest one counts, on a CPU they share the processors.
            shared = rest.processor * left if upscaler.choice.device.type == "cpu" else 0.0
            return rest.time.once + max(rest.time.each * left, network + shared)

        return [seconds(upscaler) for upscaler in upscalers]

    def _network(self, upscaler: Upscaler, height: int, width: int, size: tuple[int, int], frames: float) -> float:
        """Return the seconds of the network for a number of frames; it runs twice for large factors."""
        if upscaler.is_baseline:
            return 0.0
        scale = upscaler.scale
        twice = scale > 1 and max(size[0] / width, size[1] / height) >= scale**2
        passes = [(height, width), *([(scale * height, scale * width)] if twice else [])]
        return sum(
            self._paces.network(upscaler, h, w, round(frames)).of(upscaler.engine.plan(h, w).count * frames)
            for h, w in passes
        )

    def _item(
        self,
        path: Path,
        target: Path,
        upscaler: Upscaler,
        in_size: tuple[int, int],
        size: tuple[int, int],
        form: dict[str, Any],
    ) -> Item:
        """Return the Item of one frame; `_completed` adds the rest."""
        width, height = in_size
        noticed = len(upscaler.notices)
        tiles: Plan = upscaler.engine.plan(height, width)
        result = size[0] * size[1] * 3 * 4 * 2  # the upscaled frame in fp32, and a copy during conversion
        return Item(
            input=path,
            output=target,
            status="planned",
            model=upscaler.words,
            in_size=in_size,
            out_size=size,
            warnings=tuple(upscaler.notices[noticed:]),
            forecast=Forecast(
                model=upscaler.words,
                tile=(tiles.sides[1], tiles.sides[0]),
                tiles=tiles.count,
                memory=(0 if upscaler.is_baseline else upscaler.engine.tile_bytes(height, width)) + result,
                disk=0,
                seconds=0.0,
                **form,
            ),
        )


def _completed(
    item: Item,
    *,
    frames: int,
    disk: float,
    seconds: float,
    warnings: tuple[str, ...],
    at_least: bool = False,
    resumed: int = 0,
) -> Item:
    assert item.output is not None
    assert item.forecast is not None
    free = shutil.disk_usage(next(folder for folder in item.output.absolute().parents if folder.is_dir())).free
    if disk > free:
        warnings = (*warnings, f"the output needs about {disk / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
    if at_least:
        warnings = (*warnings, "the number of frames is unknown: time and disk are for those that could be counted")
    forecast = replace(item.forecast, disk=round(disk), seconds=seconds, at_least=at_least)
    warnings = (*item.warnings, *warnings)
    return replace(item, frames=frames, resumed=resumed, warnings=warnings, forecast=forecast)
