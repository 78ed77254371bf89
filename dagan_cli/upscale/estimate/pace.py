"""Measure how fast this machine would do an input: a few tiles through the network, and a few frames through the rest.

The rest is decoding, conversions and encoding: the real code for them runs with a baseline in place of the network,
into a temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import torch

from dagan_cli.engine.planner import UNMEASURED
from dagan_cli.engine.reuse import History
from dagan_cli.media import images
from dagan_cli.media.images import Picture
from dagan_cli.media.video.source import open_video
from dagan_cli.upscale.frames import to_rgb
from dagan_cli.upscale.request import Part, Request
from dagan_cli.upscale.video import upscale_video
from dagan_cli.upscale.work import Engines, Work
from dagan_cli.upscaler import ModelChoice, Upscaler

PATIENCE = 2.0  # seconds to spend on tiles of one size, whose first one is slow, and on frames of one video
BUDGET = 30.0  # seconds to spend on the rest of all inputs; later ones are assumed to be like the earlier ones
_FRAMES = 48  # of a video that are tried, at most
_GRAIN = 6 / 255
_SAMPLE = 1 << 21  # pixels of an image that are encoded, at most


@dataclass(frozen=True, slots=True)
class Pace:
    """Time for one input: `once`, and `each` for every unit, in seconds."""

    each: float
    once: float = 0.0

    def of(self, count: float) -> float:
        """Return the seconds for a number of units."""
        return self.once + self.each * count


@dataclass(frozen=True, slots=True)
class Rest:
    """Pace of all but the network, per frame."""

    time: Pace
    processor: float = 0.0  # of videos: seconds per frame of each processor, if all share the work


class Paces:
    """Measures each kind of work once, and remembers it for the inputs that follow.

    `patience`: seconds to spend on tiles of one size, and on frames of one video; the first of each is always tried.
    `budget`: seconds to spend on the rest of all inputs.
    """

    def __init__(self, request: Request, patience: float = PATIENCE, budget: float = BUDGET) -> None:
        choice = request.model if request.model.is_baseline else ModelChoice("bicubic")
        self._request = replace(request, model=choice, dry_run=False, overwrite=True, resume=False, report=None)
        self._engines = Engines(self._request)
        self._has_network = not request.model.is_baseline
        self._tiles: dict[Hashable, float] = {}  # seconds per tile, by model and size
        self._measured: set[str] = set()  # models that were measured to choose tiles
        self._rests: dict[Hashable, list[tuple[float, Rest]]] = {}  # with the pixels of a result
        self._spent = 0.0
        self._patience = patience
        self._budget = budget

    def know(self, upscaler: Upscaler, height: int, width: int, pixel: float) -> None:
        """Take the pace of a model on images of this size from work that was timed: seconds per pixel of a tile."""
        sides = upscaler.engine.plan(height, width).sides
        self._tiles[upscaler.name, sides] = pixel * sides[0] * sides[1]

    def network(self, upscaler: Upscaler, height: int, width: int, frames: int) -> Pace:
        """Return the pace of a model, per tile of images of this size; `once` is what a run does first."""
        if upscaler.is_baseline:
            return Pace(0.0)  # it is part of the rest
        engine, once = upscaler.engine, 0.0
        sides = engine.plan(height, width).sides
        key = upscaler.name, sides
        if key not in self._tiles:
            together = engine.frames_at_once(height, width) if frames > 1 else 1
            tried = partial(engine.try_tiles, height, width, together, many=frames > 1)
            first, *others = _repeated(tried, self._patience)
            self._tiles[key] = median(others or [first])
            once += max(0.0, first - self._tiles[key])
        if height * width > UNMEASURED and upscaler.name not in self._measured:
            self._measured.add(upscaler.name)
            once += engine.measuring
        return Pace(self._tiles[key], once)

    def picture(self, picture: Picture, target: Path, size: tuple[int, int], *, resampled: bool) -> tuple[Rest, bool]:
        """Return the pace of reading, converting and writing an image, and whether alpha is upscaled by itself.

        `resampled`: the network, if there is one, does not reach `size` (width, height) alone.
        """
        info = picture.info
        key = info.format, target.suffix.lower(), info.channels, info.depth, resampled
        pixels = size[0] * size[1]
        if known := self._like(key, pixels):
            return known, info.has_alpha
        started = perf_counter()
        frame = next(picture.frames)
        decoded = perf_counter() - started
        alpha = frame[..., -1]
        varies = info.has_alpha and bool((alpha != alpha.flat[0]).any())
        share = min(1.0, (_SAMPLE / pixels) ** 0.5)
        height, width = (max(1, round(side * share)) for side in frame.shape[:2])
        part = np.ascontiguousarray(frame[:height, :width])
        small = max(1, round(size[0] * share)), max(1, round(size[1] * share))
        baseline = self._engines.for_factor(small[0] / width)
        kept: dict[torch.Size, torch.Tensor] = {}

        def enlarged(x: torch.Tensor) -> torch.Tensor:
            if resampled or x.shape not in kept:
                kept[x.shape] = self._with_detail(baseline.upscale_to(x, small))
            return kept[x.shape]

        def write() -> None:
            large = baseline.enlarged(part, small, enlarged, None)()
            self._write(picture, target, large)

        written = _timed(write)
        if key not in self._rests or not resampled:  # the first time, libraries are loaded
            written = min(written, _timed(write))
        each = decoded + written * pixels / (small[0] * small[1])
        return self._keep(key, pixels, Rest(Pace(each)), started), varies

    def video(self, path: Path, target: Path, size: tuple[int, int], key: Hashable, frames: int) -> Rest:
        """Return the pace of decoding, converting and encoding a video whose files are of one kind, `key`."""
        pixels = size[0] * size[1]
        if known := self._like(key, pixels):
            return known
        started = perf_counter()
        few = min(2, frames)
        first, first_cpu = self._trial(path, target, few)
        least = 4 * few if first < 10 * self._patience else few  # the start is not to count as time of frames
        count = min(frames, _FRAMES, max(least, int(self._patience * few / first)))
        rest = Rest(Pace(first / few), first_cpu / few / torch.get_num_threads())
        if count > 2 * few:
            more, more_cpu = self._trial(path, target, count)
            each = max(0.0, more - first) / (count - few) if count < frames else more / count
            cpu = max(0.0, more_cpu - first_cpu) / (count - few) if count < frames else more_cpu / count
            once = max(0.0, first - few * each) if count < frames else 0.0
            rest = Rest(Pace(each, once), cpu / torch.get_num_threads())
        return self._keep(key, pixels, rest, started)

    def reused(self, path: Path, upscaler: Upscaler) -> float:
        """Return the share of tiles, after the first frame, that equal those of the frame before; at the start."""
        if upscaler.is_baseline or not self._request.reuse:
            return 0.0
        history, started = History(), perf_counter()
        with open_video(path, self._request.deinterlace) as source:
            plan = upscaler.engine.plan(source.info.height, source.info.width)
            for frame in source.frames(limit=_FRAMES):
                (rgb,) = to_rgb([frame], torch.device("cpu"), alpha=False)
                history.recall(rgb, plan)
                history.keep(rgb[-1], plan, {})
                if perf_counter() - started > self._patience:
                    break
        later = history.tiles - plan.count
        return history.reused / later if later > 0 else 0.0

    def _with_detail(self, large: torch.Tensor) -> torch.Tensor:
        """Add grain in place of a network's detail: PNG takes three times as long for the smooth result of bicubic."""
        if self._has_network:
            grain = torch.rand(large.shape[-2:], generator=torch.Generator().manual_seed(0))
            return large + (grain - 0.5) * _GRAIN
        return large

    def _write(self, picture: Picture, target: Path, large: np.ndarray) -> None:
        """Write a part of a result (H, W, C) as the whole would be, to a temporary folder."""
        request, size = self._request, (large.shape[1], large.shape[0])
        info = replace(picture.info, frames=1, durations=picture.info.durations[:1])
        with TemporaryDirectory(prefix="dagan-plan-") as folder:
            name = Path(folder) / f"part{target.suffix}"
            chosen = {"format": request.format, "quality": request.quality, "lossless": request.lossless}
            images.write_picture(name, images.plan_output(info, name, size, **chosen), [large])

    def _trial(self, path: Path, target: Path, frames: int) -> tuple[float, float]:
        """Return the seconds, by the clock and of the processors, of the first frames without the network."""
        request = replace(self._request, part=Part(frames=frames))
        with TemporaryDirectory(prefix="dagan-plan-") as folder:
            work = Work(request, self._engines, lambda _: None, lambda: False, None, stands_in=self._has_network)
            started, cpu = perf_counter(), process_time()
            upscale_video(path, Path(folder) / f"part{target.suffix}", work)
            return perf_counter() - started, process_time() - cpu

    def _like(self, key: Hashable, pixels: int) -> Rest | None:
        """Return the pace of the known input that is nearest in size, once enough time was spent; None: measure it."""
        known = self._rests.get(key, [])
        if not known or self._spent < self._budget:
            return None
        size, rest = min(known, key=lambda entry: abs(entry[0] - pixels))
        return Rest(Pace(rest.time.each * pixels / size, rest.time.once), rest.processor * pixels / size)

    def _keep(self, key: Hashable, pixels: int, rest: Rest, started: float) -> Rest:
        self._rests.setdefault(key, []).append((pixels, rest))
        self._spent += perf_counter() - started
        return rest


def _repeated(run: Callable[[], int], patience: float) -> list[float]:
    """Return the seconds per tile of a few runs, the first of which is slower; of that alone if it took very long."""
    times = []
    spent = 0.0
    while not times or (spent < patience and len(times) < 8) or (len(times) == 1 and spent < 10 * patience):
        started = perf_counter()
        count = run()
        spent += perf_counter() - started
        times.append((perf_counter() - started) / count)
    return times


def _timed(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started
