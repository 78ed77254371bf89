"""One row of a verification: what was looked at, what should be there, what is. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Result = Literal["ok", "note", "differs", "lost"]


@dataclass(frozen=True, slots=True)
class Check:
    """One row."""

    what: str
    expected: str
    found: str
    result: Result  # "note": differs as the documentation says it may; "lost": not there at all
    remark: str = ""

    @property
    def failed(self) -> bool:
        return self.result in ("differs", "lost")

    def to_json(self) -> dict[str, Any]:
        """The row with printable text."""
        return {
            name: getattr(self, name).encode("utf-8", "backslashreplace").decode()
            for name in ("what", "expected", "found", "result", "remark")
        }


def check(what: str, expected: object, found: object, *, remark: str = "", fine: bool | None = None) -> Check:
    """A row that is ok where both are equal, or where `fine` says so, and differs elsewhere."""
    good = expected == found if fine is None else fine
    return Check(what, str(expected), str(found), "ok" if good else "differs", remark)


def seconds(time: Fraction | float) -> str:
    """A time in words: "1.240 s"."""
    return f"{float(time):.3f} s"


def milliseconds(time: Fraction | float) -> str:
    """A short time in words: "0.33 ms"."""
    return f"{float(time) * 1000:.2f} ms"


def size_check(before: tuple[int, int], after: tuple[int, int], slack: float) -> tuple[Check, float]:
    """Whether both sides grew by one factor, each rounded by up to `slack` pixels, and that factor."""
    low = max((new - slack) / old for old, new in zip(before, after, strict=True))
    high = min((new + slack) / old for old, new in zip(before, after, strict=True))
    factors = [new / old for old, new in zip(before, after, strict=True)]
    factor = next((f for f in (float(round(factors[0])), *factors) if low <= f <= high), (low + high) / 2)
    size = f"{after[0]}x{after[1]}"
    if low <= high:
        return check("size", f"{before[0]}x{before[1]} times one factor", f"{size}, x{factor:.4g}", fine=True), factor
    found = f"{size}: x{factors[0]:.4g} across, x{factors[1]:.4g} down"
    return check("size", f"{before[0]}x{before[1]} times one factor", found), factor
