"""Segments of a JPEG, and the data behind its end, which other programs put there: clips, gain maps, more images.

Standards: ITU-T T.81, annex B; CIPA DC-007 (MPF); https://developer.android.com/media/platform/motion-photo-format
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import BinaryIO

EXIF, XMP, EXTENDED_XMP = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
MARKER_ROOM = 65533  # bytes of data in one segment
_APP0, _COMMENT, _END, _SCAN = 0xE0, 0xFE, 0xD9, 0xDA
_GAIN_MAP_ISO = b"urn:iso:std:iso:ts:21496:-1\0"
# Segments that are read elsewhere, or that describe only the coding or a thumbnail of this file.
_KNOWN = {
    0: (b"JFIF\0", b"JFXX\0"),
    1: (EXIF, XMP, EXTENDED_XMP),
    2: (b"ICC_PROFILE\0", b"MPF\0", b"FPXR\0", _GAIN_MAP_ISO),
    12: (b"Ducky", b"[picture info]", b"PictureInfo"),
    13: (PHOTOSHOP, b"Adobe_CM"),
    14: (b"Adobe",),
}
_PIECE = 1 << 20
_MOST_KEPT = 1 << 27  # bytes of segments; a file with more is hostile
_MOST_SEARCHED = 1 << 28  # bytes behind the image
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_CLIP = re.compile(rb"ftyp(?:iso|mp4|mp5|avc|qt  |hvc|hev|3g|M4V|msdh|dash|heic)")


@dataclass(slots=True)
class Segments:
    """The application segments and comments of a JPEG, and where it ends."""

    applications: list[tuple[int, bytes]] = field(default_factory=list)  # number n of APPn, data
    behind: int = 0  # bytes behind the end of the image, without trailing zeros and blanks
    has_clip: bool = False  # behind the image
    has_gain_map: bool = False

    def starting_with(self, number: int, heading: bytes) -> list[bytes]:
        """Return the data of the segments APP`number` with this heading, without it."""
        return [data[len(heading) :] for n, data in self.applications if n == number and data.startswith(heading)]

    def unknown(self) -> list[str]:
        """Name the application segments that nothing reads: ["APP11 (content credentials)"]."""
        names = []
        for number, data in self.applications:
            if not data.startswith(_KNOWN.get(number, ())):
                credentials = number == 11 and b"jumb" in data[:64]
                names.append(f"APP{number}" + (" (content credentials)" if credentials else ""))
        return list(dict.fromkeys(names))


def read_segments(stream: BinaryIO) -> Segments:
    """Read the segments of a JPEG in one pass; a damaged or cut file ends the list."""
    found = Segments()
    stream.seek(2)
    kept = 0
    while len(head := stream.read(2)) == 2:
        if head[0] != 0xFF:
            return found
        marker = head[1]
        if marker == 0xFF:  # a fill byte
            stream.seek(-1, io.SEEK_CUR)
        elif marker == _END:
            _look_behind(stream, found)
            return found
        elif marker not in (0x01, 0xD8):
            size = int.from_bytes(stream.read(2), "big") - 2
            if size < 0:
                return found
            if _APP0 <= marker <= _APP0 + 15 and kept + size <= _MOST_KEPT:
                found.applications.append((marker - _APP0, stream.read(size)))
                kept += size
            else:
                stream.seek(size, io.SEEK_CUR)
            if marker == _SCAN and not _skip_scan(stream):
                return found
    return found


def _skip_scan(stream: BinaryIO) -> bool:
    """Go to the next marker that is no restart; False if there is none."""
    last = b""
    while piece := stream.read(_PIECE):
        piece = last + piece
        if found := _MARKER.search(piece):
            stream.seek(found.start() - len(piece), io.SEEK_CUR)
            return True
        last = piece[-1:]
    return False


def _look_behind(stream: BinaryIO, found: Segments) -> None:
    """Note size and kind of the data behind the image."""
    start, size, last = stream.tell(), 0, b""
    found.has_gain_map = bool(found.starting_with(2, _GAIN_MAP_ISO)) or any(
        b"http://ns.adobe.com/hdr-gain-map/1.0/" in data for n, data in found.applications if n == 1
    )
    has_map_data = False
    while stream.tell() - start < _MOST_SEARCHED and (piece := stream.read(_PIECE)):
        whole = last + piece
        found.has_clip = found.has_clip or bool(_CLIP.search(whole))
        has_map_data = has_map_data or b"hdr-gain-map" in whole or _GAIN_MAP_ISO in whole or b"HDRGainMap" in whole
        if text := piece.rstrip(b"\0\r\n \xff"):
            size = stream.tell() - start - len(piece) + len(text)
        last = whole[-64:]
    if len(last) and stream.tell() - start >= _MOST_SEARCHED:
        size = stream.seek(0, io.SEEK_END) - start
    found.behind = size
    found.has_gain_map = bool(size) and (found.has_gain_map or has_map_data)
