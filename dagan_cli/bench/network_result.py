"""Result of measuring a network in each runtime: values, ratios, JSON and text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from dagan_cli.bench.busy import Busy
from dagan_cli.bench.history import Last

MOST_OVER_BARE = 1.05  # goal: time of the engine / time of the bare network
LEAST_OF_ROOF = 0.7  # goal: speed of the engine / speed of the faster convolution


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBench:
    """One runtime. Seconds are the best of several interleaved rounds for one frame; flops count 2 per product."""

    runtime: str  # torch or openvino
    device: str  # device and precision, and why they were chosen
    precision: str
    width: int  # frame size, in input pixels
    height: int
    scale: int
    roof_64: float | None  # FLOP/s of a 3x3 convolution of 64 channels in PyTorch; None: PyTorch has no such device
    roof_32: float | None  # FLOP/s of the same convolution with 32 channels
    flops: float  # FLOPs of the bare network for the frame
    peak_bytes: int  # peak size of the bare network's tensors for the frame in PyTorch
    bare_seconds: float  # the network on the whole frame, without the engine
    whole_seconds: float  # the engine with tile = "off"
    tiled_seconds: float  # the engine with the requested tiles
    compile_seconds: float | None  # until the network was compiled for the whole frame; None: nothing is compiled
    load_seconds: float | None  # the same from the cache of compiled networks
    tile_width: int  # tile size, in input pixels
    tile_height: int
    tiles: int
    halo_cost: float  # area of all tiles / area of the frame

    @property
    def flops_per_second(self) -> float:
        """FLOP/s of the engine, counting only the arithmetic that the frame needs."""
        return self.flops / self.tiled_seconds

    @property
    def share_of_roof(self) -> float | None:
        """Speed of the engine / speed of the faster convolution; arithmetic in the halo counts as loss."""
        return self._of_roof(self.flops_per_second)

    @property
    def tile_share_of_roof(self) -> float | None:
        """Speed on the tiles / speed of the faster convolution; arithmetic in the halo counts as work."""
        return self._of_roof(self.flops_per_second * self.halo_cost)

    @property
    def bare_share_of_roof(self) -> float | None:
        """Speed of the bare network / speed of the faster convolution."""
        return self._of_roof(self.flops / self.bare_seconds)

    @property
    def engine_cost(self) -> float:
        """Time of the engine without tiles / time of the bare network: 1 = the engine costs nothing."""
        return self.whole_seconds / self.bare_seconds

    @property
    def over_bare(self) -> float:
        """Time of the engine with tiles / time of the bare network."""
        return self.tiled_seconds / self.bare_seconds

    @property
    def tiling_gain(self) -> float:
        """Time of the bare network / time of the engine with tiles: above 1, tiles are faster despite their halos."""
        return self.bare_seconds / self.tiled_seconds

    @property
    def megapixels_per_second(self) -> float:
        """Output megapixels per second of the engine."""
        return self.width * self.height * self.scale**2 / self.tiled_seconds / 1e6

    @property
    def microseconds_per_pixel(self) -> float:
        """Time of the engine per input pixel."""
        return 1e6 * self.tiled_seconds / (self.width * self.height)

    def to_dict(self) -> dict[str, Any]:
        """Return all values and ratios as a JSON object."""
        ratios = [name for name, value in vars(type(self)).items() if isinstance(value, property)]
        return asdict(self) | {name: getattr(self, name) for name in ratios}

    def _of_roof(self, speed: float) -> float | None:
        roofs = [roof for roof in (self.roof_64, self.roof_32) if roof is not None]
        return speed / max(roofs) if roofs else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBench:
    """One network on one frame, in each runtime that the device has."""

    model: str
    order: int | None
    engines: tuple[EngineBench, ...]  # the first is the chosen one
    left_out: tuple[str, ...]  # why others were not measured
    busy: Busy
    last: Last | None  # result of measuring the same before; None on a busy machine

    @property
    def chosen(self) -> EngineBench:
        """The runtime that was asked for, or that auto takes."""
        return self.engines[0]

    @property
    def fastest(self) -> EngineBench | None:
        """The fastest runtime; None on a busy machine."""
        return None if self.busy.is_busy else min(self.engines, key=lambda one: one.tiled_seconds)

    @property
    def speed_up(self) -> float | None:
        """Speed of the chosen runtime / its speed the last time."""
        return None if self.last is None else 1 / self.chosen.tiled_seconds / self.last.rate

    def to_dict(self) -> dict[str, Any]:
        """Return the chosen runtime's values, those of all runtimes as a list, and the conclusions."""
        fastest, last = self.fastest, self.last
        return {
            **self.chosen.to_dict(),
            "model": self.model,
            "order": self.order,
            "runtimes": [one.to_dict() for one in self.engines],
            "fastest": None if fastest is None else fastest.runtime,
            **self.busy.to_dict(),
            "last": None if last is None else asdict(last) | {"times_as_fast": self.speed_up},
        }


def report(
    found: NetworkBench, table: Callable[[list[str], list[list[str]]], str], wrap: Callable[[str], str] = str
) -> str:
    """Return the result as text; `table` formats a header and rows of cells, `wrap` breaks a long line."""
    chosen = found.chosen
    dial = "" if found.order is None else f" order {found.order}"
    heads = ["runtime", "bare", "engine, whole", "engine, tiles", "us/pixel", "over bare", "of roof", "compile", "load"]
    rows = [
        [
            one.runtime,
            in_time(one.bare_seconds),
            in_time(one.whole_seconds),
            in_time(one.tiled_seconds),
            f"{one.microseconds_per_pixel:.3g}",
            f"{one.over_bare:.2f}",
            "" if one.share_of_roof is None else f"{one.share_of_roof:.2f}",
            "" if one.compile_seconds is None else in_time(one.compile_seconds),
            "" if one.load_seconds is None else in_time(one.load_seconds),
        ]
        for one in found.engines
    ]
    size = f"{chosen.width}x{chosen.height} px, x{chosen.scale}, {chosen.flops / 1e9:.2f} GFLOP"
    return "\n".join(
        (
            wrap(f"{found.model}{dial}, one frame of {size}"),
            *(wrap(f"{one.runtime}: {one.device}; {_tiles(one)}") for one in found.engines),
            *map(wrap, _roof(chosen)),
            "",
            table(heads, rows),
            "",
            *map(wrap, (*found.left_out, *_verdict(found))),
        )
    )


def _tiles(one: EngineBench) -> str:
    count = "one tile" if one.tiles == 1 else f"{one.tiles} tiles"
    return f"{count} of {one.tile_width}x{one.tile_height} px"


def _roof(one: EngineBench) -> list[str]:
    if one.roof_64 is None or one.roof_32 is None:
        return []
    speeds = f"{one.roof_64 / 1e9:.1f} GFLOP/s with 64 channels, {one.roof_32 / 1e9:.1f} with 32"
    return [f"roof: 3x3 convolutions of PyTorch in {one.precision}, {speeds}"]


def _verdict(found: NetworkBench) -> list[str]:
    """Return the conclusions, or why there are none."""
    if (fastest := found.fastest) is None:
        return found.busy.lines
    lines = [f"fastest here: {fastest.runtime}"]
    if others := [one for one in found.engines if one is not fastest]:
        gains = (f"{one.tiled_seconds / fastest.tiled_seconds:.2f} times as fast as {one.runtime}" for one in others)
        lines[0] += f", {' and '.join(gains)}"
    told = "reached" if fastest.over_bare <= MOST_OVER_BARE else "missed"
    lines.append(
        f"the engine takes {fastest.over_bare:.2f} of the bare network's time (goal: at most {MOST_OVER_BARE}, {told})"
    )
    if (share := fastest.share_of_roof) is not None:
        told = "reached" if share >= LEAST_OF_ROOF else "missed"
        lines.append(f"it reaches {share:.2f} of the roof (goal: at least {LEAST_OF_ROOF}, {told})")
    if found.last is not None:
        lines.append(found.last.compared(1 / found.chosen.tiled_seconds))
    return [*lines, *found.busy.lines]


def in_time(seconds: float) -> str:
    """Format a measured time: 4.12 ms, 253 ms, 12.4 s."""
    value, unit = (1000 * seconds, "ms") if seconds < 1 else (seconds, "s")
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
