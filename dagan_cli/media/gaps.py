"""Notice where frames are missing in the middle of a video: a damaged file may just continue later."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from statistics import median

_RECENT = 48  # frames whose distances say how regular a video is
_ENOUGH = 8  # of them, at least
_REGULAR = 0.9  # share of the distances that are about the usual one
_ABOUT = 0.2
_GAP = 1, 10  # seconds, and usual distances, that a gap is longer than
_NAMED = 3  # gaps that are named


class Gaps:
    """Follows the times of the frames, in ticks of `time_base`; slide shows and uneven videos have no gaps."""

    def __init__(self, time_base: Fraction, start: Fraction) -> None:
        self._time_base = time_base
        self._start = start  # seconds
        self._least = _GAP[0] // time_base  # whole ticks: fractions are slow, and this is done for every frame
        self._last: int | None = None
        self._steps: deque[int] = deque(maxlen=_RECENT)
        self._found: list[tuple[int, int]] = []

    def follow(self, pts: int) -> None:
        """Take note of the next frame."""
        if self._last is not None:
            step = pts - self._last
            if self._is_gap(step):
                self._found.append((self._last, pts))
            else:
                self._steps.append(step)
        self._last = pts

    def _is_gap(self, step: int) -> bool:
        if step <= self._least or len(self._steps) < _ENOUGH:
            return False
        usual = median(self._steps)
        alike = sum(abs(each - usual) <= _ABOUT * usual for each in self._steps)
        return step > _GAP[1] * usual and alike >= _REGULAR * len(self._steps)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One warning for all gaps, if there are any."""
        if not self._found:
            return ()
        spans = [" to ".join(f"{float(t * self._time_base - self._start):.2f}" for t in gap) for gap in self._found]
        more = f" and {len(spans) - _NAMED} more times" if len(spans) > _NAMED else ""
        return (f"no frames from {', '.join(spans[:_NAMED])} s{more}: the file may be damaged there",)
