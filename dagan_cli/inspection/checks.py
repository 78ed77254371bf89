"""One row of a verification: subject, expected, found. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Result = Literal["ok", "note", "differs", "lost"]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a verification."""

    what: str
    expected: str
    found: str
    result: Result  # "note": a documented difference; "lost": missing from the output
    remark: str = ""

    @property
    def failed(self) -> bool:
        return self.result in ("differs", "lost")

    def to_json(self) -> dict[str, Any]:
        """Return the row with printable text."""
        return {
            name: getattr(self, name).encode("utf-8", "backslashreplace").decode()
            for name in ("what", "expected", "found", "result", "remark")
        }


def check(what: str, expected: object, found: object, *, remark: str = "", fine: bool | None = None) -> Check:
    """Return a row: ok if `fine`, by default if both are equal; otherwise it differs."""
    good = expected == found if fine is None else fine
    return Check(what, str(expected), str(found), "ok" if good else "differs", remark)


def seconds(time: Fraction | float) -> str:
    """Format a time: "1.240 s"."""
    return f"{float(time):.3f} s"


def milliseconds(time: Fraction | float) -> str:
    """Format a short time: "0.33 ms"."""
    return f"{float(time) * 1000:.2f} ms"


def size_check(
    before: tuple[int | Fraction, int | Fraction], after: tuple[int, int], slack: float
) -> tuple[Check, float]:
    """Check that both sides changed by one factor, each rounded by up to `slack` pixels, and to 1 at least.

    Returns the row and the factor.
    """
    low = max((new - slack) / old if new > 1 else 0 for old, new in zip(before, after, strict=True))
    high = min((new + slack) / old for old, new in zip(before, after, strict=True))
    factors = [float(new / old) for old, new in zip(before, after, strict=True)]
    factor = next((f for f in (float(round(factors[0])), *factors) if low <= f <= high), float(low + high) / 2)
    size, expected = f"{after[0]}x{after[1]}", f"{round(before[0])}x{round(before[1])} times one factor"
    if low <= high:
        return check("size", expected, f"{size}, x{factor:.4g}", fine=True), factor
    found = f"{size}: x{factors[0]:.4g} across, x{factors[1]:.4g} down"
    return check("size", expected, found), factor
