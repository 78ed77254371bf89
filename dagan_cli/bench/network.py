"""Measure network and engine in each runtime, relative to single convolutions measured in the same minutes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.bench.busy import Watch
from dagan_cli.bench.history import compare
from dagan_cli.bench.network_result import EngineBench, NetworkBench
from dagan_cli.engine import memory
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.measuring.meter import Meter, metered
from dagan_cli.engine.options import EngineOptions, Network
from dagan_cli.engine.runtimes import library
from dagan_cli.engine.runtimes.compiled import CannotRun, Compiled
from dagan_cli.engine.tiles import round_up
from dagan_cli.errors import BadOption, OutOfMemory

_PASS = 3.0  # seconds of a round, if one pass over all runs is shorter
_PASSES = 5


def bench(
    network: Network,
    options: EngineOptions | None = None,
    *,
    model: str = "",
    sha256: str | None = None,
    width: int = 960,
    height: int = 540,
    rounds: int = 3,
) -> NetworkBench:
    """Time `network` on one frame of width x height pixels: bare, in the engine without tiles, and with `options`.

    With the runtime `auto` it is timed in each runtime that the device has. `model` and `sha256` name it in the results
    that are kept for the next run. Raises OutOfMemory if the whole frame does not fit, BadOption if OpenVINO was asked
    for and cannot run the network, and the errors of Engine.
    """
    watch = Watch()
    options = options or EngineOptions()
    frame = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    subjects, left_out = _subjects(network, options, frame)
    meter = subjects[-1].metered(frame)
    roofs = {one.dtype: _roofs(one) for one in subjects if one.has_roof}
    runs: dict[tuple, Callable[[], object]] = {
        (*name, dtype): run for dtype, both in roofs.items() for name, (run, _) in both.items()
    }
    for one in subjects:
        runs |= {
            ("bare", one.runtime): one.bare,
            ("whole", one.runtime): lambda one=one: one.whole(frame),
            ("tiled", one.runtime): lambda one=one: one.tiled(frame),
        }
    seconds = _best_seconds(runs, rounds, subjects[0].whole.choice.device)
    engines = []
    for one in subjects:
        plan = one.tiled.plan(height, width)
        speeds = {name: flops / seconds[*name, one.dtype] for name, (_, flops) in roofs.get(one.dtype, {}).items()}
        engines.append(
            EngineBench(
                runtime=one.runtime,
                device=one.tiled.choice.why,
                precision=str(one.dtype).removeprefix("torch."),
                width=width,
                height=height,
                scale=one.tiled.scale,
                roof_64=speeds.get(("roof", 64)),
                roof_32=speeds.get(("roof", 32)),
                flops=meter.flops,
                peak_bytes=meter.peak,
                bare_seconds=seconds["bare", one.runtime],
                whole_seconds=seconds["whole", one.runtime],
                tiled_seconds=seconds["tiled", one.runtime],
                compile_seconds=one.compile_seconds,
                load_seconds=one.load_seconds(),
                tile_width=plan.sides[1],
                tile_height=plan.sides[0],
                tiles=plan.count,
                halo_cost=plan.overhead,
            )
        )
    busy = watch.result()
    order = getattr(network, "order", None)
    last = [
        compare(
            1 / one.tiled_seconds,
            {
                "model": sha256 or model,
                "order": order,
                "window": getattr(network, "window", None),
                "size": f"{width}x{height}",
                "tile": options.tile,
                "device": one.device,
                "runtime": one.runtime,
                "threads": torch.get_num_threads(),
            },
            keep=not busy.is_busy,
        )
        for one in engines
    ]
    return NetworkBench(
        model=model,
        order=order,
        engines=tuple(engines),
        left_out=left_out,
        busy=busy,
        last=None if busy.is_busy else last[0],
    )


@dataclass(slots=True)
class _Subject:
    """A network in one runtime, ready to run on one frame."""

    runtime: str
    whole: Engine
    tiled: Engine
    bare: Callable[[], object]
    compile_seconds: float | None = None
    again: Callable[[], Compiled] | None = None  # runs it from the cache of compiled networks

    @property
    def dtype(self) -> torch.dtype:
        return self.whole.choice.dtype

    @property
    def has_roof(self) -> bool:
        """True if PyTorch runs on the same device."""
        return self.whole.choice.openvino in (None, "CPU")

    def metered(self, frame: Tensor) -> Meter:
        """Count the arithmetic of the frame in PyTorch. Raises OutOfMemory."""
        choice = self.whole.choice
        dtype = choice.dtype if choice.openvino is None else torch.float32
        x = frame.to(choice.device, dtype, memory_format=torch.channels_last)
        meter = memory.attempt(lambda: metered(self.whole.network(dtype), x))  # also warms up
        if meter is None:
            size = f"{frame.shape[-1]}x{frame.shape[-2]}"
            raise OutOfMemory(
                f"a frame of {size} px does not fit into memory without tiles", hint="use a smaller --size"
            )
        return meter

    def load_seconds(self) -> float | None:
        """Return the seconds until the network was loaded from the cache, where the engine has put it."""
        return None if self.again is None else self.again().compiling


def _subjects(network: Network, options: EngineOptions, frame: Tensor) -> tuple[list[_Subject], tuple[str, ...]]:
    """Return the network in the chosen runtime, then in others, and why others are left out."""
    choice = Engine(network, options).choice
    names = [choice.runtime]
    if options.runtime == "auto" and choice.device.type == "cpu" and choice.openvino in (None, "CPU"):
        if choice.runtime == "openvino":
            names.append("torch")
        elif library.is_installed() and getattr(network, "compiles", False):
            names.append("openvino")
    found, left_out = [], []
    for name in names:
        try:
            found.append(_subject(network, replace(options, runtime=name), frame))
        except CannotRun as error:
            left_out.append(f"openvino is left out: {error}")
    if not found:
        raise BadOption(f"OpenVINO does not run the model: {left_out[0]}", hint="use --runtime torch")
    return found, tuple(left_out)


def _subject(network: Network, options: EngineOptions, frame: Tensor) -> _Subject:
    """Prepare the network in the runtime of `options`. Raises CannotRun."""
    tiled, whole = Engine(network, options), Engine(network, replace(options, tile="off", overlap=None))
    choice = whole.choice
    if choice.openvino is None:
        if options.runtime == "openvino":
            raise CannotRun(choice.why)
        inside = whole.network(choice.dtype)
        x = frame.to(choice.device, choice.dtype, memory_format=torch.channels_last)
        return _Subject("torch", whole, tiled, lambda: inside(x))
    place, multiple = choice.openvino, math.lcm(getattr(network, "multiple", 1), getattr(network, "grid", 1))
    height, width = frame.shape[-2:]
    rim = (0, round_up(width, multiple) - width, 0, round_up(height, multiple) - height)
    padded = F.pad(frame, rim, "replicate")
    inside = whole.network(torch.float32)
    bare = Compiled(inside, place, choice.dtype, [], keep=False)
    with torch.inference_mode():
        bare.run(padded)

    def again() -> Compiled:
        loaded = Compiled(inside, place, choice.dtype, [])
        with torch.inference_mode():
            loaded.run(padded)
        return loaded

    return _Subject("openvino", whole, tiled, lambda: bare.run(padded), bare.compiling, again)


def _roofs(one: _Subject) -> dict[tuple[str, int], tuple[Callable[[], Tensor], int]]:
    """Return the convolutions that a network of this device and precision is compared with, and their FLOPs."""
    return {("roof", channels): convolution(channels, one.whole.choice.device, one.dtype) for channels in (64, 32)}


def convolution(channels: int, device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """Return a 3x3 convolution that keeps the device busy and, on a CPU, fits its cache; and its FLOPs."""
    side = 128 if device.type == "cpu" else 1024
    x = torch.ones(1, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, padding=1), 2 * 9 * channels**2 * side**2


def _best_seconds(runs: dict[tuple, Callable[[], object]], rounds: int, device: torch.device) -> dict[tuple, float]:
    """Return the shortest time of each run, measured in interleaved rounds, so that load affects all runs."""
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        _pass(runs, {}, device)  # warms up
        began = perf_counter()
        _pass(runs, best, device)
        passes = max(1, min(_PASSES, int(_PASS / (perf_counter() - began)))) * rounds
        for _ in range(passes - 1):
            _pass(runs, best, device)
    return best


def _pass(runs: dict[tuple, Callable[[], object]], best: dict[tuple, float], device: torch.device) -> None:
    for name, run in runs.items():
        # A convolution is repeated, because a single one would mostly measure the clock and a cold cache.
        for _ in range(10 if name[0] == "roof" else 1):
            start = perf_counter()
            run()
            wait_for(device)
            best[name] = min(best.get(name, float("inf")), perf_counter() - start)


def wait_for(device: torch.device) -> None:
    """Wait until a device that computes asynchronously has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
