"""Where the network runs and in which precision: chosen once, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dagan_cli.device import cpu_has_fast_bf16
from dagan_cli.errors import BadOption

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Choice:
    """A device, a floating-point type for it, and why these two."""

    device: torch.device
    dtype: torch.dtype
    why: str


def choose(device: str = "auto", precision: str = "auto") -> Choice:
    """`device`: auto, cpu, cuda, cuda:N or mps; `precision`: auto, fp16, bf16 or fp32.

    Raises BadOption for a device that is not there, and for a precision it cannot compute in.
    """
    if precision not in ("auto", *DTYPES):
        raise BadOption(f"no precision is called {precision!r}", hint="use auto, fp16, bf16 or fp32")
    place, found = _device(device)
    if precision == "auto":
        dtype, because = _best_dtype(place)
        return Choice(place, dtype, f"{found}; {because}")
    if precision == "bf16" and place.type == "mps":
        raise BadOption("bf16 is not available on mps", hint="use --precision fp16 or fp32")
    because = "as asked"
    if place.type == "cpu" and precision != "fp32" and not (precision == "bf16" and cpu_has_fast_bf16()):
        because += f", though {precision} is slow on this CPU"
    return Choice(place, DTYPES[precision], f"{found}; {precision}: {because}")


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadOption(f"no device is called {name!r}", hint="use auto, cpu, cuda, cuda:1 or mps") from error
    match device.type:
        case "cpu":
            return torch.device("cpu"), f"CPU, {torch.get_num_threads()} threads"
        case "cuda":
            if not torch.cuda.is_available():
                raise BadOption(
                    "no CUDA device can be used here",
                    hint="check the driver and that torch was installed with CUDA, or use --device cpu",
                )
            index, count = device.index or 0, torch.cuda.device_count()
            if index >= count:
                raise BadOption(f"there is no cuda:{index}", hint=f"this machine has cuda:0 to cuda:{count - 1}")
            return torch.device("cuda", index), f"{torch.cuda.get_device_name(index)} (cuda:{index})"
        case "mps":
            if not torch.backends.mps.is_available():
                raise BadOption("mps needs a Mac with an Apple GPU", hint="use --device cpu")
            return device, "Apple GPU"
        case _:
            raise BadOption(f"{name} is not supported", hint="use auto, cpu, cuda, cuda:1 or mps")


def _best_dtype(device: torch.device) -> tuple[torch.dtype, str]:
    if device.type == "mps":
        return torch.float16, "fp16: twice as fast there"
    if device.type == "cuda":
        # Before Volta, fp16 arithmetic is absent or a sixty-fourth of fp32's.
        if torch.cuda.get_device_capability(device) >= (7, 0):
            return torch.float16, "fp16: its tensor cores"
        return torch.float32, "fp32: too old a GPU for fast fp16"
    if cpu_has_fast_bf16():
        return torch.bfloat16, "bf16: it has the instructions"
    return torch.float32, "fp32: no fast bf16"
