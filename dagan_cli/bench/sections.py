"""Sections of `make gpu`: each yields its values as soon as it has them.

Every section runs on any device of PyTorch and at any size, so that the same code is tested on a CPU.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import log10
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.bench.network import convolution, wait_for
from dagan_cli.engine.measuring.meter import metered
from dagan_cli.engine.options import EngineOptions, Network
from dagan_cli.errors import DaganError
from dagan_cli.files import whole_or_absent
from dagan_cli.upscaler import ModelChoice, load_network
from weights.catalog import CATALOG

Values = Iterator[tuple[str, Any]]  # a name, and a number, a text, or several of them by name
ROOT = Path(__file__).parents[2]
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A device, and how much is measured on it."""

    device: torch.device
    models: tuple[str, ...] = tuple(model.name for model in CATALOG)  # whose half precision is compared
    tile: int = 256  # side of the tiles that are compared, in pixels
    matrix: int = 8192  # side of the matrices
    copied: int = 1 << 30  # bytes
    sizes: tuple[tuple[int, int], ...] = ((960, 540), (1280, 720), (1920, 1080))
    timed: tuple[str, ...] = ("dagan-x2", "dagan-x4")
    backend: str = "inductor"  # of torch.compile
    seconds: float = 1.0  # for each time that is measured
    pictures: int = 64
    side: int = 512  # of a picture, in pixels
    clip: tuple[int, int] = (960, 540)
    frames: int = 240

    @property
    def dtype(self) -> torch.dtype:
        """The precision that networks are timed in."""
        return torch.float16 if self.device.type == "cuda" else torch.float32


def small(device: torch.device) -> Scope:
    """Return a scope that takes seconds on a CPU: it tries the code, and its numbers mean nothing."""
    return Scope(
        device=device,
        models=("dagan-x2",),
        tile=32,
        matrix=64,
        copied=1 << 16,
        sizes=((48, 32),),
        timed=("dagan-x2",),
        backend="eager",
        seconds=0.02,
        pictures=3,
        side=24,
        clip=(48, 32),
        frames=12,
    )


def correctness(scope: Scope) -> Values:
    """Compare each model in half precision with fp32, and fp32 on the device with the CPU, on tiles of [0, 1]."""
    x = _picture(4, scope.tile, scope.tile)
    for name in scope.models:
        network = load_network(ModelChoice(name)).network
        network.eval()
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            on_cpu = network(x[:1])
            network.to(scope.device)
            exact = network(x.to(scope.device)).cpu()
            yield f"{name} fp32", _compared(exact[:1], on_cpu)
            for precision, dtype in HALVES.items():
                cast = {"device": scope.device, "dtype": dtype, "memory_format": torch.channels_last}
                half = deepcopy(network).to(**cast)(x.to(**cast)).float().cpu()
                yield f"{name} {precision}", _compared(half, exact)


def ceiling(scope: Scope) -> Values:
    """Measure the fastest matrix products, convolutions and copies."""
    side = scope.matrix
    for precision, dtype in {**HALVES, "fp32": torch.float32}.items():
        a, b = (torch.ones(side, side, device=scope.device, dtype=dtype) for _ in range(2))
        seconds = _best(lambda a=a, b=b: a @ b, scope)
        yield f"matrix product {precision}", {"TFLOP/s": 2 * side**3 / seconds / 1e12}
    run, flops = convolution(64, scope.device, scope.dtype)
    yield "convolution 64", {"TFLOP/s": flops / _best(run, scope) / 1e12}
    a, b = (torch.ones(scope.copied, device=scope.device, dtype=torch.uint8) for _ in range(2))
    yield "copy", {"GB/s": 2 * scope.copied / _best(lambda: b.copy_(a), scope) / 1e9}  # read and written


def frames(scope: Scope) -> Values:
    """Time bare networks on whole frames: as they are, captured as a CUDA graph, and compiled."""
    a = torch.ones(scope.matrix, scope.matrix, device=scope.device, dtype=scope.dtype)
    most = 2 * scope.matrix**3 / _best(lambda: a @ a, scope)  # FLOP/s
    ways = {"eager": _eager, "captured": _captured, "compiled": _compiled}
    for way, prepare in ways.items():
        for name in scope.timed:
            network = load_network(ModelChoice(name)).network
            network.eval()
            flops = metered(network, _picture(1, 64, 64)).flops / 64**2  # per pixel
            network.to(scope.device, scope.dtype, memory_format=torch.channels_last)
            for width, height in scope.sizes:
                what = f"{name} {width}x{height} {way}"
                x = _picture(1, height, width).to(scope.device, scope.dtype, memory_format=torch.channels_last)
                try:
                    with torch.inference_mode():
                        started = perf_counter()
                        run = prepare(network, x, scope)
                        wait_for(scope.device)
                        ready = perf_counter() - started
                        far = float((run().float() - network(x).float()).abs().max())
                        seconds = _best(run, scope)
                except Exception as error:  # compilers fail in many ways
                    yield what, {"skipped": _in_a_line(error)}
                    if way != "eager":
                        break  # it would fail, and take its time, for each size
                    continue
                share = flops * width * height / seconds / most
                values = {"frames/s": 1 / seconds, "ms": 1000 * seconds, "of the matrix product": share}
                yield what, values | ({} if way == "eager" else {"ready in s": ready, "largest difference": far})


def folder(scope: Scope) -> Values:
    """Upscale a folder of pictures from file to file, and the same pictures by the network alone."""
    import numpy as np
    from PIL import Image

    from dagan_cli.media.video.recipe import Encoding
    from dagan_cli.upscale.batch import run
    from dagan_cli.upscale.events import Item
    from dagan_cli.upscale.request import Goal, Request
    from dagan_cli.upscale.work import Engines

    with TemporaryDirectory(prefix="dagan-gpu-") as name:
        source = Path(name) / "in"
        for i, picture in enumerate(_picture(scope.pictures, scope.side, scope.side)):
            with whole_or_absent(source / f"{i}.png") as file:
                Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(file, "PNG")
        first = _picture(1, scope.side, scope.side)
        for model in (scope.timed[-1], "nearest"):
            request = Request(
                inputs=(str(source / "0.png"),),
                output=f"{name}/warm",
                goal=Goal.of(4, None),
                model=ModelChoice(model),
                engine=EngineOptions(device=str(scope.device)),
                encoding=Encoding(),
            )
            engines = Engines(request)
            run(request, engines, lambda _: None)
            items: list[Item] = []
            many = replace(request, inputs=(str(source),), output=f"{name}/{model}")
            started = perf_counter()
            run(many, engines, lambda event, items=items: items.append(event) if isinstance(event, Item) else None)
            rate = len(items) / (perf_counter() - started)
            if failed := [item for item in items if item.status != "done"]:
                raise DaganError(failed[0].reason, hint="")
            engine = engines.for_factor(4).engine
            alone = 1 / _best(lambda engine=engine: engine.upscale_to(first, 4.0), scope)
            yield model, {"pictures/s": rate, "network alone": alone, "of it": rate / alone}


def overlap(scope: Scope) -> Values:
    """Time decoding, network and encoding of a clip, apart and together; with NVENC if there is one."""
    from dagan_cli.bench.pipeline import bench
    from dagan_cli.bench.stages import make_clip
    from dagan_cli.media.video.recipe import Encoding
    from dagan_cli.upscale.request import Goal, Request

    with TemporaryDirectory(prefix="dagan-gpu-") as name:
        request = Request(
            inputs=(str(make_clip(Path(name), scope.clip, scope.frames)),),
            output=None,
            goal=Goal.of(2, None),
            model=ModelChoice("dagan-x2"),
            engine=EngineOptions(device=str(scope.device)),
            encoding=Encoding(),
        )
        for codec in ("h264_nvenc", "libx264"):
            if codec == "h264_nvenc" and scope.device.type != "cuda":
                yield codec, {"skipped": "it needs a CUDA device"}
                continue
            wanted = replace(request, encoding=Encoding(codec=codec))
            try:
                found = bench(wanted, shown=f"a clip of {scope.clip}", seconds=2 * scope.seconds, rounds=1)
            except DaganError as error:
                yield codec, {"skipped": str(error)}
                continue
            yield codec, {**found.stages, "together": found.rate, "of the slowest": found.overlap}
            for one in found.candidates:
                together = {} if one.rate is None else {"frames/s": one.rate}
                yield f"{codec}: {one.words}", {"network alone": one.alone, **together}
            break


def tests(scope: Scope) -> Values:
    """Run the tests that need a CUDA device."""
    if scope.device.type != "cuda":
        yield "skipped", "they need a CUDA device"
        return
    if not (ROOT / "tests").is_dir() or find_spec("pytest") is None:
        yield "skipped", "pytest is not installed" if find_spec("pytest") is None else "there is no folder tests"
        return
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-p", "no:xdist", "-o", "addopts="]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        yield from counted(process.stdout)
    yield "exit code", process.returncode


def counted(lines: Iterable[str]) -> Values:
    """Yield the numbers of passed, failed and skipped tests as pytest reports them, and the names of failed ones."""
    counts: dict[str, int] = {}
    last = ""
    for line in lines:
        last = line.strip() or last
        if found := re.match(r"(\S+::.+?) (PASSED|FAILED|SKIPPED|ERROR)\b", line):
            name, result = found.groups()
            counts[result.lower()] = counts.get(result.lower(), 0) + 1
            yield result.lower(), counts[result.lower()]
            if result in ("FAILED", "ERROR"):
                yield f"{result.lower()} {name}", True
    yield "last line", last


SECTIONS: dict[str, Callable[[Scope], Values]] = {
    each.__name__: each for each in (correctness, ceiling, frames, folder, overlap, tests)
}


def _picture(count: int, height: int, width: int) -> Tensor:
    """Return detail of several sizes, (count, 3, height, width) in [0, 1], always the same."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(count, 3, height, width)
    for size in (1, 4, 16):
        coarse = torch.rand(count, 3, -(-height // size), -(-width // size), generator=generator)
        total += F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return total / 3


def _compared(found: Tensor, exact: Tensor) -> dict[str, float | int]:
    """Return the errors of the tiles that are finite, and how many are not; no PSNR of identical ones."""
    finite = found.isfinite().flatten(1).all(1)
    error = (found[finite] - exact[finite]).abs().double()
    if not error.numel():
        return {"tiles not finite": len(found)}
    squared = float(error.square().mean())
    return {
        "largest error": float(error.max()),
        "mean error": float(error.mean()),
        **({"PSNR in dB": -10 * log10(squared)} if squared else {}),
        "tiles not finite": int((~finite).sum()),
    }


def _best(run: Callable[[], object], scope: Scope) -> float:
    """Return the shortest time of one run, in seconds; the first two warm up."""
    best, turn, began = float("inf"), 0, perf_counter()
    with torch.inference_mode():
        while turn < 5 or perf_counter() - began < scope.seconds:
            start = perf_counter()
            run()
            wait_for(scope.device)
            if turn >= 2:
                best = min(best, perf_counter() - start)
            turn += 1
    return best


def _eager(network: Network, x: Tensor, scope: Scope) -> Callable[[], Tensor]:
    return lambda: network(x)


def _captured(network: Network, x: Tensor, scope: Scope) -> Callable[[], Tensor]:
    """Record the network's kernels once, to start them all together."""
    if scope.device.type != "cuda":
        raise RuntimeError("CUDA graphs need a CUDA device")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # whatever is allocated or chosen on first use must not be recorded
        for _ in range(3):
            network(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = network(x)

    def run() -> Tensor:
        graph.replay()
        return result

    return run


def _compiled(network: Network, x: Tensor, scope: Scope) -> Callable[[], Tensor]:
    compiled = torch.compile(network, backend=scope.backend, dynamic=False)
    compiled(x)  # type: ignore[operator]
    return lambda: compiled(x)  # type: ignore[operator]


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
