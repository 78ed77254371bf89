"""Run frames through a network: pad, tile, batch, run, join, crop."""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dagan_cli.engine import memory, precision, tiles
from dagan_cli.engine.options import EngineOptions, Network, Runtime
from dagan_cli.engine.planner import Planner, is_held
from dagan_cli.engine.resample import Kernel, Resize, Target, resample, scaled_size
from dagan_cli.engine.reuse import History
from dagan_cli.engine.runtimes import library
from dagan_cli.engine.runtimes.compiled import CannotRun, Compiled
from dagan_cli.engine.runtimes.pytorch import PyTorch
from dagan_cli.engine.tiles import Plan, Span, Tile
from dagan_cli.errors import BadInput, BadModel, DaganError

_ALONE = 256 * 256  # pixels; compiling for a single image of up to this size takes longer than it gains
_PATIENCE = 3  # after this many failed tiles in half precision, all are computed in fp32


class Step(NamedTuple):
    """Progress: finished tiles and all tiles."""

    done: int
    total: int


class Engine:
    """Run one network, copied to the chosen device, on any number of images of any size.

    The tiles, their size once found to fit, and the cast weights are kept between calls.

        engine(frames)                   the network's own factor
        engine.upscale_to(frames, 2.5)   any factor, or an exact (width, height)
        engine.steps(frames)             the same, tile by tile

    `choice` holds the device, the precision and the reason; `notices` lists deviations from the plan.
    Raises BadOption for an unavailable device or precision.
    """

    def __init__(self, network: Network, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        supported = getattr(network, "dtypes", tuple(precision.DTYPES.values()))
        compiles = getattr(network, "compiles", False)
        wanted = self.options.device, self.options.precision, supported, self.options.runtime
        self.choice = precision.choose(*wanted, compiles=compiles)
        if next(iter(network.parameters()), None) is None:  # no speed to gain, and a baseline must be exact
            place = self.options.device if self.choice.openvino is None else "cpu"
            self.choice = precision.choose(place, "fp32")
            self.choice = replace(self.choice, why=self.choice.why.replace("as requested", "no weights"))
        self.scale = network.scale
        self.notices: list[str] = []
        self._original = deepcopy(network)
        self._original.eval()
        self._torch = PyTorch(self._original, self.choice.device)
        self._is_measured = getattr(network, "is_measured", False)
        self._planner = Planner(self._original, self.options, self.choice, self._torch.network, self.notices)
        self._compiled: Compiled | None = None
        if (place := self.choice.openvino) is not None:
            self._compiled = Compiled(self._original, place, self._planner.dtype, self.notices)
            if not compiles:
                self._without_openvino("it is not made for that")
        self.runtimes: set[str] = set()  # what has executed the network
        self._failed = 0  # tiles that were not finite in half precision
        self._buffer = torch.empty(0)

    def __call__(self, frames: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """(N, 3, H, W) float in [0, 1] or uint8 in [0, 255] -> (N, 3, scale*H, scale*W) float, nominally in [0, 1].

        The result is not clamped, and has the frames' floating-point type (fp32 for uint8) and device. For frames in
        host memory it is in host memory, or in a mapped file above `options.result_memory`. `progress(done, total)`
        counts tiles.

        Raises OutOfMemory if even the smallest tile does not fit, BadModel if the network's result is not finite in
        fp32, BadInput if the frames are not finite, and CannotWrite if there is no room for a mapped file.
        """
        return _run(self.steps(frames), progress)

    def upscale_to(self, frames: Tensor, target: Target, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Like a call, but to (N, 3, height, width) of `target`: a factor above 0, or an exact (width, height).

        The network runs once, or twice if the target factor is at least scale^2; one resampling does the rest.
        """
        return _run(self.steps(frames, target), progress)

    def steps(
        self, frames: Tensor, target: Target | None = None, history: History | None = None
    ) -> Generator[Step, None, Tensor]:
        """Do the work of a call in steps that can be watched and abandoned; the generator returns the result.

        With a `history`, tiles that are identical to those of the previous frame are not computed again, and the
        frames must not be modified afterwards.
        """
        _, c, h, w = frames.shape
        if c != 3 or min(h, w) < 1:
            raise ValueError(f"frames have shape {tuple(frames.shape)}, not (N, 3, H, W)")
        if target is None:
            return (yield from self._through_network(frames, history))
        width, height = scaled_size(w, h, target)
        if isinstance(self._original, Resize):  # a baseline resamples directly, not via a whole factor
            floats = frames if frames.is_floating_point() else frames.float() / 255
            return self._resampled(floats, (width, height), self._original.kernel)
        result = yield from self._through_network(frames, history)
        if self.scale > 1 and max(width / w, height / h) >= self.scale**2:
            result = yield from self._through_network(result)
        return result if result.shape[-2:] == (height, width) else self._resampled(result, (width, height))

    @property
    def measuring(self) -> float:
        """Seconds that measuring the network took; 0 if it was not needed, or is remembered."""
        return self._planner.measuring

    def plan(self, height: int, width: int) -> Plan:
        """Return the tiles for images of this size."""
        return self._planner.plan(height, width)

    def frames_at_once(self, height: int, width: int) -> int:
        """Return how many frames of this size to process together: one, or as many as fill a batch of tiles."""
        if isinstance(self._original, Resize) and self.choice.device.type == "cpu":
            return 1  # no tiles: measuring them would only cost seconds
        plan = self.plan(height, width)
        return max(1, self._planner.batch(plan) // plan.count)

    def runtime_for(self, height: int, width: int, *, many: bool = False) -> str:
        """Return what executes the network for an image of this size, or for many of them: torch or openvino."""
        return self._runtime(height, width, many=many).name

    def tile_bytes(self, height: int, width: int) -> int:
        """Estimate the bytes that the network needs at once on its device for images of this size."""
        plan = self.plan(height, width)
        return round(self._planner.bytes_per_pixel * plan.area * self._planner.batch(plan))

    def try_tiles(self, height: int, width: int, frames: int = 1, *, many: bool = False) -> int:
        """Compute as many tiles of noise at once as for `frames` images of this size; return how many these were.

        `many`: as for one of many images of this size.
        """
        while True:
            plan = self.plan(height, width)
            count = min(self._planner.batch(plan), plan.count * frames)
            noise = torch.rand(1, 3, *plan.sides, generator=torch.Generator().manual_seed(0))
            y, x = plan.tiles[0]
            with torch.inference_mode():
                runtime = self._runtime(height, width, many=many)
                done = memory.attempt(partial(self._compute, noise, [(0, y, x)] * count, plan, runtime))
            if done is not None:
                return count
            if count > 1:
                self._planner.most_tiles = count // 2
            else:
                self._shrunk(plan, height, width)

    def network(self, dtype: torch.dtype) -> Network:
        """Return the copy on the device in the given precision, made on first use."""
        return self._torch.network(dtype)

    def _through_network(self, frames: Tensor, history: History | None = None) -> Generator[Step, None, Tensor]:
        n, _, h, w = frames.shape
        out = self._result(frames, n, h * self.scale, w * self.scale)
        finished: list[list[Tile]] = [[]]  # per tiling that was tried
        plan = self.plan(h, w)
        todo = [(i, *tile) for i, tile in product(range(n), plan.tiles)]
        same_as, shares = history.recall(frames, plan) if history else ({}, {})
        many = history is not None or n > 1
        while todo:
            batch, joined = _next_batch(todo, same_as, self._planner.batch(plan))
            with torch.inference_mode():
                runtime = self._runtime(h, w, many=many)
                new = memory.attempt(
                    lambda batch=batch, plan=plan, runtime=runtime: [
                        self._share(tile, pixels, finished).to(out.device)
                        for tile, pixels in zip(batch, self._compute(frames, batch, plan, runtime), strict=True)
                    ]
                )
                if new is not None:
                    shares.update(zip(batch, new, strict=True))
                    for tile in joined:  # always in this order, so that sums of overlaps are bit-identical
                        self._join(out, tile, shares[same_as.get(tile, tile)], finished)
            if new is not None:
                if history is None:
                    shares.clear()
                finished[-1] += joined
                del todo[: len(joined)]
                done = sum(map(len, finished))
                yield Step(done, done + len(todo))
            elif len(batch) > 1:
                self._planner.most_tiles = len(batch) // 2
            else:
                plan = self._shrunk(plan, h, w)
                finished.append([])
                same_as, shares, history = {}, {}, _forgotten(history)
                todo = [(i, *tile) for i, tile in product(range(n), plan.tiles) if self._is_left(i, *tile, finished)]
        if history is not None:
            last = {(y, x): shares[same_as.get((n - 1, y, x), (n - 1, y, x))] for y, x in plan.tiles}
            history.keep(frames[-1], plan, last)
        return out

    def _runtime(self, height: int, width: int, *, many: bool) -> Runtime:
        """Return what executes the network for images of this size.

        It follows from the size alone, so that results do not depend on what was compiled before.
        """
        is_free = self.options.runtime == "auto" and not library.is_named(self.options.device)
        alone = is_free and self.choice.openvino == "CPU" and not many
        # Networks of other programs must be traced at this size first, and compared with PyTorch.
        if self._compiled is None or (alone and (self._is_measured or height * width <= _ALONE)):
            return self._torch
        return self._compiled

    def _compute(self, frames: Tensor, batch: list[Tile], plan: Plan, runtime: Runtime) -> list[Tensor]:
        """Compute the batch's tiles, each (3, s*h', s*w') on the device and finite."""
        if not batch:
            return []
        self.runtimes.add(runtime.name)
        try:
            big = self._apply(self._read(frames, batch, plan, self._planner.dtype, runtime), runtime)
        except CannotRun as error:
            self._without_openvino(str(error))
            return self._compute(frames, batch, plan, self._torch)
        if isinstance(self._original, Resize):
            return list(big)
        pixels = list(big)
        for i, finite in enumerate(_are_finite(big)):
            if not finite and self._planner.dtype != torch.float32:
                again = self._apply(self._read(frames, [batch[i]], plan, torch.float32, self._torch), self._torch)
                pixels[i], (finite,) = again[0], _are_finite(again)
                self._note_failure()
            if not finite:
                raise _not_finite(frames[batch[i][0]])
        return pixels

    def _without_openvino(self, why: str) -> None:
        """Let PyTorch execute the network from now on, in fp32: it was chosen for other devices, or a slow CPU."""
        self._compiled, self._planner.is_compiled = None, False
        self._planner.dtype = torch.float32
        self.choice = replace(self.choice, dtype=torch.float32, why=f"CPU, fp32: {why}", openvino=None)
        self.notices.append(f"OpenVINO does not run the model: {why}; continuing with PyTorch on the CPU")

    def _read(self, frames: Tensor, batch: list[Tile], plan: Plan, dtype: torch.dtype, runtime: Runtime) -> Tensor:
        """Cut the batch's tiles (B, 3, h', w') from the frames, for a network that computes in `dtype`.

        Beyond the border, edge pixels are repeated, or pixels are mirrored for a network that expects it.
        """
        dtype, layout = runtime.input_dtype(dtype), runtime.layout
        shape, old = (len(batch), 3, *plan.sides), self._buffer
        is_like = old.shape[1:] == shape[1:] and len(old) >= len(batch) and old.dtype == dtype
        if not (is_like and old.is_contiguous(memory_format=layout)):
            self._buffer = torch.empty(shape, dtype=dtype, device=self.choice.device, memory_format=layout)
        x = self._buffer[: len(batch)]
        for into, (i, v, u) in zip(x, batch, strict=True):
            tile = frames[i, :, v.start : v.stop, u.start : u.stop]
            _, h, w = tile.shape
            into[:, :h, :w] = tile
            if getattr(self._original, "mirrors", False):
                into[:, h:, :w] = into[:, _mirrored(h, into.shape[1]), :w]
                into[:, :, w:] = into[:, :, _mirrored(w, into.shape[2])]
            else:
                into[:, h:, :w] = into[:, h - 1 : h, :w]
                into[:, :, w:] = into[:, :, w - 1 : w]
        return x if frames.is_floating_point() else x.div_(255)

    def _apply(self, x: Tensor, runtime: Runtime) -> Tensor:
        """(B, 3, h', w') -> (B, 3, s*h', s*w'), in the precision of x, or in fp32 for the ensemble's mean."""
        if not self.options.ensemble:
            return runtime.run(x)
        total: Tensor | None = None
        for turned, flips in product((False, True), ((), (2,), (3,), (2, 3))):
            view = (x.transpose(2, 3) if turned else x).flip(flips).contiguous(memory_format=runtime.layout)
            y = runtime.run(view).flip(flips)
            y = (y.transpose(2, 3) if turned else y).float()
            total = y if total is None else total + y
        assert total is not None
        return total / 8

    def _share(self, tile: Tile, pixels: Tensor, finished: list[list[Tile]]) -> Tensor:
        """Crop a tile to its kept part, weighted where neighbours or tiles of an earlier tiling overlap it."""
        s = self.scale
        i, y, x = tile
        kept = pixels[:, s * (y.a - y.start) : s * (y.b - y.start), s * (x.a - x.start) : s * (x.b - x.start)]
        if _is_alone(y, x, finished):
            return kept
        weight = np.outer(tiles.weights(y, y.a, y.b, s), tiles.weights(x, x.a, x.b, s))
        if len(finished) > 1:
            weight *= tiles.left_over(y, x, _of_frame(i, finished[:-1]), s)
        return kept * torch.from_numpy(weight).to(kept.device)

    def _join(self, out: Tensor, tile: Tile, share: Tensor, finished: list[list[Tile]]) -> None:
        s = self.scale
        i, y, x = tile
        place = out[i, :, s * y.a : s * y.b, s * x.a : s * x.b]
        if _is_alone(y, x, finished):
            place.copy_(share)
        else:
            place += share

    def _shrunk(self, failed: Plan, height: int, width: int) -> Plan:
        """Switch to smaller tiles for this image and all later ones. Raises OutOfMemory at the smallest."""
        self._buffer = torch.empty(0)
        return self._planner.shrink(failed, height, width)

    def _is_left(self, i: int, y: Span, x: Span, finished: list[list[Tile]]) -> bool:
        return bool(tiles.left_over(y, x, _of_frame(i, finished[:-1]), 1).max() > 1e-6)

    def _note_failure(self) -> None:
        name = str(self._planner.dtype).removeprefix("torch.")
        self._failed += 1
        if self._failed == 1:
            self.notices.append(f"a tile was not finite in {name}: recomputed in float32")
        if self._failed == _PATIENCE:
            self.notices.append(f"{_PATIENCE} tiles were not finite in {name}: continuing in float32")
            self._planner.dtype = torch.float32

    def _resampled(self, x: Tensor, size: tuple[int, int], kernel: Kernel = "bicubic") -> Tensor:
        with torch.inference_mode():
            return resample(x, size, kernel, out=self._result(x, len(x), size[1], size[0]))

    def _result(self, frames: Tensor, n: int, height: int, width: int) -> Tensor:
        """Return zeros (N, 3, height, width) on the frames' device, in host memory, or in a mapped file."""
        shape, dtype = (n, 3, height, width), frames.dtype if frames.is_floating_point() else torch.float32
        if frames.device.type != "cpu":
            out = memory.attempt(lambda: torch.zeros(shape, dtype=dtype, device=frames.device))
            if out is not None:
                return out
        if is_held(n * 3 * height * width * dtype.itemsize, self.options):
            return torch.zeros(shape, dtype=dtype)
        return memory.mapped_zeros(shape, dtype, self.options.folder)


def _next_batch(todo: list[Tile], same_as: dict[Tile, Tile], most: int) -> tuple[list[Tile], list[Tile]]:
    """Return the next tiles to compute, at most `most`, and all that can be joined then, including reused tiles."""
    batch: list[Tile] = []
    for count, tile in enumerate(todo):
        if tile not in same_as:
            if len(batch) == most:
                return batch, todo[:count]
            batch.append(tile)
    return batch, list(todo)


def _mirrored(length: int, side: int) -> list[int]:
    """Return the places whose pixels stand for those from `length` to `side`, the edge being the mirror."""
    return [max(0, 2 * (length - 1) - place) for place in range(length, side)]


def _forgotten(history: History | None) -> None:
    """Free the history after memory ran out; nothing more of these frames is remembered."""
    if history is not None:
        history.forget()


def _run(steps: Generator[Step, None, Tensor], progress: Callable[[int, int], None] | None) -> Tensor:
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None:
            progress(*step)


def _are_finite(x: Tensor) -> list[bool]:
    """True per finite image of (N, 3, H, W), in one pass without a mask as large as the images."""
    return x.sum(dim=(1, 2, 3), dtype=torch.float32).isfinite().tolist()


def _not_finite(frame: Tensor) -> DaganError:
    if not all(_are_finite(frame[None])):
        return BadInput("the image contains values that are not finite", hint="repair it, or save it as integers")
    return BadModel("the model's output is not finite, even in fp32", hint="use another model")


def _is_alone(y: Span, x: Span, finished: list[list[Tile]]) -> bool:
    """True if no other tile overlaps what this one keeps."""
    return len(finished) == 1 and not (y.rise or y.fall or x.rise or x.fall)


def _of_frame(i: int, finished: list[list[Tile]]) -> list[list[tuple[Span, Span]]]:
    return [[(y, x) for j, y, x in batch if j == i] for batch in finished]
