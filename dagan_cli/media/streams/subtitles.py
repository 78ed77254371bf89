"""Convert text subtitles between the formats of containers: the text, with bold, italic and underline.

The formats are parsed here and not by FFmpeg's decoders, which interpret ASS markup in other formats too, and end a
cue at a blank line or at an invalid byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from itertools import chain, groupby, pairwise
from operator import itemgetter

Run = tuple[str, int]  # a piece of text and its face, a sum of the flags below
BOLD, ITALIC, UNDERLINE = 1, 2, 4  # flags of 3GPP TS 26.245

READABLE = ("subrip", "text", "ass", "ssa", "webvtt", "mov_text")
WRITTEN = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}  # container -> codec
_AT_ONCE = 200  # limit of cues shown at the same time
LONGEST = 65535  # bytes per cue, the limit of mov_text; longer text is not a plausible subtitle

# FFmpeg's mov_text encoder makes the track header from this, which players require; no cue is passed to the encoder.
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, BackColour, Bold, Italic, Underline, Alignment
Style: Default,Arial,16,&Hffffff,&H0,0,0,0,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_TX3G_REST = b"\x10\xff\xff\xff\xff"  # 16 px and white, as in the header

_FACES = {"b": BOLD, "i": ITALIC, "u": UNDERLINE}
_TAGS_OF_SRT = re.compile(r"<(/?)(b|i|u|s|font)(?:\s[^<>]*+)?>|\{\\[^{}]*+\}", re.IGNORECASE)
_TAGS_OF_VTT = re.compile(r"<(/?)([^<>\s.]*+)[^<>]*+>")
_BLOCKS_OF_ASS = re.compile(r"(?<!\\)\{([^{}]*+)\}")
_OVERRIDES_OF_ASS = re.compile(r"\\(?:([biup])(\d{0,4})(?=\s*(?:\\|$))|(r))")
_NEW_LINES = re.compile(r"\r\n?")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


@dataclass(frozen=True, slots=True)
class Cue:
    """Text shown from `start` until before `end`, in ticks."""

    start: int
    end: int
    runs: list[Run]


def read_cue(codec: str, data: bytes) -> list[Run]:
    """Return the text of one packet of a codec in `READABLE`; [] if it is empty. Invalid bytes become U+FFFD."""
    runs = _read_mov_text(data) if codec == "mov_text" else _read_marked(codec, data[:LONGEST])
    clean = ((_NEW_LINES.sub("\n", text).replace("\0", ""), face) for text, face in runs)
    faces = groupby((run for run in clean if run[0]), key=itemgetter(1))
    joined = [("".join(text for text, _ in same), face) for face, same in faces]
    return joined if any(text.strip() for text, _ in joined) else []


def write_cue(codec: str, runs: Iterable[Run]) -> bytes:
    """Encode one packet of subrip, webvtt or mov_text."""
    if codec == "mov_text":
        return _write_mov_text(runs)
    marked = "".join(_marked(text if codec == "subrip" else _escaped(text), face) for text, face in runs)
    return _BLANK_LINES.sub("\n", marked.strip("\n")).encode("utf-8", "replace")  # a blank line would end the cue


class OneAtATime:
    """Merges overlapping cues into consecutive ones, as mp4 requires: texts shown at the same time become one cue."""

    def __init__(self) -> None:
        self.crowded_out = 0  # cues dropped because too many overlap
        self._cues: list[Cue] = []
        self._now = 0  # everything before this time is final

    def add(self, cue: Cue) -> None:
        if len(self._cues) == _AT_ONCE:
            self.crowded_out += 1
        elif cue.end > self._now:
            self._cues.append(cue)

    def settled(self, time: int | None) -> Iterator[Cue]:
        """Yield the cues that end by `time`, once all cues that start before it were added; None: all that are left."""
        while self._cues:
            begin = max(self._now, min(cue.start for cue in self._cues))
            shown = [cue for cue in self._cues if cue.start <= begin]
            end = min([cue.end for cue in shown] + [cue.start for cue in self._cues if cue.start > begin])
            if time is not None and end > time:  # another cue may start before this one ends
                return
            lines = chain.from_iterable([("\n", 0), *cue.runs] for cue in shown)
            yield Cue(begin, end, list(lines)[1:])
            self._now = end
            self._cues = [cue for cue in self._cues if cue.end > end]


def _read_marked(codec: str, data: bytes) -> Iterator[Run]:
    text = data.decode("utf-8", "replace")
    if codec in ("ass", "ssa"):
        return _read_ass(text.split(",", 8)[-1])
    if codec == "webvtt":
        return ((unescape(words), face) for words, face in _read_tags(text, _TAGS_OF_VTT))
    return _read_tags(text, _TAGS_OF_SRT) if codec == "subrip" else iter([(text, 0)])


def _read_tags(text: str, tags: re.Pattern[str]) -> Iterator[Run]:
    face, at = 0, 0
    for tag in tags.finditer(text):
        yield text[at : tag.start()], face
        at = tag.end()
        changed = _FACES.get((tag[2] or "").lower(), 0)
        face = face & ~changed if tag[1] else face | changed
    yield text[at:], face


def _read_ass(text: str) -> Iterator[Run]:
    """Yield the text between the {overrides}; drawings are skipped."""
    face, drawing, at = 0, False, 0
    for block in chain(_BLOCKS_OF_ASS.finditer(text), [None]):
        words = text[at : block.start() if block else None]
        if not drawing:
            for sign, meant in (
                ("\\N", "\n"),
                ("\\n", "\n"),
                ("\\h", "\N{NO-BREAK SPACE}"),
                ("\\{", "{"),
                ("\\}", "}"),
            ):
                words = words.replace(sign, meant)
            yield words, face
        if block is None:
            return
        at = block.end()
        for name, value, reset in _OVERRIDES_OF_ASS.findall(block[1]):
            number = int(value or 0)
            if reset:
                face = 0
            elif name == "p":
                drawing = number > 0
            else:
                on = number == 1 or number >= 600  # 600 and above is the weight of a bold font
                face = face | _FACES[name] if on else face & ~_FACES[name]


def _read_mov_text(data: bytes) -> Iterator[Run]:
    """Parse 3GPP TS 26.245, 5.17: length, text, and boxes; the "styl" box marks bold characters and other styles."""
    size = int.from_bytes(data[:2], "big")
    raw, boxes = data[2 : 2 + size], data[2 + size :]
    text = raw.decode("utf-16" if raw[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8", "replace")
    at = 0
    for first, last, face in _styles(boxes):
        if at <= first < last <= len(text):
            yield text[at:first], 0
            yield text[first:last], face & (BOLD | ITALIC | UNDERLINE)
            at = last
    yield text[at:], 0


def _styles(boxes: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield first character, the one after the last, and face of each style record."""
    at = 0
    while at + 10 <= len(boxes):
        end = at + max(8, int.from_bytes(boxes[at : at + 4], "big"))
        if boxes[at + 4 : at + 8] == b"styl":
            for record in range(at + 10, min(end, len(boxes)) - 11, 12):
                yield *struct.unpack_from(">HH", boxes, record), boxes[record + 6]
        at = end


def _write_mov_text(runs: Iterable[Run]) -> bytes:
    runs = list(runs)
    text = "".join(text for text, _ in runs).encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
    ends = [0]
    for words, _ in runs:
        ends.append(min(ends[-1] + len(words), len(text)))
    records = [
        struct.pack(">HHHB5s", first, last, 1, face, _TX3G_REST)
        for (first, last), (_, face) in zip(pairwise(ends), runs, strict=True)
        if face and first < last
    ]
    raw = text.encode()
    styles = struct.pack(">I4sH", 10 + 12 * len(records), b"styl", len(records)) if records else b""
    return len(raw).to_bytes(2, "big") + raw + styles + b"".join(records)


def _marked(text: str, face: int) -> str:
    for tag, flag in _FACES.items():
        if face & flag:
            text = f"<{tag}>{text}</{tag}>"
    return text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
