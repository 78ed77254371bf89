"""Photoshop's image resources ("8BIM"), as JPEG and TIFF store them: IPTC records, clipping paths, copyright, URL.

Format: https://www.adobe.com/devnet-apps/photoshop/fileformatashtml/
"""

from __future__ import annotations

import struct
from typing import NamedTuple

IPTC = 1028
_OF_THE_OLD_PIXELS = {1005, 1033, 1036, 1050}  # resolution, stored elsewhere; thumbnails; slices in pixels
_GUIDES = 1032  # in pixels
_PATHS = range(2000, 2998)
_NAMES = {1034: "the copyright flag", 1035: "a URL", 2999: "the name of the clipping path", 1064: "pixel aspect ratio"}
_SETTINGS = {1011, 1013, 1016, 1037, 1049, 1057, 1061, 1062, 1082, 1083, 10000}  # of printing and of Photoshop itself
_POINTS = (1, 2, 4, 5)  # selectors of path records that hold three points
_ONE = 1 << 24  # coordinates are relative to the image, with 24 bits behind the point
_MOST = 100_000


class Resource(NamedTuple):
    """One resource: its number, its name as stored (a Pascal string, padded to even length), and its data."""

    number: int
    name: bytes
    data: bytes


def read_resources(block: bytes) -> list[Resource]:
    """Return the resources of a block; a damaged one ends the list."""
    found: list[Resource] = []
    at = 0
    while block[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR") and at + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, at + 4)
        behind = at + 7 + block[at + 6]
        behind += (behind - at) % 2
        if behind + 4 > len(block):
            break
        (size,) = struct.unpack_from(">I", block, behind)
        if behind + 4 + size > len(block) or len(found) >= _MOST:
            break
        found.append(Resource(number, block[at + 6 : behind], block[behind + 4 : behind + 4 + size]))
        at = behind + 4 + size + size % 2
    return found


def block_of(resources: list[Resource]) -> bytes:
    """Return the block of these resources."""
    return b"".join(
        b"8BIM" + struct.pack(">H", number) + name + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
        for number, name, data in resources
    )


def kept(resources: list[Resource], orientation: int) -> list[Resource]:
    """Return what stays valid for an upright image of another size, without IPTC records, which are kept apart."""
    return [
        Resource(each.number, each.name, _upright(each.data, orientation)) if each.number in _PATHS else each
        for each in resources
        if each.number not in {IPTC, _GUIDES, *_OF_THE_OLD_PIXELS}
    ]


def guides(resources: list[Resource]) -> int:
    """Return the number of guides, which are placed in pixels and are left out."""
    return sum(
        struct.unpack_from(">I", each.data, 12)[0]
        for each in resources
        if each.number == _GUIDES and len(each.data) > 15
    )


def described(resources: list[Resource]) -> str:
    """Name what a user would miss: "a clipping path, the copyright flag"; "" for settings of programs."""
    paths = sum(each.number in _PATHS for each in resources)
    names = [] if not paths else ["a clipping path" if paths == 1 else f"{paths} clipping paths"]
    names += [_NAMES[each.number] for each in resources if each.number in _NAMES]
    others = sum(each.number not in _PATHS and each.number not in _NAMES.keys() | _SETTINGS for each in resources)
    return ", ".join([*names, *([f"{others} others" if names else f"{others} of other kinds"] if others else [])])


def _upright(path: bytes, orientation: int) -> bytes:
    """Turn a path with the image, for an EXIF orientation of 1 to 8."""
    if orientation == 1:
        return path
    data = bytearray(path)
    for at in range(0, len(data) - 25, 26):
        if int.from_bytes(data[at : at + 2], "big") in _POINTS:
            turned = []
            for down, across in struct.iter_unpack(">ii", data[at + 2 : at + 26]):
                if orientation >= 5:
                    down, across = across, down
                down = _ONE - down if orientation in (3, 4, 7, 8) else down
                across = _ONE - across if orientation in (2, 3, 6, 7) else across
                turned += [max(-(2**31), min(2**31 - 1, part)) for part in (down, across)]
            struct.pack_into(">6i", data, at + 2, *turned)
    return bytes(data)
