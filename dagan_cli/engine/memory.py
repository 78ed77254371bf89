"""What fits: free memory, what a network takes per pixel, the tile that follows, and a second try when it was too much.

The only place where an out-of-memory error is caught.
"""

from __future__ import annotations

import gc
import math
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from dagan_cli.engine.tiles import Plan, Tiling, plan, round_up
from dagan_cli.errors import BadOption, CannotWrite, OutOfMemory

T = TypeVar("T")

SMALLEST = 16  # side of the smallest tile worth running, in pixels
SHARE = 0.6  # of the free memory: kernels need room of their own, and others may want some
MOST_PIXELS = 2**21 - 1  # a x4 network of 64 channels stays below 2^31 elements, which GPU kernels index fastest
_SIDES = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1024, 1280)
_SMALLEST_GOOD = 64  # side of the smallest tile that is taken where a larger one fits, in pixels
_CPU_CACHE = 256 * 256  # pixels of a tile in fp32 whose features stay near the cores
_CPU_CALL = 1000  # a call costs a CPU as much as this many pixels ...
_GPU_CALL = 30_000  # ... and a GPU as this many


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a network takes for a tile of n pixels: n * bytes_per_pixel, and n * (flops_per_pixel + n * flops_per_pair).

    The last term is that of attention over the whole tile.
    """

    bytes_per_pixel: float
    flops_per_pixel: float = 1.0
    flops_per_pair: float = 0.0

    def growth(self, pixels: int) -> float:
        """Arithmetic per pixel of such a tile / arithmetic per pixel of a small one."""
        return 1 + pixels * self.flops_per_pair / self.flops_per_pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What decides about the tiles, besides the size of the picture."""

    device: str  # "cpu", "cuda" or "mps"
    half: bool  # whether the network computes in 16 bits
    receptive_field: int | None  # how far one output pixel sees, in input pixels; None = everywhere
    grid: int  # tiles start at multiples of this
    overlap: int | None  # rim asked for, in input pixels; None = what the network needs


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return free_host_memory()


def free_host_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes this process can still have: what the machine has left, and what its control groups allow."""
    try:
        fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux: count on half of what is built in
        names = getattr(os, "sysconf_names", {})
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if "SC_PHYS_PAGES" in names else 4 << 30
    try:
        groups = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:
        return free
    for _, controllers, path in groups:
        if controllers == "":
            root, limit, usage, cache = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            root, (limit, usage, cache) = cgroups / "memory", names
        else:
            continue
        # Every ancestor may set a limit; inside a container the path is often that of the host and does not exist.
        here = root / path.lstrip("/")
        for group in (here, *here.parents[: len(here.parts) - len(root.parts)]):
            free = min(free, _left_in(group, limit, usage, cache))
    return max(0, free)


def attempt(step: Callable[[], T]) -> T | None:
    """`step()`, or None where memory ran out, with what it had taken given back."""
    try:
        return step()
    except (MemoryError, torch.OutOfMemoryError):
        pass
    except RuntimeError as error:
        if not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
    # Outside of `except`: there the error still holds the frames that hold the tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return None


_OUT_OF_MEMORY = (
    "not enough memory",
    "DefaultCPUAllocator",
    "out of memory",
    "could not create a memory",  # oneDNN
    "STATUS_ALLOC_FAILED",  # cuDNN, cuBLAS
)


def can_be_smaller(plan: Plan, demand: Demand) -> bool:
    """Whether `smaller` has a tiling below that of this plan."""
    return _half(plan, demand) >= SMALLEST


def smaller(failed: Plan, demand: Demand) -> Tiling:
    """The next tiling to try: half the side. Raises OutOfMemory where the tile that failed was the smallest."""
    if not can_be_smaller(failed, demand):
        height, width = failed.sides
        elsewhere = "" if demand.device == "cpu" else "use --device cpu, "
        raise OutOfMemory(
            f"out of memory, even with a tile of {width}x{height} px",
            hint=f"close other programs, {elsewhere}or use a smaller model",
        )
    side = _half(failed, demand)
    try:
        return with_rim(side, demand)
    except BadOption:  # the overlap that was asked for leaves nothing of so small a tile
        return with_rim(side, replace(demand, overlap=None))


def measure(
    network: Callable[[Tensor], Tensor] | None, device: torch.device, dtype: torch.dtype, grid: int
) -> Footprint:
    """Run `network` on two small tiles and see what they take; endlessly much where not even these (or it) fit."""
    side = round_up(SMALLEST, grid)
    seen = []
    for tile in (side, 2 * side):
        meter = network and attempt(lambda tile=tile: metered(network, _sample(tile, device, dtype)))
        if meter is None:
            return Footprint(float("inf"))
        seen.append((tile * tile, meter.peak, meter.flops))
    (small, _, few), (large, peak, many) = seen
    pair = max(0.0, (many / large - few / small) / (large - small))
    return Footprint(peak / large, max(1.0, few / small - small * pair), pair)


def choose_tiling(height: int, width: int, footprint: Footprint, demand: Demand, fit: float) -> Tiling:
    """The tiling that upscales a picture in the least time with tiles of at most `fit` pixels."""
    whole = uncut(height, width, demand)
    fit = min(fit, MOST_PIXELS)
    sides = sorted({round_up(side, demand.grid) for side in _SIDES if side < whole.size})
    best, best_cost = None, float("inf")
    for tiling in (*_with_rims(sides, demand), whole):
        cut = plan(height, width, tiling)
        if cut.area > fit and best is not None:
            break
        cost = cut.count * _cost(cut.area, footprint, demand)
        # Attention over a whole tile is cheapest in tiny ones, but was not trained to see so little.
        if cost < best_cost or max(cut.sides) <= _SMALLEST_GOOD:
            best, best_cost = tiling, cost
    return best or whole


def uncut(height: int, width: int, demand: Demand) -> Tiling:
    """One tile for the whole picture."""
    return Tiling(size=round_up(max(height, width), demand.grid), grid=demand.grid)


def with_rim(side: int, demand: Demand) -> Tiling:
    """Tiles of `side` pixels with the rim the network needs, or the one asked for.

    A rim as wide as the receptive field makes tiles exact. Where that is too much, neighbouring tiles are mixed.
    Raises BadOption where the rim leaves nothing of a tile.
    """
    field, halo = demand.receptive_field, demand.overlap
    if halo is None:
        halo = min(max(16, side // 16), 32, side // 4, (side - demand.grid) // 2)
        if field is not None and field <= max(halo, side // 8):
            halo = field
    exact = field is not None and field <= halo
    return Tiling(size=side, halo=halo, fade=0 if exact else halo // 2, grid=demand.grid)


def mapped_zeros(shape: tuple[int, ...], dtype: torch.dtype, folder: Path | None) -> Tensor:
    """Zeros in a file without a name, freed with the tensor. Raises CannotWrite where there is no room."""
    size = math.prod(shape) * dtype.itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk must show here: a write to a mapping has no error to give
                os.posix_fallocate(file.fileno(), 0, size)
            bytes_ = np.memmap(file, np.uint8, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=(size,))
    except OSError as error:
        place = folder or tempfile.gettempdir()
        raise CannotWrite(
            f"no room for a picture of {size / 2**30:.1f} GiB in {place}", hint="free some space, or use another folder"
        ) from error
    return torch.from_numpy(bytes_).view(dtype).reshape(shape)


class Meter(TorchDispatchMode):
    """Counts the bytes of all tensors alive at once (`peak`) and the floating-point operations (`flops`) within it."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.flops = 0
        self._live = 0
        self._seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif "scaled_dot_product" in str(packet) and "backward" not in str(packet):  # the CPU's is not registered
            self.flops += sdpa_flop_count(*(x.shape for x in args[:3]))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._add(x.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._live += size
        self.peak = max(self.peak, self._live)
        self._seen[key] = weakref.ref(storage, lambda _: self._drop(key, size))

    def _drop(self, key: int, size: int) -> None:
        self._live -= size
        del self._seen[key]


def metered(network: Callable[[Tensor], Tensor], x: Tensor) -> Meter:
    """Run `network` on (N, 3, h, w) and count."""
    # Not inference_mode: that would hand convolutions to the meter before they are told apart from their parts.
    with torch.no_grad(), Meter() as meter:
        network(x)
    return meter


def _sample(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))  # leaves the global one alone
    return picture.to(device, dtype, memory_format=torch.channels_last)


def _with_rims(sides: list[int], demand: Demand) -> Iterator[Tiling]:
    for side in sides:
        with suppress(BadOption):  # too small for the overlap that was asked for
            yield with_rim(side, demand)


def _half(plan: Plan, demand: Demand) -> int:
    return max(plan.sides) // 2 // demand.grid * demand.grid


def _cost(pixels: int, footprint: Footprint, demand: Demand) -> float:
    """Time for one tile, in units of the time a good tile takes for a pixel."""
    work = pixels * footprint.growth(pixels)
    if demand.device != "cpu":
        return work + _GPU_CALL
    # Measured: without the cache, fp32 falls to 0.6 of the roof and 16 bits, half the traffic, to 0.83.
    cached = pixels <= _CPU_CACHE * (2 if demand.half else 1)
    return (work + _CPU_CALL) / (1.0 if cached else 0.83 if demand.half else 0.6)


def _left_in(group: Path, limit: str, usage: str, cache: str) -> int:
    """Bytes a control group still allows: its limit - its use + the file cache the kernel would drop for it."""
    try:
        most = int((group / limit).read_text())  # "max" is no number: unlimited
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines() if line)
        return max(0, most - used + int(stat.get(cache, 0)))
    except (OSError, ValueError):
        return 1 << 62
