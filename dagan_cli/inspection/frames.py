"""Compare the frames of an output with those of its input: number, times and content.

Frames are compared in display order, a few at a time in memory. Their content is the mean brightness of up to 16x9
cells, from 0 to 255. Upscaling hardly changes it, and it distinguishes neighbouring frames where anything moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest

import numpy as np

from dagan_cli.inspection.checks import Check, check, milliseconds, seconds
from dagan_cli.inspection.glance import Cells, Glance
from dagan_cli.upscale.request import Part

# Largest accepted distance of a frame from its source. Measured on 27 real clips, 176x144 to 1280x720, x2 and x4, by
# nearest, bicubic and the network, with x264 and x265 at CRF 17: at most 0.45 over all cells and 2.0 in one cell.
# CRF 28 reaches 0.94 and 3.3, CRF 32 reaches 1.2 and 4.2. CRF 40 with the fastest preset, at 4.1 and 12, is reported.
# A black frame is about 100 away.
WHOLE = 3.0  # root mean square over the cells
CELL = 12.0  # largest difference of one cell
# Neighbouring frames are 0.8 to 8 apart where something moves (medians of those clips). A frame is out of place if it
# is twice as near to a neighbour of its source as to its source, and farther than this from its source. Correct frames
# were at most 1.6 times as near, up to CRF 28.
NEIGHBOUR = 0.3

_SOLID = 254.9  # alpha of a solid pixel, 255 at most, after rounding


@dataclass(frozen=True, slots=True)
class Timed:
    """A frame of the input, and the time at which the output must show it."""

    glance: Glance
    time: Fraction  # seconds of the input
    repaired: bool  # the input has no time for it, or one that is not later than the previous


@dataclass(slots=True)
class Tally:
    """Number of frames of one kind, and a description of the first."""

    count: int = 0
    first: str = ""

    def add(self, index: int, time: Fraction, detail: str = "") -> None:
        self.count += 1
        self.first = self.first or f"frame {index} ({seconds(time)}){detail}"


@dataclass(slots=True, kw_only=True)
class FrameComparison:
    """Comparison of all frames: call `run` with them, then `checks`."""

    trimmed: bool  # the output starts at 0, wherever its part of the input starts
    origins: Fraction  # seconds from the start time of the input to that of the output, which players skip
    start: Fraction = Fraction(0)  # start time of the input, seconds
    tolerance: Fraction  # of times, seconds
    size: tuple[int, int]  # (width, height) expected of every frame of the output

    expected: int = 0
    found: int = 0
    shift: Fraction = Fraction(0)  # seconds added to the times of the input
    first: Timed | None = None  # frame of the input
    last: Timed | None = None
    out_first: Glance | None = None
    out_last: Glance | None = None
    is_seen_through: bool = False  # the input has pixels that are not solid
    _before: Fraction | None = None  # time of the previous frame of the output
    _worst: Fraction = Fraction(0)
    _late: Tally = field(default_factory=Tally)
    _repaired: int = 0
    _resized: Tally = field(default_factory=Tally)
    _misplaced: Tally = field(default_factory=Tally)
    _different: Tally = field(default_factory=Tally)
    _whole: float = 0.0
    _cell: float = 0.0

    def run(self, expected: Iterable[Timed], found: Iterable[Glance], tell: Callable[[int], None]) -> None:
        """Compare all frames; `tell` receives the number done."""
        for index, (near, other) in enumerate(zip_longest(_with_neighbours(expected), found)):
            now = near[1] if near else None
            self.expected += now is not None
            self.found += other is not None
            if now:
                self._see_expected(now, other)
            if other:
                self._see_found(index, other)
            if near and now and other:
                self._compare_times(index, now, other)
                self._compare_pictures(index, near, other)
            tell(index + 1)

    @property
    def ends(self) -> tuple[Fraction | None, Fraction | None]:
        """End of the last frame of the input and of the output, in seconds of each file; None if undeclared."""
        last, out = self.last, self.out_last
        end = last.time + last.glance.duration if last and last.glance.duration else None
        return end, out.time + out.duration if out and out.time is not None and out.duration else None

    def checks(self) -> list[Check]:
        """Return the rows of the verification."""
        rows = [check("frames", self.expected, self.found)]
        if self.first is None or self.out_first is None or self.out_first.time is None:
            return rows
        due, begin = self.first.time + self.shift, self.out_first.time
        rows.append(check("first frame", seconds(due), seconds(begin), fine=abs(due - begin) <= self.tolerance))
        rows.append(self._times())
        end, out_end = self.ends
        if end is not None and out_end is not None:
            lengths = end - self.first.time, out_end - begin
            fine = abs(lengths[0] - lengths[1]) <= 2 * self.tolerance
            rows.append(check("length of the pictures", *map(seconds, lengths), fine=fine))
        size = f"{self.size[0]}x{self.size[1]}"
        changed = f"{self._resized.count} others, first {self._resized.first}" if self._resized.count else size
        return [*rows, check("size of every frame", size, changed), self._pictures()]

    def _see_expected(self, frame: Timed, other: Glance | None) -> None:
        if self.first is None:
            self.first = frame
            if self.trimmed:
                self.shift = -frame.time
            elif other and other.time is not None:
                late = other.time - frame.time
                to_zero = max(Fraction(0), -min(self.start, frame.time)) if frame.time < 0 else Fraction(0)
                shifts = () if abs(late) <= self.tolerance else (self.origins, to_zero)  # rounding is no shift
                self.shift = min((Fraction(0), *shifts), key=lambda shift: abs(late - shift))
        self.last = frame
        alpha = frame.glance.cells.alpha
        self.is_seen_through |= alpha is not None and bool((alpha < _SOLID).any())
        self._repaired += frame.repaired

    def _see_found(self, index: int, frame: Glance) -> None:
        self.out_first = self.out_first or frame
        self.out_last = frame
        if frame.size != self.size:
            self._resized.add(index, frame.time or Fraction(0), f" {frame.size[0]}x{frame.size[1]}")

    def _times(self) -> Check:
        found = f"{milliseconds(self._worst)} off at most"
        if self._late.count:
            found += f", {self._late.count} frames, first {self._late.first}"
        remark = f"{self._repaired} missing or repaired times of the input were not compared" if self._repaired else ""
        expected = f"within {milliseconds(self.tolerance)}"
        return check("frame times", expected, found, fine=not self._late.count, remark=remark)

    def _compare_times(self, index: int, now: Timed, other: Glance) -> None:
        due = now.time + self.shift
        if other.time is None:
            self._late.add(index, due, " has no time")
            return
        if now.repaired:
            if self._before is not None and other.time <= self._before:
                self._late.add(index, due, " is not later than the previous frame")
        else:
            off = abs(other.time - due)
            self._worst = max(self._worst, off)
            if off > self.tolerance:
                self._late.add(index, due, f" shown at {seconds(other.time)}")
        self._before = other.time

    def _compare_pictures(self, index: int, near: tuple[Timed | None, Timed, Timed | None], other: Glance) -> None:
        before, now, after = near
        own, worst = self._apart(now, other)
        self._whole, self._cell = max(self._whole, own), max(self._cell, worst)
        for name, neighbour in (("before", before), ("after", after)):
            if neighbour and own > NEIGHBOUR and self._apart(neighbour, other)[0] < own / 2:
                self._misplaced.add(index, now.time, f" shows the one {name} it")
                return
        if own > WHOLE or worst > CELL:
            self._different.add(index, now.time, f" by {own:.1f} of 255, one cell by {worst:.1f}")

    def _apart(self, expected: Timed, found: Glance) -> tuple[float, float]:
        """Return the distance of a frame from the expected one: root mean square over the cells, and the worst cell.

        A deinterlaced frame may match one field of the input.
        """
        alternatives = (expected.glance.cells, *expected.glance.fields)
        return min(_distance(cells, found.cells) for cells in alternatives)

    def _pictures(self) -> Check:
        expected = "those of the input, in its order"
        if self._misplaced.count:
            found = f"{self._misplaced.count} in another place, first {self._misplaced.first}"
        elif self._different.count:
            found = f"{self._different.count} differ, first {self._different.first}"
        else:
            found = f"the same, off by {self._whole:.2f} of 255 at most"
        return check("pictures", expected, found, fine=not (self._misplaced.count or self._different.count))


def timed(
    frames: Iterable[Glance], part: Part, origin: Fraction, step: Fraction, *, stands_still: bool = False
) -> Iterator[Timed]:
    """Yield the frames of the input that belong to the output, each with its time.

    `origin` is the start time of the input. `step` is the time between frames, used if the input has no timestamps or
    if all of them are equal (`stands_still`).
    """
    start, end = (None if at is None else origin + Fraction(str(at)) for at in (part.start, part.end))
    last: Fraction | None = None
    given, length = 0, step
    for frame in frames:
        declared = None if stands_still else frame.time
        repaired = declared is None or (last is not None and declared <= last)
        time = declared if declared is not None else Fraction(0) if last is None else last + length
        time = time if last is None else max(time, last)
        last, length = time, frame.duration or step
        if end is not None and time >= end:
            return
        if start is None or time >= start:
            yield Timed(frame, time, repaired)
            given += 1
            if given == part.frames:
                return


def _with_neighbours(frames: Iterable[Timed]) -> Iterator[tuple[Timed | None, Timed, Timed | None]]:
    before: Timed | None = None
    now: Timed | None = None
    for after in frames:
        if now:
            yield before, now, after
        before, now = now, after
    if now:
        yield before, now, None


def _distance(expected: Cells, found: Cells) -> tuple[float, float]:
    """Return the worst root mean square and the worst cell; transparent frames compare visible colour and alpha."""
    pairs = [(expected.luma, found.luma)]
    if expected.visible is not None and found.visible is not None:
        assert expected.alpha is not None
        assert found.alpha is not None
        pairs = [(expected.visible, found.visible), (expected.alpha, found.alpha)]
    squares = [np.square(a - b) for a, b in pairs]
    return max(float(np.sqrt(s.mean())) for s in squares), max(float(np.sqrt(s.max())) for s in squares)
