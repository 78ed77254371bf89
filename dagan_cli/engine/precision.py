"""Choose the device and precision of a network, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dagan_cli.device import cpu_has_fast_bf16
from dagan_cli.errors import BadOption

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Choice:
    """A device, a floating-point type for it, and the reason."""

    device: torch.device
    dtype: torch.dtype
    why: str


def choose(
    device: str = "auto", precision: str = "auto", supported: tuple[torch.dtype, ...] = tuple(DTYPES.values())
) -> Choice:
    """Choose by `device` (auto, cpu, cuda, cuda:N or mps) and `precision` (auto, fp16, bf16 or fp32).

    `supported`: the types that the network can compute in. Raises BadOption for an unavailable device, or a precision
    that it or the network does not support.
    """
    if precision not in ("auto", *DTYPES):
        raise BadOption(f"invalid --precision {precision!r}", hint="use auto, fp16, bf16 or fp32")
    place, found = _device(device)
    if precision == "auto":
        dtype, because = _best_dtype(place)
        if dtype not in supported:
            name = str(dtype).removeprefix("torch.")
            dtype, because = torch.float32, f"fp32: the model does not support {name}"
        return Choice(place, dtype, f"{found}; {because}")
    if precision == "bf16" and place.type == "mps":
        raise BadOption("--precision bf16 is not available on mps", hint="use --precision fp16 or fp32")
    if DTYPES[precision] not in supported:
        names = " or ".join(name for name, dtype in DTYPES.items() if dtype in supported)
        raise BadOption(f"the model does not support --precision {precision}", hint=f"use {names}, or leave it out")
    because = "as requested"
    if place.type == "cpu" and precision != "fp32" and not (precision == "bf16" and cpu_has_fast_bf16()):
        because += f", though {precision} is slow on this CPU"
    return Choice(place, DTYPES[precision], f"{found}; {precision}: {because}")


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadOption(f"invalid --device {name!r}", hint="use auto, cpu, cuda, cuda:1 or mps") from error
    match device.type:
        case "cpu":
            threads = torch.get_num_threads()
            return torch.device("cpu"), f"CPU, {threads} thread{'s' * (threads > 1)}"
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
            raise BadOption(f"--device {name} is not supported", hint="use auto, cpu, cuda, cuda:1 or mps")


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
