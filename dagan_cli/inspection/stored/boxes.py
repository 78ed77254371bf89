"""What AVIF, HEIC and JPEG 2000 files store: their boxes, by ISO/IEC 14496-12, 23008-12 and 15444-1, annex I."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dagan_cli.inspection.stored.facts import LONGEST, MOST_PARTS, Bytes, Stored, Unclear

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_HEADER_BYTES = {b"meta": 4}
_ALPHA = (b":auxiliary:alpha", b":hevc:2015:auxid:1")

Place = tuple[bytes, int, int]  # kind, start and end of the content


def look(data: Bytes) -> Stored:
    found = Stored()
    outer = list(_boxes(data, 0, data.size))
    for kind, start, end in outer:
        if kind == b"meta":
            _look_at_items(data, start + 4, end, found)
        elif kind == b"mpvd":
            found.others["clip of a motion photo"] = end - start
        elif kind == b"jp2h":
            _look_at_jp2(data, start, end, found)
        elif kind == b"uuid" and data.part(start, min(16, end - start)) == _XMP_UUID:
            found.packet = data.part(start + 16, end - start - 16)
        elif kind == b"jp2c":
            _look_at_codestream(data, start, found)
    return found


def look_at_codestream(data: Bytes) -> Stored:
    found = Stored()
    _look_at_codestream(data, 0, found)
    return found


def _boxes(data: Bytes, at: int, end: int) -> Iterator[Place]:
    for _ in range(MOST_PARTS):
        if at + 8 > end:
            return
        size, kind = data.numbers(">I4s", at)
        start = at + 8
        if size == 1:
            (size,) = data.numbers(">Q", start)
            start += 8
        close = end if size == 0 else at + size
        if not start <= close <= end:
            raise Unclear("a box is larger than the one around it")
        yield kind, start, close
        at = close
    raise Unclear("it has too many boxes")


def _look_at_codestream(data: Bytes, at: int, found: Stored) -> None:
    right, bottom, left, top = data.numbers(">4I", at + 8)
    (count,) = data.numbers(">H", at + 40)
    found.size = right - left, bottom - top
    found.bits = max(8, *((depth & 127) + 1 for depth in data.part(at + 42, 3 * count)[::3]), 8)


def _look_at_jp2(data: Bytes, start: int, end: int, found: Stored) -> None:
    for kind, at, close in _boxes(data, start, end):
        if kind == b"colr" and data.part(at, 1) == b"\2":
            found.profile = data.part(at + 3, close - at - 3)


def _look_at_items(data: Bytes, start: int, end: int, found: Stored) -> None:
    parts = {kind: (at, close) for kind, at, close in _boxes(data, start, end)}
    if b"pitm" not in parts or b"iprp" not in parts:
        return
    at, close = parts[b"pitm"]
    primary = int.from_bytes(data.part(at + 4, close - at - 4), "big")
    properties: list[Place] = []
    owned: dict[int, list[int]] = {}
    for kind, at, close in _boxes(data, *parts[b"iprp"]):
        if kind == b"ipco":
            properties = list(_boxes(data, at, close))
        elif kind == b"ipma":
            owned = _associations(data.part(at, close - at))
    own = {item: [properties[n - 1] for n in numbers if 0 < n <= len(properties)] for item, numbers in owned.items()}
    for kind, at, close in own.get(primary, []):
        if kind == b"ispe":
            found.size = data.numbers(">II", at + 4)
        elif kind == b"pixi":
            found.bits = max(8, *data.part(at + 5, close - at - 5), 8)
        elif kind == b"colr" and data.part(at, 4) == b"nclx":
            found.points = data.numbers(">HH", at + 4)
        elif kind == b"colr":
            found.profile = data.part(at + 4, min(close - at - 4, LONGEST))
    kinds: dict[int, bytes] = {}
    if b"iinf" in parts:
        at, close = parts[b"iinf"]
        kinds = _item_kinds(data.part(at, close - at))
    if b"tmap" in kinds.values():
        found.others["gain map"] = 0
    for item, boxes in own.items():
        for kind, at, close in boxes:
            if kind == b"auxC" and item != primary:
                what = data.part(at + 4, close - at - 4).split(b"\0")[0]
                if not what.endswith(_ALPHA):
                    found.others[what.decode("latin-1").rsplit(":", 1)[-1] + " image"] = 0
    if b"iloc" in parts:
        packets = [item for item, kind in kinds.items() if kind == b"mime"]
        at, close = parts[b"iloc"]
        places = _locations(data.part(at, close - at))
        for item in packets:
            for offset, length in places.get(item, [])[:1]:
                text = data.part(offset, length)
                if b"rdf" in text or b"xmpmeta" in text:
                    found.packet = text


def _associations(content: bytes) -> dict[int, list[int]]:
    form, wide = (">I", 4) if content[0] else (">H", 2)
    (count,) = struct.unpack_from(">I", content, 4)
    owned: dict[int, list[int]] = {}
    at = 8
    for _ in range(min(count, MOST_PARTS)):
        (item,) = struct.unpack_from(form, content, at)
        at += wide
        step = 2 if content[3] & 1 else 1
        numbers = [int.from_bytes(content[at + 1 + step * n :][:step], "big") for n in range(content[at])]
        owned.setdefault(item, []).extend(n & (0x7FFF if step == 2 else 0x7F) for n in numbers)
        at += 1 + step * len(numbers)
    return owned


def _item_kinds(content: bytes) -> dict[int, bytes]:
    kinds: dict[int, bytes] = {}
    at = 8 if content[0] else 6
    while at + 20 <= len(content) and len(kinds) < MOST_PARTS:
        size, _, version = struct.unpack_from(">I4sB", content, at)
        if size < 12:
            break
        if version >= 2:
            wide = 4 if version == 3 else 2
            item = int.from_bytes(content[at + 12 : at + 12 + wide], "big")
            kinds[item] = content[at + 14 + wide : at + 18 + wide]
        at += size
    return kinds


def _locations(content: bytes) -> dict[int, list[tuple[int, int]]]:
    """Return offset and length of the extents of each item that is in the file itself."""
    version = content[0]
    offset_size, length_size, base_size = content[4] >> 4, content[4] & 15, content[5] >> 4
    index_size = content[5] & 15 if version else 0
    wide = 4 if version == 2 else 2
    at = 6

    def take(size: int) -> int:
        nonlocal at
        at += size
        if at > len(content):
            raise Unclear("the places of its items are cut short")
        return int.from_bytes(content[at - size : at], "big")

    places: dict[int, list[tuple[int, int]]] = {}
    for _ in range(min(take(wide), MOST_PARTS)):
        item = take(wide)
        method = take(2) & 15 if version else 0
        take(2)
        base = take(base_size)
        for _ in range(min(take(2), MOST_PARTS)):
            take(index_size)
            offset, length = take(offset_size), take(length_size)
            if method == 0:
                places.setdefault(item, []).append((base + offset, length))
    return places
