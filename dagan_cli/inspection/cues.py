"""Text and times of subtitles, independent of their format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from av.error import FFmpegError
from av.packet import Packet

TEXT_CODECS = {  # their packets hold text, not bitmaps
    *("subrip", "ass", "mov_text", "webvtt", "text", "microdvd", "subviewer", "subviewer1", "sami", "stl", "jacosub"),
    *("mpl2", "pjs", "realtext", "vplayer"),
}
_STYLE = re.compile(r"\{[^}]*\}|<[^>]*>")  # ASS, which decoders convert the other formats to, and markup they leave
_INSTANT = Fraction(1, 200)  # seconds: shorter than anyone can read, so it is rounding


@dataclass(frozen=True, slots=True)
class Cue:
    """Text on the screen from `start` to `end`, in seconds; lines in alphabetical order."""

    start: Fraction
    end: Fraction
    lines: tuple[str, ...]


def words_of(packet: Packet) -> Iterator[str]:
    """Yield the lines of a subtitle packet without styling; a damaged packet yields nothing."""
    try:
        parts = packet.decode()
    except FFmpegError:
        return
    for part in parts:
        text = getattr(part, "dialogue", b"").decode("utf-8", "replace")
        text = _STYLE.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
        yield "\n".join(line.strip() for line in text.splitlines() if line.strip())


def on_screen(cues: Iterable[tuple[Fraction, Fraction, str]]) -> Iterator[Cue]:
    """Yield the text on the screen at each moment, from (start, end, text), however the cues are split or joined."""
    cues = [cue for cue in cues if cue[2] and cue[1] > cue[0]]
    times = sorted({time for start, end, _ in cues for time in (start, end)})
    begins: dict[Fraction, set[int]] = {time: set() for time in times}
    ends: dict[Fraction, set[int]] = {time: set() for time in times}
    for number, (start, end, _) in enumerate(cues):
        begins[start].add(number)
        ends[end].add(number)
    shown: set[int] = set()
    now: Cue | None = None
    for time, following in pairwise(times):
        shown = (shown | begins[time]) - ends[time]
        lines = tuple(sorted(line for number in shown for line in cues[number][2].splitlines()))
        if following - time < _INSTANT or not lines:
            continue
        if now and now.lines == lines and time - now.end < _INSTANT:
            now = Cue(now.start, following, lines)
            continue
        if now:
            yield now
        now = Cue(time, following, lines)
    if now:
        yield now
