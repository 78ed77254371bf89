"""Capabilities of this machine's CPU, for the engine and the trainer."""

from __future__ import annotations

import platform
from functools import cache
from time import perf_counter

import torch
import torch.nn.functional as F


@cache
def cpu_has_fast_bf16() -> bool:
    """True if bf16 convolutions beat fp32 on this CPU; without the instructions they are ten times slower.

    x86 CPUs report it in their flags. Others (ARM) do not reliably, so a small convolution is timed there, once.
    """
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        # AMX is detected by its tiles, which every version of torch can query; all CPUs with them compute bf16.
        return any(_cpu_flag(name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return _convolution_seconds(torch.bfloat16) < 0.8 * _convolution_seconds(torch.float32)


def _cpu_flag(name: str) -> bool:
    return bool(getattr(torch.cpu, name, bool)())  # False if torch cannot query it


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Best of five runs of a 3x3 convolution of 64 channels over 96x96 positions; infinite if it cannot run."""
    x = torch.ones(1, 64, 96, 96).to(dtype=dtype, memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3).to(dtype=dtype, memory_format=torch.channels_last)
    best = float("inf")
    try:
        with torch.inference_mode():
            for _ in range(5):
                start = perf_counter()
                F.conv2d(x, weight, padding=1)
                best = min(best, perf_counter() - start)
    except RuntimeError:  # not implemented for this type
        return float("inf")
    return best
