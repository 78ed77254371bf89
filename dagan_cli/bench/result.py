"""What a bench of the stages found: values, the ratios that follow from them, and both as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

GOAL = 0.9  # of the slowest stage's pace, by all stages together
_FULL = 0.85  # share of the processor's time that leaves none to take
_LOADED = 0.5  # load by other programs that spoils the measurement

_ADVICE = {  # where another stage than the network holds the rest up
    "decode": "reading holds the rest up: an input that is easier to decode, such as H.264, would be quicker",
    "encode": "encoding holds the rest up: try --preset veryfast, or -c h264_nvenc where there is an NVIDIA card",
    "write": "writing holds the rest up: try -f webp or -f jpg",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to upscale the input, measured."""

    command: str
    note: str  # what sets it apart
    alone: float  # frames a second of its network, or of its resampling, with nothing beside it
    rate: float  # frames a second from file to file
    seconds: float | None  # for the whole input, by that rate; None where its length is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBench:
    """How fast the stages of `dagan upscale` are for one input, apart and together. Rates are frames a second."""

    input: str
    kind: Literal["picture", "video"]
    frames: int | None  # of the whole input; None where not known
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    model: str
    order: int | None
    device: str  # where, in which precision, and why
    output: str  # codec or format
    stages: dict[str, float]  # each alone, in the order they are gone through
    rate: float  # all together, from file to file
    reused: float | None  # share of the tiles that were as in the frame before, and not computed again
    busy: float  # share of the processor's time that all together use
    load: float  # what other programs asked of each processor before: 1 = all there is
    candidates: tuple[Candidate, ...]  # with a network first, slowest and best first; then those without

    @property
    def slowest(self) -> str:
        """The stage that holds the others up."""
        return min(self.stages, key=self.stages.__getitem__)

    @property
    def shares(self) -> dict[str, float]:
        """Of the time that all stages would take one after the other."""
        total = sum(1 / rate for rate in self.stages.values())
        return {name: 1 / rate / total for name, rate in self.stages.items()}

    @property
    def overlap(self) -> float:
        """Pace of all together / pace of the slowest stage alone: 1 = the others cost no time."""
        return self.rate / self.stages[self.slowest]

    @property
    def megapixels_per_second(self) -> float:
        """Of output."""
        return self.rate * self.out_size[0] * self.out_size[1] / 1e6

    @property
    def best(self) -> Candidate:
        """The one with the highest quality."""
        return self.candidates[0]

    @property
    def fastest(self) -> Candidate:
        """The quickest that uses what the best one uses: a network, where there is one."""
        return max((c for c in self.candidates if c.note != "no network" or c is self.best), key=lambda c: c.rate)

    def to_dict(self) -> dict[str, Any]:
        """A plain JSON-able mapping, the ratios included."""
        return {
            "input": self.input,
            "kind": self.kind,
            "frames": self.frames,
            "in_size": list(self.in_size),
            "out_size": list(self.out_size),
            "model": self.model,
            "order": self.order,
            "device": self.device,
            "output": self.output,
            "stages": {name: {"fps": rate, "share": self.shares[name]} for name, rate in self.stages.items()},
            "slowest": self.slowest,
            "fps": self.rate,
            "overlap": self.overlap,
            "megapixels_per_second": self.megapixels_per_second,
            "reused": self.reused,
            "busy": self.busy,
            "load": self.load,
            "commands": [
                {"command": c.command, "note": c.note, "alone_fps": c.alone, "fps": c.rate, "seconds": c.seconds}
                for c in self.candidates
            ],
            "best": self.best.command,
            "fastest": self.fastest.command,
        }


def report(found: StageBench, table: Callable[[list[str], list[list[str]]], str]) -> str:
    """Text for people; `table` sets a header and rows of cells in columns."""
    sizes = " -> ".join(f"{width}x{height}" for width, height in (found.in_size, found.out_size))
    length = f", {found.frames} frames" if found.frames and found.frames > 1 else ""
    dial = "" if found.order is None else f" order {found.order}"
    stages = [
        [name, _number(rate), _number(1000 / rate), f"{found.shares[name]:.0%}"] for name, rate in found.stages.items()
    ]
    together = ["together", _number(found.rate), _number(1000 / found.rate), ""]
    whole = "whole video" if found.kind == "video" else "whole"
    commands = [
        [
            c.command,
            _number(c.alone),
            _number(c.rate),
            "" if c.seconds is None else in_words(c.seconds),
            _remark(found, c),
        ]
        for c in found.candidates
    ]
    parts = (
        f"{found.input}{length}: {sizes}, {found.model}{dial}, {found.output}",
        found.device,
        "",
        table(["stage", "frames/s", "ms/frame", "of the work"], [*stages, together]),
        "",
        *_verdict(found),
        "",
        table(["command", "network alone", "frames/s", whole, ""], commands),
    )
    return "\n".join(parts)


def _remark(found: StageBench, candidate: Candidate) -> str:
    names = {"best": found.best, "fastest": found.fastest}
    return ", ".join(
        [name for name, one in names.items() if one is candidate] + [candidate.note] * bool(candidate.note)
    )


def _verdict(found: StageBench) -> Iterator[str]:
    """Lines: what holds the work up, and what to do about it."""
    yield f"{found.slowest} is the slowest stage; all together reach {found.overlap:.2f} of its pace"
    if found.overlap < GOAL:
        others = "other programs take the rest" if found.load > _LOADED else "the stages wait for each other"
        reason = "the stages share it" if found.busy >= _FULL else others
        yield f"that is less than {GOAL}: {found.busy:.0%} of the processor is used, {reason}"
    if found.load > _LOADED:
        yield f"other programs ask for {found.load:.0%} of the processor: all could be faster than measured"
    yield f"{_number(found.megapixels_per_second)} megapixels of output a second"
    if found.reused:
        yield f"{found.reused:.0%} of the tiles were as in the frame before, and not computed again"
    if found.slowest in _ADVICE:
        yield _ADVICE[found.slowest]


def in_words(seconds: float) -> str:
    """About how long: 0.4 s, 41 s, 12 min, 2.5 h, 3 d."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if name != "h" else f"{seconds / unit:.1f} h"
    return f"{seconds / 86400:.0f} d"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
