"""Find the record of a result: in the metadata of the file, or beside it. No pixel is decoded.

Images hold it as a property of their XMP data, MP4 and QuickTime in an XMP box at their end (XMP part 3, 1.1.4), and
Matroska and WebM as a tag.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from dagan_cli.files import open_regular
from dagan_cli.media.boxes import ebml, isobmff
from dagan_cli.media.images import gif, tiff
from dagan_cli.media.images.blocks import xmp
from dagan_cli.media.images.decoder_warnings import heard
from dagan_cli.media.made.beside import read_beside
from dagan_cli.media.made.identity import identity_in
from dagan_cli.media.made.record import from_text
from dagan_cli.media.sniff import HEAD, picture_format
from dagan_cli.media.streams.tags import RECORD

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_MATROSKA = b"\x1aE\xdf\xa3"
_TAGS, _TAG, _SIMPLE, _NAME, _TEXT = 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487


def read_record(path: Path) -> dict[str, str] | None:
    """Return the fields of the record of a file; None if it has none, or cannot be read."""
    try:
        with open_regular(path) as file:
            return record_in(file, path.name) or from_text(read_beside(path, lambda: identity_in(file)))
    except OSError:
        return None


def read_inside(path: Path) -> str:
    """Return the text of the record in a file itself; "" if there is none. Raises OSError."""
    with open_regular(path) as file:
        return _inside(file, path.name)


def record_in(file: BinaryIO, name: str) -> dict[str, str] | None:
    """Return the fields of the record in an open file, which can seek; None if it has none. Raises OSError."""
    return from_text(_inside(file, name))


def box_with(record: str) -> bytes:
    """Return the box that holds the record in an MP4 or QuickTime file, at its end."""
    content = _XMP_UUID + xmp.with_record(b"", record)
    return (8 + len(content)).to_bytes(4, "big") + b"uuid" + content


def _inside(file: BinaryIO, name: str) -> str:
    head = file.read(HEAD)
    try:
        if form := picture_format(head, name):
            return xmp.record_in(_packet(file, form))
        if head.startswith(_MATROSKA):
            return _in_tags(file)
        if head[4:8] == b"ftyp":
            return _in_boxes(file)
    except OSError:
        raise
    except Exception:  # decoders raise almost anything for damaged files
        return ""
    return ""


def _packet(file: BinaryIO, form: str) -> bytes:
    """Return the XMP packet of an image, as the header shows it; b"" for formats that have none."""
    if form == "GIF":
        return gif.application_data(file, before_image=True).get("xmp", b"")
    if form == "TIFF":  # Pillow opens no float samples in colour
        with heard():
            packet = tiff.read_tags(file).get(tiff.XMP)
        return packet if isinstance(packet, bytes) else b""
    file.seek(0)
    with heard():  # by one thread at a time, as the limit is one for all
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # nothing is decoded
        try:
            with Image.open(file, formats=[form]) as image:
                packet = image.info.get("xmp") or b""
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    return packet if isinstance(packet, bytes) else b""


def _in_tags(file: BinaryIO) -> str:
    """Return the record of a Matroska file; dagan writes the tags in front of the frames."""
    segment = ebml.segment(file)
    for element in ebml.elements(file, segment[1], segment[2]) if segment else ():
        if element[0] == ebml.CLUSTER:
            break
        for tag in ebml.children(file, element, _TAG) if element[0] == _TAGS else ():
            for simple in ebml.children(file, tag, _SIMPLE):
                parts = {each[0]: ebml.content(file, each) for each in ebml.elements(file, simple[1], simple[2])}
                if parts.get(_NAME, b"").decode("ascii", "replace") == RECORD:
                    return parts.get(_TEXT, b"").decode("ascii", "replace")
    return ""


def _in_boxes(file: BinaryIO) -> str:
    size = file.seek(0, io.SEEK_END)
    for box in isobmff.boxes(file, 0, size):
        if box[0] == b"uuid" and (content := isobmff.content(file, box)).startswith(_XMP_UUID):
            return xmp.record_in(content[len(_XMP_UUID) :])
    return ""
