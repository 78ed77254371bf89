"""Boxes of ISO media files: colour of AVIF and HEIC images, and images that a file holds besides the shown one.

Standards: ISO/IEC 14496-12 (boxes), 23008-12 (items and properties), https://aomediacodec.github.io/av1-avif/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from dagan_cli.media.images.blocks.code_points import CodePoints

# Boxes that hold boxes, and the bytes before the first of them.
_HOLDERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8}
_SAMPLE_ENTRIES = {b"av01": 78, b"hvc1": 78, b"hev1": 78}  # are in `stsd`
_DEEPEST = 12
_MOST_BOXES = 20_000  # a file with more is damaged or hostile
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


@dataclass(frozen=True, slots=True)
class Box:
    """A box: kind, kinds of the boxes around it, and where its content is in the file."""

    kind: bytes
    path: tuple[bytes, ...]
    start: int
    end: int


@dataclass(slots=True)
class Items:
    """The images of a file, by number, and their properties."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)  # "av01", "hvc1", "grid", "tmap", "Exif" ...
    content_types: dict[int, bytes] = field(default_factory=dict)  # of items of kind "mime"
    texts: list[bytes] = field(default_factory=list)  # kind, name and content type of each
    hidden: set[int] = field(default_factory=set)
    properties: list[Box] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)  # item -> indices of properties, from 0
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)  # kind, from, to

    def of(self, item: int) -> list[Box]:
        """Return the properties of an item."""
        return [self.properties[at] for at in self.owned.get(item, []) if at < len(self.properties)]


def walk(data: bytes) -> Iterator[Box]:
    """Yield all boxes, outer ones first. Stops quietly where a size makes no sense."""
    todo: list[tuple[int, int, tuple[bytes, ...]]] = [(0, len(data), ())]
    seen = 0
    while todo:
        at, end, path = todo.pop()
        while at + 8 <= end and seen < _MOST_BOXES:
            seen += 1
            size, kind = struct.unpack_from(">I4s", data, at)
            start = at + 8
            if size == 1 and at + 16 <= end:
                size, start = struct.unpack_from(">Q", data, at + 8)[0], at + 16
            close = end if size == 0 else at + size
            if not start <= close <= end:
                break
            yield Box(kind, path, start, close)
            inner = _SAMPLE_ENTRIES.get(kind) if path[-1:] == (b"stsd",) else _HOLDERS.get(kind)
            if inner is not None and len(path) < _DEEPEST and start + inner <= close:
                todo.append((start + inner, close, (*path, kind)))
            at = close


def read_items(data: bytes) -> Items:
    """Return the items of the file's `meta` box. Raises struct.error or IndexError for damaged boxes."""
    items = Items()
    for box in walk(data):
        content = data[box.start : box.end] if box.path[:1] == (b"meta",) else b""
        if box.path == (b"meta",) and box.kind == b"pitm":
            items.primary = struct.unpack_from(">I" if content[0] else ">H", content, 4)[0]
        elif box.path == (b"meta", b"iprp", b"ipco"):
            items.properties.append(box)
        elif box.path == (b"meta", b"iprp") and box.kind == b"ipma":
            _read_associations(content, items)
        elif box.path == (b"meta",) and box.kind == b"iinf":
            _read_infos(content, items)
        elif box.path == (b"meta",) and box.kind == b"iref":
            _read_references(content, items)
    return items


def colour_of(data: bytes) -> CodePoints | None:
    """Return the code points of the primary image: of its `colr` box of type nclx, else of its AV1 header; or None."""
    items = read_items(data)
    for box in items.of(items.primary):
        if box.kind == b"colr" and data[box.start : box.start + 4] == b"nclx" and box.end - box.start >= 11:
            primaries, transfer = struct.unpack_from(">HH", data, box.start + 4)
            return _code_points(primaries, transfer)
    if items.kinds.get(items.primary) != b"av01":
        return None
    for header in _sequence_headers(data):
        if (at := _colour_bits(header)) is not None and at + 16 <= 8 * len(header):
            both = int.from_bytes(header, "big") >> 8 * len(header) - at - 16
            return _code_points(both >> 8 & 255, both & 255)
    return None


def light_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return mastering display and content light of the primary image as PNG chunks mDCV and cLLI."""
    items, chunks = read_items(data), []
    for box in items.of(items.primary):
        content = data[box.start : box.end]
        if box.kind == b"mdcv" and len(content) == 24:
            green, blue, red, white = (content[at : at + 4] for at in range(0, 16, 4))
            chunks.append((b"mDCV", red + green + blue + white + content[16:]))
        elif box.kind == b"clli" and len(content) == 4:
            most, mean = struct.unpack(">HH", content)
            chunks.append((b"cLLI", struct.pack(">II", most * 10000, mean * 10000)))
    return chunks


def other_images(data: bytes) -> list[str]:
    """Name the images of the file besides the primary one and what it is made of: gain maps, depth maps, others."""
    items = read_items(data)
    parts = {to for kind, _, targets in items.references if kind == b"dimg" for to in targets}
    made_for = {source: kind for kind, source, _ in items.references if kind in (b"thmb", b"auxl")}
    names = []
    outer = {box.kind for box in walk(data) if not box.path}
    if b"mpvd" in outer:
        names.append("the clip of a motion photo")
    if b"moov" in outer and not _is_animation(data):
        names.append("an image sequence")
    for item, kind in items.kinds.items():
        if kind == b"tmap":
            names.append("a gain map for HDR screens")
        elif item == items.primary or item in parts or kind in (b"Exif", b"mime", b"uri "):
            continue
        elif made_for.get(item) == b"auxl":
            what = next((data[b.start + 4 : b.end].split(b"\0")[0] for b in items.of(item) if b.kind == b"auxC"), b"")
            if what not in _ALPHA:
                gain = "a gain map for HDR screens" if b"gainmap" in what.lower() else ""
                names.append(gain or ("a depth map" if b"depth" in what or what.endswith(b"auxid:2") else "a map"))
        elif item not in made_for and item not in items.hidden:
            names.append("another image")
    return list(dict.fromkeys(names))


def _is_animation(data: bytes) -> bool:
    """True for an AVIF whose track is read as its frames."""
    return b"avis" in data[8:64]


def with_colour(avif: bytes, points: CodePoints) -> bytes:
    """Return an AVIF file with these primaries and transfer characteristics in its nclx boxes and AV1 headers.

    Both are changed, as players read either. Sizes and offsets stay: only values that are there are replaced.
    """
    data = bytearray(avif)
    for box in walk(avif):
        if box.kind == b"colr" and avif[box.start : box.start + 4] == b"nclx":
            struct.pack_into(">HH", data, box.start + 4, points.primaries, points.transfer)
    avif = bytes(data)
    for header in _sequence_headers(avif):
        avif = avif.replace(header, _recoloured(header, points))
    return avif


def _code_points(primaries: int, transfer: int) -> CodePoints | None:
    """Return the colour of the decoded samples, which have full range; None for reserved numbers."""
    return CodePoints(primaries, transfer) if max(primaries, transfer) <= 255 else None


def _read_associations(content: bytes, items: Items) -> None:
    version, flags = content[0], content[3]
    (count,) = struct.unpack_from(">I", content, 4)
    at = 8
    for _ in range(min(count, len(content))):
        item = struct.unpack_from(">I" if version else ">H", content, at)[0]
        at += 4 if version else 2
        owned = items.owned.setdefault(item, [])
        for _ in range(content[at]):
            if flags & 1:
                index = struct.unpack_from(">H", content, at + 1)[0] & 0x7FFF
                at += 2
            else:
                index = content[at + 1] & 0x7F
                at += 1
            if index:
                owned.append(index - 1)
        at += 1


def _read_infos(content: bytes, items: Items) -> None:
    at = 8 if content[0] else 6
    while at + 8 <= len(content) and len(items.kinds) < _MOST_BOXES:
        (size,) = struct.unpack_from(">I", content, at)
        if not 12 <= size <= len(content) - at:
            break
        version, hidden = content[at + 8], content[at + 11] & 1
        if version >= 2:
            item = struct.unpack_from(">I" if version == 3 else ">H", content, at + 12)[0]
            behind = at + (18 if version == 3 else 16)  # also skips the protection's index
            items.kinds[item] = content[behind : behind + 4]
            items.texts.append(content[behind : at + size])
            if hidden:
                items.hidden.add(item)
            if items.kinds[item] == b"mime":
                items.content_types[item] = content[behind + 4 : at + size].split(b"\0")[1]
        at += size


def _read_references(content: bytes, items: Items) -> None:
    long = bool(content[0])
    at = 4
    while at + 8 <= len(content) and len(items.references) < _MOST_BOXES:
        size, kind = struct.unpack_from(">I4s", content, at)
        if not 12 <= size <= len(content) - at:
            break
        source, count = struct.unpack_from(">IH" if long else ">HH", content, at + 8)
        first = at + (14 if long else 12)
        count = min(count, (at + size - first) // (4 if long else 2))
        items.references.append((kind, source, struct.unpack_from(f">{count}{'I' if long else 'H'}", content, first)))
        at += size


def _sequence_headers(avif: bytes) -> Iterator[bytes]:
    """Yield each different AV1 sequence header with its OBU header, from the start of each coded image."""
    seen = set()
    for at in _coded_images(avif):
        if avif[at : at + 2] == b"\x12\0":  # a temporal delimiter
            at += 2
        if avif[at : at + 1] == b"\x0a" and at + 1 < len(avif) and avif[at + 1] < 128:
            header = avif[at : at + 2 + avif[at + 1]]
            if header not in seen:
                seen.add(header)
                yield header


def _coded_images(data: bytes) -> Iterator[int]:
    """Yield the offsets of the coded items, and of the first sample in each chunk of a track."""
    for box in walk(data):
        if box.kind in (b"stco", b"co64") and box.end - box.start >= 8:
            form = "I" if box.kind == b"stco" else "Q"
            (count,) = struct.unpack_from(">I", data, box.start + 4)
            count = min(count, (box.end - box.start - 8) // struct.calcsize(form))
            yield from struct.unpack_from(f">{count}{form}", data, box.start + 8)
        elif box.kind == b"iloc" and box.path == (b"meta",):
            yield from _item_offsets(data[box.start : box.end])


def _item_offsets(content: bytes) -> Iterator[int]:
    """Yield the offset of the first extent of each item of an `iloc` box; only items in the file itself."""

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(content):
            raise IndexError
        return int.from_bytes(content[at - size : at], "big")

    version, sizes = content[0], int.from_bytes(content[4:6], "big")
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    at = 6
    for _ in range(min(number(4 if version == 2 else 2), _MOST_BOXES)):
        number(4 if version == 2 else 2)
        method = number(2) & 15 if version in (1, 2) else 0
        number(2)  # index of the file, which is this one
        base = number(base_size)
        for extent in range(number(2)):
            number(index_size)
            offset = number(offset_size)
            number(length_size)
            if extent == 0 and method == 0:
                yield base + offset


def _recoloured(header: bytes, points: CodePoints) -> bytes:
    """Return a sequence header with other colours, if it declares any. Raises IndexError if it is cut short."""
    at = _colour_bits(header)
    if at is None:
        return header
    bits = int.from_bytes(header, "big")
    shift = 8 * len(header) - at - 16
    bits &= ~(0xFFFF << shift)
    return (bits | (points.primaries << 8 | points.transfer) << shift).to_bytes(len(header), "big")


def _colour_bits(header: bytes) -> int | None:
    """Return the bit at which the colour primaries of a sequence header start (AV1 specification, 5.5), or None."""
    at = 16  # behind the OBU header and size

    def read(count: int) -> int:
        nonlocal at
        at += count
        if at > 8 * len(header):
            raise IndexError
        return int.from_bytes(header, "big") >> 8 * len(header) - at & (1 << count) - 1

    profile = read(3)
    read(1)
    reduced = read(1)
    if reduced:
        read(5)
    else:
        if read(1):
            return None  # timing information: never written for images
        delays = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if delays and read(1):
                read(4)
    sizes = read(4) + 1, read(4) + 1
    read(sum(sizes))
    if not reduced and read(1):
        read(7)
    read(3)
    if not reduced:
        read(4)
        ordered = read(1)
        if ordered:
            read(2)
        screen = 2 if read(1) else read(1)
        if screen and not read(1):
            read(1)
        if ordered:
            read(3)
    read(3)
    deep = read(1)
    if profile == 2 and deep:
        read(1)
    if profile != 1:
        read(1)
    return at if read(1) else None
