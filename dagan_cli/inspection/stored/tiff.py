"""What a TIFF stores: the tags of all its pages, by TIFF 6.0, BigTIFF and GeoTIFF 1.1."""

from __future__ import annotations

import struct

from dagan_cli.inspection.stored.facts import LONGEST, MOST_PARTS, Bytes, Stored, Unclear, resources_in

_FORMS = {1: "B", 2: "s", 3: "H", 4: "L", 6: "b", 7: "s", 8: "h", 9: "l", 11: "f", 12: "d", 16: "Q", 17: "q", 18: "Q"}
_PLACE = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
_READ = (254, 255, 256, 257, 258, 262, 277, 700, 34377, 34675, *_PLACE)
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # photometric interpretation -> colours; 1 for all others

Tags = dict[int, tuple]


def look(data: Bytes) -> Stored:
    pages = _pages(data)
    is_copy = [bool(_first(tags, 254) & 1) or _first(tags, 255) == 2 for tags in pages]
    is_mask = [bool(_first(tags, 254) & 4) or _first(tags, 262) == 4 for tags in pages]
    main = next((n for n in range(len(pages)) if not is_copy[n] and not is_mask[n]), 0)
    tags = pages[main]
    found = Stored(size=_size(tags), bits=max(8, *tags.get(258, (1,))))
    found.copies = [_size(page) for page, copy in zip(pages, is_copy, strict=True) if copy and page is not tags]
    found.further_samples = max(0, _first(tags, 277, 1) - _COLOURS.get(_first(tags, 262), 1))
    found.packet, found.profile = _bytes(tags, 700), _bytes(tags, 34675)
    found.resources = resources_in(_bytes(tags, 34377))
    for tag in _PLACE:
        if tag in tags:
            text = isinstance(tags[tag][0], bytes)
            found.place[tag] = tags[tag][0].rstrip(b"\0").decode("latin-1") if text else tags[tag]
    return found


def _pages(data: Bytes) -> list[Tags]:
    head = data.part(0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if not order:
        raise Unclear("it does not start like a TIFF")
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    (at,) = data.numbers(f"{order}{'Q' if big else 'L'}", 8 if big else 4)
    pages: list[Tags] = []
    seen: set[int] = set()
    while at and at not in seen:
        if len(pages) >= MOST_PARTS:
            raise Unclear("it has too many pages")
        seen.add(at)
        tags, at = _directory(data, at, order, big)
        pages.append(tags)
    if not pages:
        raise Unclear("it has no pages")
    return pages


def _directory(data: Bytes, at: int, order: str, big: bool) -> tuple[Tags, int]:
    wide = "Q" if big else "L"
    (count,) = data.numbers(f"{order}{'Q' if big else 'H'}", at)
    at += 8 if big else 2
    size, room = (20, 8) if big else (12, 4)
    if count > MOST_PARTS:
        raise Unclear("a directory has too many tags")
    table = data.part(at, count * size)
    tags: Tags = {}
    for entry in range(0, count * size, size):
        tag, kind, number = struct.unpack_from(f"{order}HH{wide}", table, entry)
        if tag not in _READ or kind not in _FORMS or number < 1:
            continue
        form = f"{order}{number}{_FORMS[kind]}"
        length = number * struct.calcsize(f"={_FORMS[kind]}")
        if length > LONGEST:
            raise Unclear(f"tag {tag} is too long")
        place = entry + size - room
        if length <= room:
            tags[tag] = struct.unpack_from(form, table, place)
        else:
            tags[tag] = data.numbers(form, struct.unpack_from(f"{order}{wide}", table, place)[0])
    return tags, data.numbers(f"{order}{wide}", at + count * size)[0]


def _first(tags: Tags, tag: int, default: int = 0) -> int:
    return tags.get(tag, (default,))[0]


def _size(tags: Tags) -> tuple[int, int]:
    return _first(tags, 256), _first(tags, 257)


def _bytes(tags: Tags, tag: int) -> bytes:
    value = tags.get(tag, (b"",))
    if isinstance(value[0], bytes):
        return value[0]
    return bytes(part & 255 for part in value)
