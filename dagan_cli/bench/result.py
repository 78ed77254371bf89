"""Result of measuring the stages: values, ratios, JSON and text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dagan_cli.bench.busy import Busy
from dagan_cli.bench.history import Last

GOAL = 0.9  # speed of all stages together / speed of the slowest stage alone
_FULL = 0.85  # share of processor time above which the processor is fully used

_ADVICE = {  # for a slowest stage other than the network
    "decode": "decoding limits the speed: an input that is easier to decode, such as H.264, would be faster",
    "encode": "encoding limits the speed: try --preset veryfast, or -c h264_nvenc on an NVIDIA GPU",
    "write": "writing limits the speed: try -f webp or -f jpg",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to upscale the input, measured."""

    command: str
    words: str  # model, order, runtime and threads
    note: str  # difference from the other candidates
    quality: int  # 0 = the best; equal for one model and order
    alone: float  # frames per second of its network or resampling alone
    rate: float | None  # frames per second from file to file; None: slower alone than another of the same quality
    seconds: float | None  # time for the whole input at this rate; None if its length is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBench:
    """Speed of the stages of `dagan upscale` for one input, alone and together. Rates are frames per second."""

    input: str
    kind: Literal["picture", "video"]
    frames: int | None  # of the whole input; None if unknown
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    model: str
    order: int | None
    device: str  # device and precision, and why they were chosen
    output: str  # codec or format
    stages: dict[str, float]  # rate of each stage alone, in processing order
    rate: float  # all stages together, from file to file
    reused: float | None  # share of the tiles that were reused from the previous frame
    used: float  # share of processor time used by all stages together
    busy: Busy  # use of the processor by other programs
    last: Last | None  # result of measuring the same before; None on a busy machine
    candidates: tuple[Candidate, ...]  # those with a network first, from the best quality; then those without

    @property
    def slowest(self) -> str:
        """Name of the slowest stage, which limits the others."""
        return min(self.stages, key=self.stages.__getitem__)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each stage in the time that all stages would take one after the other."""
        total = sum(1 / rate for rate in self.stages.values())
        return {name: 1 / rate / total for name, rate in self.stages.items()}

    @property
    def overlap(self) -> float:
        """Rate of all stages together / rate of the slowest stage alone: 1 = the others cost no time."""
        return self.rate / self.stages[self.slowest]

    @property
    def megapixels_per_second(self) -> float:
        """Output megapixels per second."""
        return self.rate * self.out_size[0] * self.out_size[1] / 1e6

    @property
    def best(self) -> Candidate | None:
        """Candidate with the highest quality, the fastest of several; None on a busy machine."""
        if self.busy.is_busy:
            return None
        return max((c for c in self.candidates if c.rate and c.quality == self._highest), key=lambda c: c.rate or 0)

    @property
    def fastest(self) -> Candidate | None:
        """Fastest candidate with a network, if the best one has a network; None on a busy machine."""
        if self.busy.is_busy:
            return None
        usable = [c for c in self.candidates if c.note != "no network" or c.quality == self._highest]
        return max(usable, key=lambda c: c.rate or 0)

    @property
    def _highest(self) -> int:
        return min(c.quality for c in self.candidates)

    @property
    def speed_up(self) -> float | None:
        """Rate of all stages together / the rate of the last time."""
        return None if self.last is None else self.rate / self.last.rate

    def to_dict(self) -> dict[str, Any]:
        """Return all values and ratios as a JSON object."""
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
            "busy": self.used,
            "load": self.busy.others / self.busy.cores,
            **self.busy.to_dict(),
            "commands": [
                {
                    "command": c.command,
                    "words": c.words,
                    "note": c.note,
                    "alone_fps": c.alone,
                    "fps": c.rate,
                    "seconds": c.seconds,
                }
                for c in self.candidates
            ],
            "best": self.best.command if self.best else None,
            "fastest": self.fastest.command if self.fastest else None,
            "last": None if self.last is None else asdict(self.last) | {"times_as_fast": self.speed_up},
        }


def report(
    found: StageBench, table: Callable[[list[str], list[list[str]]], str], wrap: Callable[[str], str] = str
) -> str:
    """Return the result as text; `table` formats a header and rows of cells, `wrap` breaks a long line."""
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
            "" if c.rate is None else _number(c.rate),
            "" if c.seconds is None else in_words(c.seconds),
            _remark(found, c),
        ]
        for c in found.candidates
    ]
    parts = (
        wrap(f"{found.input}{length}: {sizes}, {found.model}{dial}, {found.output}"),
        wrap(found.device),
        "",
        table(["stage", "frames/s", "ms/frame", "share"], [*stages, together]),
        "",
        *map(wrap, _verdict(found)),
        "",
        table(["command", "network alone", "frames/s", whole, ""], commands),
        "",
        *map(wrap, _conclusion(found)),
    )
    return "\n".join(parts)


def _remark(found: StageBench, candidate: Candidate) -> str:
    names = {"best": found.best, "fastest": found.fastest}
    return ", ".join(
        [name for name, one in names.items() if one is candidate] + [candidate.note] * bool(candidate.note)
    )


def _verdict(found: StageBench) -> Iterator[str]:
    """Yield lines that name the bottleneck and a remedy."""
    yield f"{found.slowest} is the slowest stage; all stages together reach {found.overlap:.2f} of its speed"
    if found.overlap < GOAL:
        others = "other programs compete for it" if found.busy.is_busy else "the stages wait for each other"
        reason = "the stages share it" if found.used >= _FULL else others
        yield f"this is less than {GOAL}: dagan uses {found.used:.0%} of the processor, {reason}"
    yield f"{_number(found.megapixels_per_second)} output megapixels per second"
    if found.reused:
        yield f"{found.reused:.0%} of the tiles did not change since the previous frame and were reused"
    if found.slowest in _ADVICE and not found.busy.is_busy:
        yield _ADVICE[found.slowest]


def _conclusion(found: StageBench) -> Iterator[str]:
    """Yield the fastest and the best way with their commands, and a comparison with the last time; or why not."""
    best, fastest = found.best, found.fastest
    if best is not None and fastest is not None:
        named = [("fastest", fastest), ("best quality", best)]
        for what, one in named if best is not fastest else [("fastest and best quality", best)]:
            time = "" if one.seconds is None else f", {in_words(one.seconds)} for all of it"
            yield f"{what}: {one.words}{time}"
            yield f"  {one.command}"
    if found.last is not None:
        yield found.last.compared(found.rate)
    yield from found.busy.lines


def in_words(seconds: float) -> str:
    """Format a duration roughly: 0.4 s, 41 s, 12 min, 2.5 h, 3 d."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if name != "h" else f"{seconds / unit:.1f} h"
    return f"{seconds / 86400:.0f} d"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
