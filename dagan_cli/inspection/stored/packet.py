"""Properties of XMP packets, by an ordinary XML parser."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.parsers import expat

from dagan_cli.inspection.stored.facts import Stored, Unclear

_RDF, _NOTE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://ns.adobe.com/xmp/note/}"
_PROMISES = (
    "{http://ns.google.com/photos/1.0/camera/}MotionPhoto",
    "{http://ns.google.com/photos/1.0/camera/}MicroVideo",
    "{http://ns.google.com/photos/1.0/container/}",
    "{http://ns.google.com/photos/dd/1.0/",
    "{http://ns.adobe.com/hdr-gain-map/1.0/}",
    "{http://ns.apple.com/HDRGainMap/1.0/}",
)
_RECORD = "{urn:x-dagan:made/}"  # how dagan made this very file
_OF_THE_FILE = ("{http://ns.adobe.com/tiff/1.0/}Orientation", f"{_NOTE}HasExtendedXMP")


def properties(stored: Stored) -> dict[str, str]:
    """Return name ("{namespace}name") and text of all properties, also of extended XMP. Raises Unclear for damage."""
    found = _properties(stored.packet)
    if guid := found.get(f"{_NOTE}HasExtendedXMP"):
        parts = sorted(part[36:] for part in stored.extensions if part[:32].decode("latin-1") == guid)
        found |= _properties(b"".join(part[4:] for part in parts))
    return {name: text for name, text in found.items() if name not in _OF_THE_FILE and not name.startswith(_RECORD)}


def promises(names: dict[str, str]) -> list[str]:
    """Return the properties that describe data outside the image."""
    return [name for name in names if name.startswith(_PROMISES)]


def short(name: str) -> str:
    return name.rpartition("}")[2]


def _properties(packet: bytes) -> dict[str, str]:
    text = packet.strip(b"\0 \r\n\t")
    if not text:
        return {}
    _refuse_document_types(text)
    try:
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise Unclear(f"its XMP is damaged: {error}") from error
    found: dict[str, str] = {}
    for each in tree.iter(f"{_RDF}RDF"):
        for description in each.findall(f"{_RDF}Description"):
            found |= {name: value for name, value in description.attrib.items() if not name.startswith(_RDF)}
            found |= {child.tag: _text(child) for child in description}
    return found


def _text(element: ElementTree.Element) -> str:
    """Return the texts and attributes of an element and all in it."""
    inner = [f"{each.tag} {sorted(each.attrib.items())} {(each.text or '').strip()}" for each in element.iter()]
    return "\n".join(inner)


def _refuse_document_types(text: bytes) -> None:
    """Raise Unclear for a document type, whose entities might grow without end."""

    def refuse(*_: object) -> None:
        raise Unclear("its XMP declares a document type")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise Unclear(f"its XMP is damaged: {error}") from error
