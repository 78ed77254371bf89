"""Tables and paragraphs that fit the width of the terminal: wrapped at spaces, long names cut in the middle."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from unicodedata import category, east_asian_width

from dagan_cli.words import printable

_LEAST = 14  # columns; a column of text that would become narrower makes the table a list
_NARROWEST = 30  # columns; on narrower terminals lines are longer than them
_GAP = "  "
_DOTS = "…"


def room() -> int | None:
    """Return the columns for results on stdout: those of $COLUMNS or of the terminal; None if they go elsewhere."""
    if not os.environ.get("COLUMNS", "").isdecimal() and not sys.stdout.isatty():
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def columns(text: str) -> int:
    """Return the columns that a text takes on a terminal: Chinese characters take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(0 if category(c) in ("Mn", "Me") else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def shortened(text: str, width: int) -> str:
    """Cut the middle out of a text that takes more than `width` columns, which leaves the suffix of a file's name."""
    if columns(text) <= width:
        return text
    head, tail = text, ""
    while columns(head) > (width - 1) // 2:
        head = head[:-1]
    for c in reversed(text[len(head) :]):
        if columns(head) + 1 + columns(c + tail) > width:
            break
        tail = c + tail
    return head + _DOTS + tail


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """Break a line at spaces, after `width` columns at most; further lines start with `indent`. None: unlimited."""
    if width is None:
        return text
    return "\n".join((indent if i else "") + line for i, line in enumerate(_lines(text, width, len(indent))))


def table(
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    left: int = 1,
    width: int | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """Format rows as plain columns; the first `left` columns are left-aligned, the others right-aligned.

    The last cell of a row that is shorter than the others extends over the columns that it lacks. Within `width`
    columns, those of `room` if None, left-aligned columns become narrower; if they would be too narrow, each row
    becomes a few lines that name its values, by `names` where a heading is clear only next to others.
    """
    width = room() if width is None else width
    cells = [[printable(cell) for cell in row] for row in (*(() if header is None else (header,)), *rows)]
    count = max(map(len, cells))
    full = [row for row in cells if len(row) == count]
    widths = [max(columns(row[i]) for row in full) for i in range(count)]
    short = [row for row in cells if len(row) < count]
    for i in range(min(left, count)):
        widths[i] = max([widths[i], *(columns(row[i]) for row in short if len(row) > i + 1)])
    if width is None or _total(widths) <= width:
        return "\n".join(_row(row, widths, left, width) for row in cells)
    narrower = _narrowed(widths, left, width)
    if narrower is None and header is not None:
        return "\n".join(_as_list(names or cells[0], row, width) for row in cells[1:])
    return "\n".join(_row(row, narrower or widths, left, width) for row in cells)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _narrowed(widths: list[int], left: int, width: int) -> list[int] | None:
    """Return column widths that fit: the widest left-aligned columns give way. None if too little would remain."""
    widths = list(widths)
    while (excess := _total(widths) - width) > 0:
        widest = max(range(min(left, len(widths))), key=widths.__getitem__)
        if widths[widest] <= _LEAST:
            return None
        others = [w for i, w in enumerate(widths) if i != widest and i < left]
        least = max([_LEAST, *(w for w in others if w < widths[widest])])
        widths[widest] -= max(1, min(excess, widths[widest] - least))
    return widths


def _row(row: Sequence[str], widths: Sequence[int], left: int, width: int | None) -> str:
    """Format one row, in as many lines as its longest cell needs."""
    own = [*widths[: len(row) - 1]]
    rest = _total(widths[len(row) - 1 :])
    if len(row) < len(widths):  # the last cell extends to the right as far as there is room
        rest = max(rest, columns(row[-1])) if width is None else max(rest, width - sum(own) - len(_GAP) * len(own))
    own.append(rest)
    cells = [list(_lines(cell, w)) for cell, w in zip(row, own, strict=True)]
    lines = []
    for number in range(max(map(len, cells))):
        parts = [cell[number] if number < len(cell) else "" for cell in cells]
        last = parts.pop() if len(row) < len(widths) else None  # its room may be unlimited
        aligned = [
            part + " " * (w - columns(part)) if i < left or last is not None else " " * (w - columns(part)) + part
            for i, (part, w) in enumerate(zip(parts, own, strict=False))
        ]
        lines.append(_GAP.join([*aligned, *([] if last is None else [last])]).rstrip())
    return "\n".join(lines)


def _as_list(header: Sequence[str], row: Sequence[str], width: int) -> str:
    """Format a row as a line that holds its first cells, and indented lines of its other values with their names."""
    first = 1 + (not header[0] and len(row) > 2)  # a first column without a name is a mark of the second
    indent = _GAP * first
    title = shortened(_GAP.join(row[:first]), width)
    names = [*header[first : len(row) - (len(row) < len(header))], *[""] * len(row)]  # a cell that extends has none
    pairs = [f"{name}: {cell}" if name else cell for name, cell in zip(names, row[first:], strict=False) if cell]
    lines: list[str] = []
    for pair in pairs:
        if lines and columns(f"{lines[-1]}{_GAP}{pair}") <= width - len(indent):
            lines[-1] += _GAP + pair
        else:
            lines.append(pair)
    folded = (part for line in lines for part in _lines(line, width - len(indent), len(_GAP)))
    return "\n".join([title, *(indent + line for line in folded)])


def _lines(text: str, width: int, indent: int = 0) -> Iterator[str]:
    """Break a text at spaces into lines of at most `width` columns, the further ones narrower by `indent`."""
    line = ""
    for word in text.split(" ") if columns(text) > width else [text]:
        if line and columns(line) + 1 + columns(word) > width:
            yield line
            line, width, indent = "", width - indent, 0
        word = shortened(word, width)
        line = f"{line} {word}" if line else word
    yield line
