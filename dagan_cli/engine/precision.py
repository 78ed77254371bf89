"""Choose the device, the runtime and the precision of a network, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dagan_cli.device import cpu_has_fast_bf16
from dagan_cli.engine.runtimes import library
from dagan_cli.errors import BadOption

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


RUNTIMES = ("auto", "torch", "openvino")


@dataclass(frozen=True, slots=True)
class Choice:
    """A device, a floating-point type for it, what executes the network, and the reason."""

    device: torch.device  # where PyTorch computes; for OpenVINO, the tiles are in host memory
    dtype: torch.dtype
    why: str
    openvino: str | None = None  # OpenVINO's name of the device if it executes the network; None: PyTorch does

    @property
    def name(self) -> str:
        """The device as --device names it."""
        return str(self.device) if self.openvino in (None, "CPU") else f"{library.PREFIX}{self.openvino}"

    @property
    def runtime(self) -> str:
        """Name of what executes the network: "torch" or "openvino"."""
        return "torch" if self.openvino is None else "openvino"


def choose(
    device: str = "auto",
    precision: str = "auto",
    supported: tuple[torch.dtype, ...] = tuple(DTYPES.values()),
    runtime: str = "auto",
    *,
    compiles: bool = False,
) -> Choice:
    """Choose by `device`, `precision` (auto, fp16, bf16 or fp32) and `runtime` (auto, torch or openvino).

    device: auto, cpu, cuda, cuda:N, mps, or openvino: and the name of one of OpenVINO's devices. `supported`: the types
    that the network can compute in; `compiles`: OpenVINO can run it. On a CPU without fast bf16, auto means OpenVINO
    where it is installed. Raises BadOption for an unavailable device or runtime, or a precision that it or the network
    does not support.
    """
    if precision not in ("auto", *DTYPES):
        raise BadOption(f"invalid --precision {precision!r}", hint="use auto, fp16, bf16 or fp32")
    if runtime not in RUNTIMES:
        raise BadOption(f"invalid --runtime {runtime!r}", hint=f"use {', '.join(RUNTIMES[:-1])} or {RUNTIMES[-1]}")
    if precision != "auto" and DTYPES[precision] not in supported:
        names = " or ".join(name for name, dtype in DTYPES.items() if dtype in supported)
        raise BadOption(f"the model does not support --precision {precision}", hint=f"use {names}, or leave it out")
    if library.is_named(device):
        if runtime == "torch":
            raise BadOption(f"--runtime torch does not go with --device {device}", hint="leave out one of them")
        return _with_openvino(library.find_device(device[len(library.PREFIX) :]), precision, supported)
    if runtime == "openvino":
        if device not in ("auto", "cpu"):
            hint = f"use --device cpu, or one of OpenVINO's: {', '.join(library.PREFIX + x for x in library.devices())}"
            raise BadOption(f"--runtime openvino does not run on --device {device}", hint=hint)
        return _with_openvino("CPU", precision, supported)
    chosen = _with_pytorch(device, precision, supported)
    is_slow = chosen.device.type == "cpu" and chosen.dtype == torch.float32
    if runtime == "auto" and is_slow and compiles and library.is_installed():
        why = f"{chosen.why}; OpenVINO, but for small images"
        return replace(chosen, why=why, openvino="CPU")
    return chosen


def _with_openvino(place: str, precision: str, supported: tuple[torch.dtype, ...]) -> Choice:
    """Return the choice for one of OpenVINO's devices."""
    can = library.formats(place)
    if precision != "auto" and precision not in can:
        what = f"--precision {precision} is not available on {library.PREFIX}{place}"
        raise BadOption(what, hint=f"use {' or '.join(sorted(can))}, or leave it out")
    if precision == "auto":  # on a CPU, only fp32 was measured
        precision = "fp16" if place != "CPU" and "fp16" in can and torch.float16 in supported else "fp32"
    where = f"CPU, {_threads()}" if place == "CPU" else f"{library.full_name(place)} ({library.PREFIX}{place})"
    return Choice(torch.device("cpu"), DTYPES[precision], f"{where}; {precision}; OpenVINO", place)


def _with_pytorch(device: str, precision: str, supported: tuple[torch.dtype, ...]) -> Choice:
    place, found = _device(device)
    if precision == "auto":
        dtype, because = _best_dtype(place)
        if dtype not in supported:
            name = str(dtype).removeprefix("torch.")
            dtype, because = torch.float32, f"fp32: the model does not support {name}"
        return Choice(place, dtype, f"{found}; {because}")
    if precision == "bf16" and place.type == "mps":
        raise BadOption("--precision bf16 is not available on mps", hint="use --precision fp16 or fp32")
    because = "as requested"
    if place.type == "cpu" and precision != "fp32" and not (precision == "bf16" and cpu_has_fast_bf16()):
        because += f", though {precision} is slow on this CPU"
    return Choice(place, DTYPES[precision], f"{found}; {precision}: {because}")


def _threads() -> str:
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)}"


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadOption(
            f"invalid --device {name!r}", hint="use auto, cpu, cuda, cuda:1, mps or openvino:GPU"
        ) from error
    match device.type:
        case "cpu":
            return torch.device("cpu"), f"CPU, {_threads()}"
        case "cuda":
            if not torch.cuda.is_available():
                raise BadOption(
                    f"--device {name} is not available: no usable CUDA device",
                    hint="check the driver and that torch was installed with CUDA, or use --device cpu",
                )
            index, count = device.index or 0, torch.cuda.device_count()
            if index >= count:
                raise BadOption(
                    f"--device cuda:{index} does not exist", hint=f"this machine has cuda:0 to cuda:{count - 1}"
                )
            return torch.device("cuda", index), f"{torch.cuda.get_device_name(index)} (cuda:{index})"
        case "mps":
            if not torch.backends.mps.is_available():
                raise BadOption("--device mps needs a Mac with an Apple GPU", hint="use --device cpu")
            return device, "Apple GPU"
        case _:
            raise BadOption(
                f"--device {name} is not supported", hint="use auto, cpu, cuda, cuda:1, mps or openvino:GPU"
            )


def _best_dtype(device: torch.device) -> tuple[torch.dtype, str]:
    if device.type == "mps":
        return torch.float16, "fp16: twice as fast as fp32"
    if device.type == "cuda":
        # Before Volta, fp16 arithmetic is missing or runs at 1/64 of the rate of fp32.
        if torch.cuda.get_device_capability(device) >= (7, 0):
            return torch.float16, "fp16: runs on tensor cores"
        return torch.float32, "fp32: the GPU is too old for fast fp16"
    if cpu_has_fast_bf16():
        return torch.bfloat16, "bf16: the CPU has the instructions"
    return torch.float32, "fp32: the CPU has no fast bf16"
