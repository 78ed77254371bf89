"""Resample the planes of a video frame without RGB: what a baseline does to RGB, done to each plane by itself.

Planes -> RGB, resampling, and RGB -> planes are linear, and the two matrices cancel each other. What is left for a
plane is one filter along its rows and one along its columns: chroma's upsampling, the resampling, and chroma's
downsampling, multiplied in float64. That rounds less often than the way through RGB, for a small part of its cost:
docs/decisions/planes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dagan_cli.engine.colour import code_ranges, code_type, downsampling_matrix, to_codes, upsampling_matrix
from dagan_cli.engine.resample import Kernel, filter_matrix
from dagan_cli.planes import HALVINGS, PixelLayout

_BAND = 1 << 18  # samples that are computed at once: they stay in the cache
_SHORT = 128  # luma samples of an axis that shows what every longer one does; divisible by every subsampling
_EDGE = 8  # input samples at each end of an axis that do not follow the pattern; no filter here reaches further
_NOTHING = 1e-9  # taps below are zeros that rounding has missed


@dataclass(frozen=True, slots=True)
class Filter:
    """Linear filter along an axis that makes `factor` outputs of each input: a banded matrix without its zeros."""

    factor: int
    phases: tuple[tuple[int, tuple[float, ...]], ...]  # each output of input i: its first input - i, and its taps
    head: Tensor  # (outputs, inputs) of the first outputs; of all of them if there are no phases
    tail: Tensor  # the same of the last outputs

    @property
    def is_identity(self) -> bool:
        """True if the outputs are the inputs."""
        inner = self.phases in ((), ((0, (1.0,)),))
        return inner and all(torch.equal(end, torch.eye(*end.shape)) for end in (self.head, self.tail))

    def outputs(self, inputs: int) -> int:
        """Return the number of outputs."""
        inner = self.factor * (inputs - 2 * _EDGE) if self.phases else 0
        return len(self.head) + inner + len(self.tail)

    def times(self, gain: float) -> Filter:
        """Return the filter whose outputs are `gain` times these."""
        phases = tuple((first, tuple(gain * tap for tap in taps)) for first, taps in self.phases)
        return Filter(self.factor, phases, self.head * gain, self.tail * gain)


def make_filter(matrix: Callable[[int], Tensor], length: int, factor: int) -> Filter:
    """Return the filter of an axis of `length` luma samples, whose (outputs, inputs) matrix is `matrix(length)`.

    A long axis gets what a short one has: from `_EDGE` on, the rows of the matrix repeat, one input further.
    """
    is_long = length >= 2 * _SHORT
    whole = matrix(_SHORT + length % 4 if is_long else length)
    whole = torch.where(whole.abs() < _NOTHING, 0.0, whole)
    if not is_long:
        return Filter(factor, (), whole.float(), torch.empty(0, 0))
    inputs = whole.shape[1]
    middle = inputs // 2
    phases: list[tuple[int, tuple[float, ...]]] = []
    for row in whole[middle * factor : (middle + 1) * factor]:
        first, end = _used(row)
        phases.append((first - middle, tuple(row[first:end].tolist())))
    head, tail = whole[: _EDGE * factor], whole[(inputs - _EDGE) * factor :]
    return Filter(
        factor,
        tuple(phases),
        head[:, : _used(head.abs().sum(0))[1]].float(),
        tail[:, _used(tail.abs().sum(0))[0] :].float(),
    )


def _used(weights: Tensor) -> tuple[int, int]:
    """Return where the first weight is that is not 0, and the place after the last one."""
    places = weights.nonzero().flatten().tolist()
    return places[0], places[-1] + 1


class PlaneResizer:
    """Resamples the planes of frames of one layout and size; `plane_resizer` makes it."""

    def __init__(self, parts: Sequence[tuple[slice, _PlaneFilter]]) -> None:
        self._parts = parts  # planes of one shape, and their filter

    def __call__(self, planes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the planes of the larger frame; where nothing changes, those that came in."""
        with torch.inference_mode(), _one_thread():
            return [plane for part, enlarge in self._parts for plane in enlarge(planes[part])]


def plane_resizer(
    source: PixelLayout, shape: tuple[int, int], target: PixelLayout, size: tuple[int, int], kernel: Kernel
) -> PlaneResizer | None:
    """Return what resamples frames of `shape` (h, w) to `size` (width, height) plane by plane; None if that needs RGB.

    It needs RGB where the matrix changes, and where a plane does not grow by whole factors.
    """
    like = [(layout.matrix, layout.chroma == "gray", layout.chroma == "rgb") for layout in (source, target)]
    if like[0] != like[1] or size[0] % shape[1] or size[1] % shape[0] or target.alpha > source.alpha:
        return None
    factors = size[1] // shape[0], size[0] // shape[1]
    halvings = tuple(zip(HALVINGS[source.chroma], HALVINGS[target.chroma], strict=True))
    if any((factor << before) % (1 << after) for factor, (before, after) in zip(factors, halvings, strict=True)):
        return None

    def luma(axis: int) -> Filter:
        return make_filter(lambda n: filter_matrix(kernel, n, n * factors[axis]), shape[axis], factors[axis])

    def chroma(axis: int) -> Filter:
        def matrix(n: int) -> Tensor:
            up = upsampling_matrix(source, axis - 2, n)
            down = downsampling_matrix(target, axis - 2, n * factors[axis])
            return down @ filter_matrix(kernel, n, n * factors[axis]) @ up

        before, after = halvings[axis]
        return make_filter(matrix, shape[axis], (factors[axis] << before) >> after)

    full, depth = (luma(0), luma(1)), target.depth
    ranges = list(zip(code_ranges(source), code_ranges(target), strict=True))
    colours = source.planes - source.alpha
    is_subsampled = source.chroma not in ("gray", "rgb")
    parts = [(slice(0, 1 if is_subsampled else colours), _PlaneFilter(*full, *ranges[0], depth))]
    if is_subsampled:
        parts.append((slice(1, 3), _PlaneFilter(chroma(0), chroma(1), *ranges[1], depth)))
    if target.alpha:
        before, after = ((0, 2**layout.depth - 1) for layout in (source, target))
        parts.append((slice(colours, colours + 1), _PlaneFilter(*full, before, after, depth)))
    return PlaneResizer(parts)


class _PlaneFilter:
    """Filters planes along both axes, and moves their codes from one range (zero, span) to another."""

    def __init__(
        self, rows: Filter, columns: Filter, before: tuple[float, float], after: tuple[float, float], depth: int
    ) -> None:
        gain = after[1] / before[1]
        self._is_copy = rows.is_identity and columns.is_identity and before == after
        self._rows, self._columns = rows.times(gain), columns
        self._zero, self._depth = after[0] - gain * before[0], depth

    def __call__(self, planes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(h, w) each  ->  (H, W) each."""
        if self._is_copy:
            return list(planes)
        x = torch.from_numpy(np.stack(planes))
        _, height, width = x.shape
        shape = len(x), self._rows.outputs(height), self._columns.outputs(width)
        out = torch.empty(shape, dtype=code_type(self._depth))
        top = 0
        for band in self._bands(x):
            bottom = top + band.shape[1]
            self._filter_rows(band, out[:, top:bottom])
            top = bottom
        return list(out.numpy())

    def _bands(self, x: Tensor) -> Iterator[Tensor]:
        """Yield (N, some rows, w) of the planes, filtered along their columns, from the top to the bottom."""
        f, height = self._rows, x.shape[1]
        yield f.head @ x[:, : f.head.shape[1]].float()
        if not f.phases:
            return
        step = max(1, _BAND // (len(x) * x.shape[2] * f.factor))
        for top in range(_EDGE, height - _EDGE, step):
            bottom = min(top + step, height - _EDGE)
            near = x[:, top - _EDGE : bottom + _EDGE].float()
            band = near.new_empty(len(x), bottom - top, f.factor, x.shape[2])
            for phase, (first, taps) in enumerate(f.phases):
                _weigh(near, 1, _EDGE + first, taps, out=band[:, :, phase])
            yield band.flatten(1, 2)
        yield f.tail @ x[:, height - f.tail.shape[1] :].float()

    def _filter_rows(self, band: Tensor, out: Tensor) -> None:
        """Filter (N, rows, w) along its rows, and write the codes into (N, rows, W)."""
        f, width = self._columns, band.shape[2]
        self._write(band[..., : f.head.shape[1]] @ f.head.T, out[..., : len(f.head)])
        if not f.phases:
            return
        self._write(band[..., width - f.tail.shape[1] :] @ f.tail.T, out[..., out.shape[2] - len(f.tail) :])
        inner = out[..., len(f.head) : out.shape[2] - len(f.tail)]
        sums = band.new_empty(*band.shape[:2], width - 2 * _EDGE)
        for phase, (first, taps) in enumerate(f.phases):
            self._write(_weigh(band, 2, _EDGE + first, taps, out=sums), inner[..., phase :: f.factor])

    def _write(self, values: Tensor, out: Tensor) -> None:
        out.copy_(to_codes(values, self._zero, self._depth))


def _weigh(x: Tensor, axis: int, start: int, taps: Sequence[float], out: Tensor) -> Tensor:
    """out[i] = the sum over k of taps[k] * x[start + i + k] along `axis`."""
    length = out.shape[axis]
    torch.mul(x.narrow(axis, start, length), taps[0], out=out)
    for place, tap in enumerate(taps[1:], start + 1):
        out.add_(x.narrow(axis, place, length), alpha=tap)
    return out


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to the calling thread: the work of a band is over before other threads would have woken up.

    Decoding and encoding use the other processors meanwhile.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
