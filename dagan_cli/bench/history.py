"""Keep the result of a measurement in the user's cache, and compare the next one with it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from typing import Any

from dagan_cli.engine.cache import Cache, cache_folder
from dagan_cli.version import __version__

_MOST = 1 << 20  # bytes of all results: some thousands


@dataclass(frozen=True, slots=True)
class Last:
    """An earlier result."""

    day: str  # as in 2026-11-28
    dagan: str  # the version that was measured
    rate: float  # frames per second

    def compared(self, rate: float) -> str:
        """Return a line that compares a new result with this one."""
        return f"last time ({self.day}, dagan {self.dagan}): now {rate / self.rate:.2f} times as fast"


def compare(rate: float, what: dict[str, Any], *, keep: bool = True) -> Last | None:
    """Return the last result of measuring the same on this machine, and keep the new one in its place.

    `what` is all that the rate depends on. Without `keep` nothing is stored. A damaged or missing file, and a folder
    that cannot be written, count as no result.
    """
    facts = {"machine": platform.node(), "processor": platform.machine(), **what}
    name = sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    results = Cache(cache_folder() / "bench", ".json", _MOST)
    last = _parsed(results.get(name))
    if keep:
        results.put(
            name, json.dumps(asdict(Last(date.today().isoformat(), __version__, rate)) | {"of": facts}).encode()
        )
    return last


def _parsed(content: bytes | None) -> Last | None:
    try:
        values = json.loads(content or b"null")
        last = Last(str(values["day"]), str(values["dagan"]), float(values["rate"]))
    except (ValueError, TypeError, KeyError):
        return None
    return last if 0 < last.rate < float("inf") else None
