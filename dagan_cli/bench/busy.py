"""Measure how many cores other programs use, because numbers that were measured next to them would mislead."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.prefetch import processors

STAT = Path("/proc/stat")
_TICKS = 100  # a second; USER_HZ, the unit of /proc/stat on every Linux
_BEFORE = 0.7  # seconds that are watched before anything is measured


@dataclass(frozen=True, slots=True)
class Busy:
    """Use of the processor by other programs: mean numbers of cores."""

    cores: int  # those that this process may use
    others: float = 0.0  # in use by programs of normal priority, and by other machines on the same hardware
    low: float = 0.0  # in use by programs of low priority, which make way for this one

    @property
    def is_busy(self) -> bool:
        """True if other programs use more than a quarter of the cores, and more than half a core."""
        return self.others > max(0.5, self.cores / 4)

    @property
    def lines(self) -> list[str]:
        """Sentences for the report; none on a quiet machine."""
        found = []
        if self.is_busy:
            used = f"{min(self.others, self.cores):.1f} of {self.cores} cores are in use by other programs"
            found.append(f"the machine is busy: {used}; numbers would mislead")
        if self.low > 0.2:
            found.append(f"programs of low priority use {self.low:.1f} cores, and make way")
        return found

    def to_dict(self) -> dict[str, float | int]:
        """Return the values for a JSON object."""
        return {"cores": self.cores, "busy_cores": round(self.others, 2), "low_priority_cores": round(self.low, 2)}


class Watch:
    """Watches the processor from now on, and for a moment before anything is measured.

    Linux counts the time of all programs in `stat`; elsewhere the system's load before the measurement stands for it.
    """

    def __init__(self, stat: Path = STAT, seconds: float = _BEFORE) -> None:
        self._stat = stat
        self._cores = processors()
        if self._read() is None:
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
            self._before = Busy(self._cores, load)
            return
        self._start()
        time.sleep(seconds)
        self._before = self._since()
        self._start()

    def result(self) -> Busy:
        """Return the use before, or since then, whichever is larger; of low priority, that since then."""
        if self._read() is None:
            return self._before
        during = self._since()
        return Busy(self._cores, max(during.others, self._before.others), during.low)

    def _start(self) -> None:
        self._began = time.perf_counter(), self._read() or (0.0, 0.0), _own()

    def _since(self) -> Busy:
        began, (normal, low), (own, own_low) = self._began
        now, (normal_now, low_now), (own_now, own_low_now) = time.perf_counter(), self._read() or (0.0, 0.0), _own()
        spent = max(now - began, 1e-3)
        others = (normal_now - normal - (own_now - own)) / spent
        below = (low_now - low - (own_low_now - own_low)) / spent
        return Busy(self._cores, max(0.0, others), max(0.0, below))

    def _read(self) -> tuple[float, float] | None:
        """Return the seconds that this process's cores spent on programs of normal and of low priority, or None."""
        try:
            lines = self._stat.read_text().splitlines()
        except OSError:
            return None
        cores = {f"cpu{number}" for number in _cores()}
        normal = low = 0
        seen = False
        for line in lines:
            name, *values = line.split() or [""]
            if name in cores and len(values) >= 8:
                user, nice, system, _, _, irq, soft, stolen = map(int, values[:8])
                normal, low, seen = normal + user + system + irq + soft + stolen, low + nice, True
        return (normal / _TICKS, low / _TICKS) if seen and normal else None


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _own() -> tuple[float, float]:
    """Return the seconds of this process and of those that it started, as /proc/stat counts them: normal and low."""
    times = os.times()
    user, system = times.user + times.children_user, times.system + times.children_system
    return (system, user) if os.nice(0) > 0 else (user + system, 0.0)
