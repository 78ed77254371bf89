"""Estimate the cost of upscaling an input without doing it: frames, tiles, memory, disk and time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from dagan_cli.media import images
from dagan_cli.media.find import Source
from dagan_cli.media.video.source import open_video
from dagan_cli.planes import HALVINGS
from dagan_cli.upscale.events import Forecast, Item
from dagan_cli.upscale.plan import plan_image, plan_video
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines
from dagan_cli.upscaler import Upscaler

_QUICK = 1.0  # seconds: shorter runs are timed twice, because the first one is slow
_LOSSLESS = {"ffv1": 0.5, "prores_ks": 0.25}  # bytes written / bytes of raw planes, roughly
_LOSSY = 0.02  # bytes written / bytes of raw planes at CRF 17: 0.008 to 0.03 on upscaled film
_PICTURE = {".png": 0.6, ".tif": 0.6, ".tiff": 0.6, ".bmp": 1.0, ".webp": 0.1, ".jpg": 0.2, ".jpeg": 0.2, ".avif": 0.1}


class Forecaster:
    """Estimates costs: opens inputs, computes one tile for each model and tile size, and writes nothing."""

    def __init__(self, request: Request, engines: Engines) -> None:
        self._request = request
        self._upscalers = engines
        self._paces: dict[tuple[str, int], float] = {}  # seconds per input pixel, by model and pixels per tile

    def look_at(self, source: Source, target: Path) -> Item:
        """Return the planned Item of `source`. Raises BadInput, BadOption and BadModel like upscaling it."""
        return self._picture(source.path, target) if source.kind == "picture" else self._video(source.path, target)

    def _picture(self, path: Path, target: Path) -> Item:
        request = self._request
        with images.open_picture(path, limit_pixels=request.max_pixels) as picture:
            info = picture.info
        upscaler = self._upscalers.for_factor(request.goal.factor_for(info.width, info.height))
        planned = plan_image(
            info, target, request.goal, format=request.format, quality=request.quality, lossless=request.lossless
        )
        size, output = planned.size, planned.output
        raw = size[0] * size[1] * output.info.channels * (1 if output.info.depth == 8 else 2) * info.frames
        disk = raw * _PICTURE.get(target.suffix.lower(), 0.6)
        warnings = (*info.warnings, *planned.warnings)
        form = {"format": output.format, "depth": output.info.depth}
        return self._item(path, target, upscaler, (info.width, info.height), size, info.frames, disk, warnings, form)

    def _video(self, path: Path, target: Path) -> Item:
        request = self._request
        with open_video(path, request.deinterlace) as source:
            info, warnings = source.info, source.warnings
        upscaler = self._upscalers.for_factor(request.goal.factor_for(info.width, info.height), video=True)
        planned = plan_video(info, target, request.goal, request.encoding)
        size, recipe = planned.size, planned.recipe
        frames = request.part.frames_of(info.frames, info.rate)
        layout = recipe.layout
        chroma = 0 if layout.chroma == "gray" else 2 / 2 ** sum(HALVINGS[layout.chroma])
        raw = size[0] * size[1] * (1 + chroma + layout.alpha) * (1 if layout.depth == 8 else 2) * (frames or 0)
        written = raw * _LOSSLESS.get(recipe.codec, _LOSSY) + path.stat().st_size  # the input covers the other streams
        warnings = (*warnings, *planned.warnings)
        if frames is None:
            warnings = (*warnings, "the number of frames is unknown: time and disk do not include them")
        form = {"codec": recipe.codec, "pixel_format": recipe.pix_fmt}
        return self._item(path, target, upscaler, (info.width, info.height), size, frames, 2 * written, warnings, form)

    def _item(
        self,
        path: Path,
        target: Path,
        upscaler: Upscaler,
        in_size: tuple[int, int],
        size: tuple[int, int],
        frames: int | None,
        disk: float,
        warnings: tuple[str, ...],
        form: dict[str, Any],
    ) -> Item:
        width, height = in_size
        tiles = upscaler.engine.plan(height, width)
        seconds = self._pace(upscaler, *tiles.sides) * tiles.area * tiles.count * (frames or 0)
        result = size[0] * size[1] * 3 * 4 * 2  # the upscaled frame in fp32, and a copy during conversion
        free = shutil.disk_usage(next(folder for folder in target.absolute().parents if folder.is_dir())).free
        if disk > free:
            warnings = (*warnings, f"the output needs about {disk / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
        return Item(
            input=path,
            output=target,
            status="planned",
            frames=frames or 0,
            in_size=in_size,
            out_size=size,
            warnings=warnings,
            forecast=Forecast(
                model=upscaler.name,
                tile=(tiles.sides[1], tiles.sides[0]),
                tiles=tiles.count,
                memory=(0 if upscaler.is_baseline else upscaler.engine.tile_bytes(height, width)) + result,
                disk=round(disk),
                seconds=seconds,
                **form,
            ),
        )

    def _pace(self, upscaler: Upscaler, height: int, width: int) -> float:
        """Return seconds per input pixel in a tile of this size; measured once per number of pixels."""
        key = upscaler.name, height * width
        if key not in self._paces:
            tile = torch.zeros(1, 3, height, width)
            factor = self._request.goal.factor_for(width, height) if upscaler.is_baseline else upscaler.scale
            seconds = _timed(lambda: upscaler.upscale_to(tile, factor))
            if seconds < _QUICK:
                seconds = _timed(lambda: upscaler.upscale_to(tile, factor))
            self._paces[key] = seconds / (height * width)
        return self._paces[key]


def _timed(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
