"""Walk the elements of a Matroska file (RFC 8794, RFC 9559). Damage ends a walk; every step has a bound."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

SEGMENT, CLUSTER, TRACKS, TRACK, VIDEO = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xE0
_MOST = 100_000  # elements of one parent
_LARGEST = 1 << 16  # bytes of a value that is read

Element = tuple[int, int, int]  # ID, first byte and end of the content


def elements(file: BinaryIO, begin: int, end: int) -> Iterator[Element]:
    """Yield the elements between two positions; one of unknown size extends to `end`."""
    for _ in range(_MOST):
        if begin >= end:
            return
        file.seek(begin)
        head = file.read(12)
        name, length = _number(head, 4, marker=True)
        size, more = _number(head[length:], 8, marker=False)
        if not length or not more:
            return
        content = begin + length + more
        unknown = size == (1 << 7 * more) - 1
        begin = end if unknown else min(content + size, end)
        yield name, content, begin


def children(file: BinaryIO, parent: Element, name: int) -> Iterator[Element]:
    """Yield the direct children of one ID."""
    yield from (child for child in elements(file, parent[1], parent[2]) if child[0] == name)


def segment(file: BinaryIO) -> Element | None:
    """Return the segment of a Matroska file; None if it is another file."""
    file.seek(0, 2)
    size = file.tell()
    for number, element in enumerate(elements(file, 0, size)):
        if number == 0 and element[0] != 0x1A45DFA3:
            return None
        if element[0] == SEGMENT:
            return element
    return None


def integer(file: BinaryIO, element: Element, *, signed: bool = False) -> int:
    return int.from_bytes(content(file, element)[:8], "big", signed=signed)


def real(file: BinaryIO, element: Element) -> float:
    """Return a floating-point value; 0 if it is damaged."""
    data = content(file, element)
    form = {4: ">f", 8: ">d"}.get(len(data))
    return float(struct.unpack(form, data)[0]) if form else 0.0


def content(file: BinaryIO, element: Element) -> bytes:
    """Return the bytes of an element, at most 64 KiB."""
    file.seek(element[1])
    return file.read(min(element[2] - element[1], _LARGEST))


def _number(data: bytes, longest: int, *, marker: bool) -> tuple[int, int]:
    """Return a number of variable length, with or without its length marker, and its length; (0, 0) if damaged."""
    length = 9 - data[0].bit_length() if data else 9
    if length > longest or len(data) < length:
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    return (value if marker else value & ((1 << 7 * length) - 1)), length
