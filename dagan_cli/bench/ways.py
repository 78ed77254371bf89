"""Ways to upscale one input: models, orders, runtimes and threads that differ in speed or quality, as commands."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace

import torch

from dagan_cli.engine.runtimes import library
from dagan_cli.model.file import read_header
from dagan_cli.upscale.request import Request
from dagan_cli.upscaler import ModelChoice, Upscaler
from weights.catalog import CATALOG, published

THREADS = "OMP_NUM_THREADS"
# Settings of a network that are not its shape: they change its results, or its time as options do.
_FREE = {
    *("default_order", "default_window", "patch"),
    *("identity_start", "learned_constants", "learned_temperature", "temperature"),
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to upscale the input."""

    request: Request
    usual: str  # runtime that `dagan upscale` takes by itself for the input
    runtime: str
    threads: int | None = None  # for the network; None: as many as PyTorch takes by itself
    quality: int = 0  # 0 = the best of all ways; those of one model and order have the same

    def command(self, shown: str) -> str:
        """Return the command line for the input `shown`, with all options that affect speed or quality."""
        engine, encoding, model = self.request.engine, self.request.encoding, self.request.model
        needs_runtime = self.runtime != self.usual and not model.is_baseline
        options = {
            "-s": f"{self.request.goal.factor:g}",
            "-n": model.name,
            "--order": model.order,
            "--device": engine.device if engine.device != "auto" else None,
            "--runtime": self.runtime if needs_runtime else None,
            "--precision": engine.precision if engine.precision != "auto" else None,
            "--tile": engine.tile if engine.tile != "auto" else None,
            "--codec": encoding.codec,
            "--preset": encoding.preset,
        }
        words = [word for key, value in options.items() if value is not None for word in (key, str(value))]
        line = shlex.join(["dagan", "upscale", shown, *words])
        return line if self.threads is None else f"{THREADS}={self.threads} {line}"


def usual_runtime(request: Request, upscaler: Upscaler, size: tuple[int, int], *, many: bool) -> str:
    """Return the runtime that `dagan upscale` takes by itself for an image, or for many, of this (width, height)."""
    if request.engine.runtime != "auto":
        upscaler = Upscaler.of(request.model, replace(request.engine, runtime="auto"))
    return upscaler.engine.runtime_for(size[1], size[0], many=many)


def same_quality(request: Request, upscaler: Upscaler, usual: str) -> list[Way]:
    """Return the ways to run the requested model, which differ in runtime and threads; the first is the usual one."""
    choice = upscaler.choice
    if upscaler.is_baseline or choice.device.type != "cpu" or choice.openvino not in (None, "CPU"):
        return [Way(request, usual, choice.runtime)]
    runtimes = [usual]
    if request.engine.runtime != "auto":
        runtimes = [choice.runtime]
    elif choice.openvino is not None:
        runtimes += ["torch"] if usual == "openvino" else []  # for one small image, compiling takes too long
    elif library.is_installed() and getattr(upscaler.engine.network(torch.float32), "compiles", False):
        runtimes.append("openvino")
    if len(runtimes) == 1 and choice.openvino is None:  # auto means the same
        return [Way(request, usual, runtimes[0], threads) for threads in (None, *_fewer_threads())]
    return [
        Way(replace(request, engine=replace(request.engine, runtime=runtime)), usual, runtime, threads)
        for runtime in runtimes
        for threads in (None, *_fewer_threads())
    ]


def other_qualities(way: Way, upscaler: Upscaler) -> list[Way]:
    """Return the way with each order of its model and with published models of other shapes, and without a network.

    `quality` of all of them counts from the best. The way itself is among them.
    """
    choice = way.request.model
    if choice.is_baseline:
        return [way]
    own = [replace(choice, order=order) for order in sorted(upscaler.orders, reverse=True)] or [choice]
    larger, smaller = _other_shapes(upscaler)
    models = [*larger, *own, *smaller]
    with_network = [
        replace(way, request=replace(way.request, model=model), quality=quality) for quality, model in enumerate(models)
    ]
    bicubic = replace(way.request, model=ModelChoice("bicubic"))
    return [*with_network, replace(way, request=bicubic, threads=None, quality=len(models))]


def _fewer_threads() -> tuple[int, ...]:
    """Return half of the threads: two of a core share its arithmetic, and video needs some for other stages.

    Returns none where the user has chosen their number, or where there are two.
    """
    threads = torch.get_num_threads()
    return (threads // 2,) if threads > 2 and THREADS not in os.environ else ()


def _other_shapes(upscaler: Upscaler) -> tuple[list[ModelChoice], list[ModelChoice]]:
    """Return the published models of the same scale that cost more, and those that cost less, than a published one.

    Of equal ones only the first counts, and only those whose file is here. Larger ones run at their usual order,
    smaller ones at their fastest.
    """
    own = published(upscaler.name)
    if own is None or not own.path.is_file():
        return [], []
    seen, larger, smaller = [_shape(read_header(own.path)["config"])], [], []
    for model in CATALOG:
        if model.scale == own.scale and model.path.is_file():
            config = read_header(model.path)["config"]
            if _shape(config) in seen:
                continue
            seen.append(_shape(config))
            if model.size > own.size:
                larger.append(ModelChoice(model.name))
            else:
                smaller.append(ModelChoice(model.name, order=min(config.get("orders") or [0]) or None))
    return larger, smaller


def _shape(config: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in config.items() if name not in _FREE}
