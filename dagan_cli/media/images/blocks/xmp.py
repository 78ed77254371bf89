"""XMP packets: join and split those of several JPEG segments, remove what describes data that is not kept, and hold
the record of what dagan made a file with.

Standards: XMP specification parts 1 and 3 (ISO 16684-1), https://github.com/adobe/XMP-Toolkit-SDK/tree/main/docs.
Packets are edited as bytes, so that whatever is kept stays exactly as its author wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import md5
from xml.parsers import expat

_RDF, _NOTE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://ns.adobe.com/xmp/note/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
# Vocabularies that describe data behind the image or next to it, which no output has.
_OF_OTHER_DATA = (
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/dd/1.0/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
)
_OURS, _RECORD = "urn:x-dagan:made/", "record"
_OF_A_CLIP = ("MotionPhoto", "MicroVideo")  # names in the camera's vocabulary start so
_SIGNS = (b"MotionPhoto", b"MicroVideo", *(space.encode() for space in _OF_OTHER_DATA), b"HasExtendedXMP")
_WITH_RECORD = (  # exactly as `with_record` writes it, so that taking it away leaves the bytes that were there
    '<rdf:Description xmlns:rdf="' + _RDF + '" rdf:about="" xmlns:dagan="' + _OURS + '" dagan:record="%s"/>'
)
_IN_PACKET = re.compile(re.escape(_WITH_RECORD).replace("%s", '([^"<>&]*)').encode())
_EMPTY = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + _RDF + '">%s</rdf:RDF></x:xmpmeta>'
_DEEPEST, _MOST_ELEMENTS = 200, 200_000
_GUID = re.compile(rb"""HasExtendedXMP(?:\s*=\s*["']|\s*>\s*)([0-9A-Fa-f]{32})""")
_PACKET = re.compile(rb"<\?xpacket[^>]*\?>")
_EXTENSION_HEAD = 32 + 4 + 4  # GUID, length of all, offset
_ATTRIBUTE = rb"""\s+([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')"""
_TAG = re.compile(rb"<[^\s/>]+(?:" + _ATTRIBUTE + rb")*\s*/?>")
_EACH_ATTRIBUTE = re.compile(_ATTRIBUTE)
_TAGS = re.compile(rb"<[^>]*>")


class Damaged(ValueError):
    """An XMP packet that is no XML, or not plain XML in UTF-8."""


@dataclass(slots=True)
class _Element:
    """An element by namespace and name, and its bytes; the same of its attributes."""

    space: str
    name: str
    start: int
    end: int = 0
    depth: int = 0
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # namespace, name, name as written
    parent: _Element | None = None
    declared: dict[str, str] = field(default_factory=dict)  # prefixes that this element binds

    def is_a(self, space: str, name: str) -> bool:
        return (self.space, self.name) == (space, name)


def joined(packet: bytes, extensions: Iterable[bytes]) -> tuple[bytes, str]:
    """Join a packet with its extension segments (without their heading).

    Return it without the link to them, and what is wrong with them ("" if nothing): pieces are taken only if their
    GUID is that of the packet, and if they fill the declared length without gap or overlap. Raises Damaged.
    """
    found = _GUID.search(packet)
    pieces = [piece for piece in extensions if len(piece) >= _EXTENSION_HEAD]
    mine = [piece for piece in pieces if found and piece[:32].upper() == found[1].upper()]
    problem = "belongs to another packet" if len(mine) < len(pieces) else ""
    rest, _ = _cut(packet, lambda space, name: (space, name) == (_NOTE, "HasExtendedXMP")) if found else (packet, ())
    if not mine:
        return rest, problem or ("is missing" if found else "")
    total, at, parts = int.from_bytes(mine[0][32:36], "big"), 0, []
    for piece in sorted(mine, key=lambda piece: piece[36:40]):
        if int.from_bytes(piece[32:36], "big") != total or int.from_bytes(piece[36:40], "big") != at:
            return rest, "is incomplete or overlaps"
        parts.append(piece[_EXTENSION_HEAD:])
        at += len(parts[-1])
    if at != total:
        return rest, "is incomplete or overlaps"
    try:
        return _merged(rest, b"".join(parts)), problem
    except Damaged:
        return rest, "is damaged"


def split(packet: bytes, room: int) -> tuple[bytes, list[bytes]]:
    """Split a packet that is longer than `room` into a short one and extension segments (without their heading)."""
    if len(packet) <= room:
        return packet, []
    record = record_in(packet)
    whole = plain(without_record(packet))
    guid = md5(whole, usedforsecurity=False).hexdigest().upper().encode()
    link = f'<rdf:Description rdf:about="" xmlns:xmpNote="{_NOTE}" xmpNote:HasExtendedXMP="{guid.decode()}"/>'
    short = (_EMPTY % (link + (_WITH_RECORD % record if record else ""))).encode()
    step = room - _EXTENSION_HEAD - 32
    head = guid + len(whole).to_bytes(4, "big")
    return short, [head + at.to_bytes(4, "big") + whole[at : at + step] for at in range(0, len(whole), step)]


def plain(packet: bytes) -> bytes:
    """Return a packet without its wrapper and padding."""
    return _PACKET.sub(b"", packet).strip(b"\0 \t\r\n").removeprefix(b"\xef\xbb\xbf")


def with_record(packet: bytes, record: str) -> bytes:
    """Return a packet, b"" for none, with the record of what dagan made the file with, in place of an older one.

    `record` is text without quotes and markup. Raises Damaged if the packet cannot be read.
    """
    packet, text = without_record(packet), (_WITH_RECORD % record).encode()
    if not packet:
        return (_EMPTY % text.decode()).encode()
    place = next((e for e in _elements(packet) if e.is_a(_RDF, "RDF")), None)
    close = packet.rfind(b"</", place.start, place.end) if place else -1
    if close < 0:
        raise Damaged("it has no rdf:RDF, or an empty one")
    return packet[:close] + text + packet[close:]


def record_in(packet: bytes) -> str:
    """Return the record in a packet, also if another program has rewritten the packet; "" if there is none."""
    if _OURS.encode() not in packet:
        return ""
    if found := _IN_PACKET.search(packet):
        return found[1].decode("utf-8", "replace")
    with suppress(Damaged):
        for element in _elements(packet):
            if element.is_a(_OURS, _RECORD):
                return _TAGS.sub(b"", packet[element.start : element.end]).decode("utf-8", "replace").strip()
            names = {written for space, name, written in element.attributes if (space, name) == (_OURS, _RECORD)}
            if names and (tag := _TAG.match(packet, element.start)):
                found = _EACH_ATTRIBUTE.finditer(packet, tag.start(), tag.end())
                return next(
                    (each[2][1:-1].decode("utf-8", "replace") for each in found if each[1].decode() in names), ""
                )
    return ""


def without_record(packet: bytes) -> bytes:
    """Return a packet without the record, as it was before `with_record`; b"" if nothing else was in it.

    Raises Damaged if there is one that another program has rewritten, and the packet cannot be read.
    """
    if _OURS.encode() not in packet:
        return packet
    rest, count = _IN_PACKET.subn(b"", packet)
    if count:
        return b"" if plain(rest) == (_EMPTY % "").encode() else rest
    rest, _ = _cut(packet, lambda space, _: space == _OURS)
    return rest if _properties(rest) else b""


def without_promises(packet: bytes) -> tuple[bytes, list[str]]:
    """Return a packet without the properties that describe data next to the image, and their names.

    The packet is b"" if nothing else was in it. Raises Damaged if it speaks of such data and cannot be read.
    """
    if not any(sign in packet for sign in _SIGNS):
        return packet, []
    rest, names = _cut(packet, _promises)
    return (rest if not names or _properties(rest) else b""), names


def _promises(space: str, name: str) -> bool:
    return space.startswith(_OF_OTHER_DATA) or (space == _CAMERA and name.startswith(_OF_A_CLIP))


def _properties(packet: bytes) -> list[str]:
    """Return the names of all properties: elements and attributes of the top-level descriptions."""
    names = []
    for element in _elements(packet):
        if element.is_a(_RDF, "Description") and element.parent and element.parent.is_a(_RDF, "RDF"):
            names += [name for space, name, _ in element.attributes if space != _RDF]
        elif element.parent and element.parent.is_a(_RDF, "Description"):
            names.append(element.name)
    return names


def _merged(packet: bytes, extension: bytes) -> bytes:
    """Return `packet` with the descriptions of `extension` behind its own."""
    if not _properties(packet):
        return extension
    place = next((e for e in _elements(packet) if e.is_a(_RDF, "RDF")), None)
    if place is None:
        raise Damaged("it has no rdf:RDF")
    close = packet.rfind(b"</", place.start, place.end)
    if close < 0:
        raise Damaged("its rdf:RDF is empty")
    more = b""
    for element in _elements(extension):
        if element.is_a(_RDF, "Description") and element.parent and element.parent.is_a(_RDF, "RDF"):
            text = extension[element.start : element.end]
            name = re.match(rb"<[^\s/>]+", text)
            assert name, "an element starts with its name"
            more += name[0] + _inherited(element) + text[name.end() :]
    return packet[:close] + more + packet[close:]


def _inherited(element: _Element) -> bytes:
    """Return the declarations of prefixes that an element uses from the elements around it."""
    found: dict[str, str] = {}
    around = element.parent
    while around:
        found = around.declared | found
        around = around.parent
    return b"".join(
        f' xmlns{":" if prefix else ""}{prefix}="{space}"'.encode()
        for prefix, space in found.items()
        if prefix not in element.declared and '"' not in space
    )


def _cut(packet: bytes, unwanted) -> tuple[bytes, list[str]]:
    """Return a packet without the elements and attributes for which `unwanted(namespace, name)`, and their names."""
    ranges: list[tuple[int, int]] = []
    names: list[str] = []
    end = -1
    for element in _elements(packet):
        if element.start < end:
            continue
        if unwanted(element.space, element.name):
            names.append(element.name)
            ranges.append((element.start, element.end))
            end = element.end
            continue
        bad = {written for space, name, written in element.attributes if unwanted(space, name)}
        if bad:
            tag = _TAG.match(packet, element.start)
            if tag is None:
                raise Damaged("its tags are damaged")
            for each in _EACH_ATTRIBUTE.finditer(packet, tag.start(), tag.end()):
                if each[1].decode("utf-8", "replace") in bad:
                    ranges.append(each.span())
                    names.append(each[1].decode("utf-8", "replace").split(":")[-1])
    kept, at = [], 0
    for start, stop in ranges:
        kept.append(packet[at:start])
        at = stop
    return b"".join([*kept, packet[at:]]), list(dict.fromkeys(names))


def _elements(packet: bytes) -> Iterator[_Element]:
    """Return all elements, in the order of their tags. Raises Damaged, also for document types and entities."""
    if b"\0" in packet.rstrip(b"\0"):
        raise Damaged("it is not in UTF-8")
    text = packet.rstrip(b"\0 \t\r\n")
    lead = len(text) - len(text.lstrip(b"\0 \t\r\n"))
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    found: list[_Element] = []
    open_ones: list[_Element] = []
    declared: dict[str, str] = {}

    def name_of(words: str) -> tuple[str, str, str]:
        parts = words.split(" ")
        space, name = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
        return space, name, f"{parts[2]}:{name}" if len(parts) > 2 else name

    def declare(prefix: str | None, space: str | None) -> None:
        declared[prefix or ""] = space or ""

    def start(words: str, values: list[str]) -> None:
        if len(open_ones) >= _DEEPEST or len(found) >= _MOST_ELEMENTS:
            raise Damaged("it is nested too deeply or too large")
        space, name, _ = name_of(words)
        element = _Element(space, name, parser.CurrentByteIndex + lead, depth=len(open_ones))
        element.attributes = [name_of(each) for each in values[::2]]
        element.parent = open_ones[-1] if open_ones else None
        element.declared = dict(declared)
        declared.clear()
        found.append(element)
        open_ones.append(element)

    def end(_: str) -> None:
        at = parser.CurrentByteIndex + lead
        element = open_ones.pop()
        tag = _TAG.match(text, element.start)
        if tag is None:
            raise Damaged("its tags are damaged")
        element.end = tag.end() if tag[0].endswith(b"/>") else text.index(b">", at) + 1

    def refuse(*_: object) -> None:
        raise Damaged("it declares a document type")

    parser.StartNamespaceDeclHandler = declare
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text[lead:], True)
    except (expat.ExpatError, ValueError) as error:
        raise Damaged(str(error)) from error
    return iter(found)
