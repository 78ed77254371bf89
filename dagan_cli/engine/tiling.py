"""Choose the tiling that fits in memory and takes the least time, or the next smaller one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from dagan_cli.engine.tiles import SMALLEST, Plan, Tiling, plan, round_up
from dagan_cli.errors import BadOption, OutOfMemory
from dagan_cli.model.footprint import Footprint

SHARE = 0.6  # share of the free memory to use: kernels need workspace, and other programs may need some
MOST_PIXELS = 2**21 - 1  # a x4 network of 64 channels stays below 2^31 elements, which GPU kernels index fastest
_SIDES = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1024, 1280)
_SMALLEST_GOOD = 64  # pixels; attention over a whole tile is cheapest in tiny tiles, but was trained on larger ones
_CPU_CACHE = 256 * 256  # pixels of an fp32 tile whose features stay in the cache
_COMPILED = 2.5e11  # FLOPs of a tile of OpenVINO on a CPU, 3 to 4 s on one core: a stop waits for the end of a tile
_CPU_CALL = 1000  # fixed cost of a call on a CPU, in pixels
_GPU_CALL = 30_000  # fixed cost of a call on a GPU, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Everything but the image size that determines the tiles."""

    device: str  # "cpu", "cuda" or "mps", or "openvino": OpenVINO on a CPU
    half: bool  # True if the network computes in 16 bits
    receptive_field: int | None  # of one output pixel to each side, in input pixels; None = the whole input
    grid: int  # tiles start at multiples of this
    multiple: int = 0  # sides of tiles are multiples of this; 0 = the grid
    context: int | None = None  # side of the least area to pool over, in input pixels; None = the network pools nowhere
    overlap: int | None  # requested rim, in input pixels; None = what the network needs
    streams: int = 1  # tiles that are computed at once, each by its share of the threads
    is_measured: bool = False  # True if the receptive field is how far changes are visible, which is less than exact

    @property
    def smallest_good(self) -> int:
        """Least side of a tile whose result is that of a large one: smaller sides are used only if no larger one fits.

        A tile holds the area to pool over, and more. Attention over a whole tile was trained on larger ones.
        """
        return round_up(self.context + self.least_rim, self.grid) if self.context and self.least_rim else _SMALLEST_GOOD

    @property
    def least_rim(self) -> int:
        """Width in which pooling over less than `context` shows: measured, a third of it; 0 for exact tiles."""
        is_exact = self.receptive_field is not None and self.receptive_field <= _SMALLEST_GOOD // 4
        return 0 if self.context is None or is_exact else self.context // 3


def can_be_smaller(plan: Plan, demand: Demand) -> bool:
    """True if `smaller` has a tiling below that of this plan."""
    return _half(plan, demand) >= SMALLEST


def smaller(failed: Plan, demand: Demand) -> Tiling:
    """Return the next tiling to try, with half the side. Raises OutOfMemory if the failed tile was the smallest."""
    if not can_be_smaller(failed, demand):
        height, width = failed.sides
        elsewhere = "" if demand.device in ("cpu", "openvino") else "use --device cpu, "
        raise OutOfMemory(
            f"out of memory, even with a tile of {width}x{height} px",
            hint=f"close other programs, {elsewhere}or use a smaller model",
        )
    side = _half(failed, demand)
    try:
        return with_rim(side, demand)
    except BadOption:  # the requested overlap leaves nothing of so small a tile
        return with_rim(side, replace(demand, overlap=None))


def choose_tiling(height: int, width: int, footprint: Footprint, demand: Demand, fit: float) -> Tiling:
    """Return the tiling that upscales an image in the least time with tiles of at most `fit` pixels."""
    whole = uncut(height, width, demand.multiple or demand.grid)
    fit = min(fit, MOST_PIXELS)
    sides = sorted({round_up(side, demand.grid) for side in _SIDES if side < whole.size})
    best, best_cost = None, float("inf")
    for tiling in (*_with_rims(sides, demand), whole):
        cut = plan(height, width, tiling)
        if cut.area > fit and best is not None:
            break
        cost = _rounds(cut.count, demand) * _cost(cut.area, footprint, demand)
        if cost < best_cost or max(cut.sides) <= demand.smallest_good:
            best, best_cost = tiling, cost
    return best or whole


def uncut(height: int, width: int, multiple: int) -> Tiling:
    """Return one tile for the whole image."""
    return Tiling(size=round_up(max(height, width), multiple), grid=multiple)


def with_rim(side: int, demand: Demand) -> Tiling:
    """Return tiles of `side` pixels with the requested rim, or the one the network needs.

    A rim as wide as the receptive field makes tiles exact, or as good as that if it was measured. If that is too much,
    neighbouring tiles are blended. Raises BadOption if the rim leaves nothing of a tile.
    """
    field, halo = demand.receptive_field, demand.overlap
    if halo is None:
        is_small = demand.context is not None and side < 3 * demand.context  # larger tiles have few pixels near cuts
        usual = max(16, min(32, side // 16), demand.least_rim if is_small else 0)
        halo = min(usual, side // 4, (side - demand.grid) // 2)
        if field is not None and field <= (side // 4 if demand.is_measured else max(halo, side // 8)):
            halo = field
    exact = field is not None and field <= halo
    least = min(side, demand.smallest_good) if demand.least_rim else 0
    fade = 0 if exact else halo // 2
    return Tiling(size=side, halo=halo, fade=fade, grid=demand.grid, multiple=demand.multiple, least=least)


def _with_rims(sides: list[int], demand: Demand) -> Iterator[Tiling]:
    for side in sides:
        with suppress(BadOption):  # too small for the requested overlap
            yield with_rim(side, demand)


def _rounds(count: int, demand: Demand) -> float:
    """Return the number of tiles whose time all tiles take. A single one is computed by all threads, less well."""
    return 1 / 0.9 if count == 1 < demand.streams else round_up(count, demand.streams)


def _half(plan: Plan, demand: Demand) -> int:
    return max(plan.sides) // 2 // demand.grid * demand.grid


def _cost(pixels: int, footprint: Footprint, demand: Demand) -> float:
    """Time of one tile, in units of the time per pixel of a good tile."""
    work = pixels * footprint.growth(pixels)
    if demand.device == "openvino":  # measured: its time per pixel hardly depends on the tile
        return (work + _CPU_CALL) / (1.0 if work * footprint.flops_per_pixel <= _COMPILED else 0.9)
    if demand.device != "cpu":
        return work + _GPU_CALL
    # Measured: without the cache, fp32 falls to 0.6 of the roofline and 16 bits, with half the traffic, to 0.83.
    cached = pixels <= _CPU_CACHE * (2 if demand.half else 1)
    return (work + _CPU_CALL) / (1.0 if cached else 0.83 if demand.half else 0.6)
