"""Measure network and engine, relative to the speed of single convolutions measured in the same minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.engine import memory
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.measuring.meter import metered
from dagan_cli.engine.options import EngineOptions, Network
from dagan_cli.errors import OutOfMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBench:
    """One measurement. Seconds are the best of several interleaved rounds for one frame; flops count 2 per product."""

    device: str  # device and precision, and why they were chosen
    precision: str
    width: int  # frame size, in input pixels
    height: int
    scale: int
    roof_64: float  # FLOP/s of a 3x3 convolution of 64 channels, channels_last, in this precision
    roof_32: float  # FLOP/s of the same convolution with 32 channels
    flops: float  # FLOPs of the bare network for the frame
    peak_bytes: int  # peak size of the bare network's tensors for the frame
    bare_seconds: float  # the network on the whole frame, without the engine
    whole_seconds: float  # the engine with tile = "off"
    tiled_seconds: float  # the engine with the requested tiles
    tile_width: int  # tile size, in input pixels
    tile_height: int
    tiles: int
    halo_cost: float  # area of all tiles / area of the frame

    @property
    def flops_per_second(self) -> float:
        """FLOP/s of the engine, counting only the arithmetic that the frame needs."""
        return self.flops / self.tiled_seconds

    @property
    def share_of_roof(self) -> float:
        """Speed of the engine / speed of the faster convolution; arithmetic in the halo counts as loss."""
        return self.flops_per_second / max(self.roof_64, self.roof_32)

    @property
    def tile_share_of_roof(self) -> float:
        """Speed on the tiles / speed of the faster convolution; arithmetic in the halo counts as work."""
        return self.share_of_roof * self.halo_cost

    @property
    def bare_share_of_roof(self) -> float:
        """Speed of the bare network / speed of the faster convolution."""
        return self.flops / self.bare_seconds / max(self.roof_64, self.roof_32)

    @property
    def engine_cost(self) -> float:
        """Time of the engine without tiles / time of the bare network: 1 = the engine costs nothing."""
        return self.whole_seconds / self.bare_seconds

    @property
    def tiling_gain(self) -> float:
        """Time of the bare network / time of the engine with tiles: above 1, tiles are faster despite their halos."""
        return self.bare_seconds / self.tiled_seconds

    @property
    def megapixels_per_second(self) -> float:
        """Output megapixels per second of the engine."""
        return self.width * self.height * self.scale**2 / self.tiled_seconds / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return all values and ratios as a JSON object."""
        ratios = [name for name, value in vars(type(self)).items() if isinstance(value, property)]
        return asdict(self) | {name: getattr(self, name) for name in ratios}


def bench(
    network: Network, options: EngineOptions | None = None, *, width: int = 960, height: int = 540, rounds: int = 3
) -> EngineBench:
    """Time `network` on one frame of width x height pixels: bare, in the engine without tiles, and with `options`.

    Raises OutOfMemory if the whole frame does not fit, and the errors of Engine.
    """
    options = options or EngineOptions()
    tiled, whole = Engine(network, options), Engine(network, replace(options, tile="off", overlap=None))
    choice = tiled.choice
    frame = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    bare = whole.network(choice.dtype)
    x = frame.to(choice.device, choice.dtype, memory_format=torch.channels_last)
    meter = memory.attempt(lambda: metered(bare, x))  # also warms up
    if meter is None:
        raise OutOfMemory(
            f"a frame of {width}x{height} px does not fit into memory without tiles", hint="use a smaller --size"
        )
    roof_64, flops_64 = _convolution(64, choice.device, choice.dtype)
    roof_32, flops_32 = _convolution(32, choice.device, choice.dtype)
    runs: dict[str, Callable[[], object]] = {
        "roof_64": roof_64,
        "roof_32": roof_32,
        "bare": lambda: bare(x),
        "whole": lambda: whole(frame),
        "tiled": lambda: tiled(frame),
    }
    seconds = _best_seconds(runs, rounds, choice.device)
    plan = tiled.plan(height, width)
    return EngineBench(
        device=choice.why,
        precision=str(choice.dtype).removeprefix("torch."),
        width=width,
        height=height,
        scale=tiled.scale,
        roof_64=flops_64 / seconds["roof_64"],
        roof_32=flops_32 / seconds["roof_32"],
        flops=meter.flops,
        peak_bytes=meter.peak,
        bare_seconds=seconds["bare"],
        whole_seconds=seconds["whole"],
        tiled_seconds=seconds["tiled"],
        tile_width=plan.sides[1],
        tile_height=plan.sides[0],
        tiles=plan.count,
        halo_cost=plan.overhead,
    )


def _convolution(channels: int, device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """Return a 3x3 convolution that keeps the device busy and, on a CPU, fits its cache; and its FLOPs."""
    side = 128 if device.type == "cpu" else 1024
    x = torch.ones(1, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, padding=1), 2 * 9 * channels**2 * side**2


def _best_seconds(runs: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Return the shortest time of each run, measured in interleaved rounds, so that load affects all runs."""
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, run in runs.items():
                # Short runs are repeated, because a single one would mostly measure the clock and a cold cache.
                for _ in range(10 if name.startswith("roof") else 1):
                    start = perf_counter()
                    run()
                    _wait_for(device)
                    if turn:  # the first turn warms up
                        best[name] = min(best[name], perf_counter() - start)
    return best


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
