"""Capabilities of this machine, for the engine and the trainer: its CPU and its free memory."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F


@cache
def cpu_has_fast_bf16() -> bool:
    """True if bf16 convolutions beat fp32 on this CPU; without the instructions they are ten times slower.

    x86 CPUs report it in their flags. Others (ARM) do not reliably, so a small convolution is timed there, once.
    DAGAN_FAST_BF16, 0 or 1, decides instead, so that processes on different CPUs give the same results.
    """
    if (told := os.environ.get("DAGAN_FAST_BF16")) in ("0", "1"):
        return told == "1"
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


def free_host_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes this process can still allocate, limited by the machine and its control groups."""
    try:
        fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux: assume half of the installed memory
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
        # Every ancestor may set a limit; inside a container the path is often the host's and does not exist.
        here = root / path.lstrip("/")
        for group in (here, *here.parents[: len(here.parts) - len(root.parts)]):
            free = min(free, _left_in(group, limit, usage, cache))
    return max(0, free)


def _left_in(group: Path, limit: str, usage: str, cache: str) -> int:
    """Return the bytes a control group still allows: limit - use + the file cache the kernel would drop."""
    try:
        most = int((group / limit).read_text())  # "max" (unlimited) is a ValueError
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines() if line)
        return max(0, most - used + int(stat.get(cache, 0)))
    except (OSError, ValueError):
        return 1 << 62
