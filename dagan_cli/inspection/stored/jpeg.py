"""What a JPEG stores: its segments by ITU-T T.81, annex B, and the data behind its end."""

from __future__ import annotations

import re

from dagan_cli.inspection.stored.facts import MOST_PARTS, Bytes, Stored, Unclear, resources_in

_SCAN, _END = 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without data
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_REAL = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_STEP = 1 << 20
_PADDING = b"\0\xff\r\n\t "


def look(data: Bytes) -> Stored:
    found = Stored()
    profile: dict[int, bytes] = {}
    photoshop = b""
    gain = False
    at = 2
    for _ in range(MOST_PARTS):
        if data.part(at, 1) != b"\xff":
            raise Unclear("a marker is missing")
        marker = data.part(at + 1, 1)[0]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _END:
            _look_behind(data, at + 2, found, gain)
            break
        if marker in _ALONE:
            at += 2
            continue
        (size,) = data.numbers(">H", at + 2)
        body = data.part(at + 4, size - 2) if size >= 2 else b""
        if marker in _FRAMES:
            found.bits, height, width = body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            found.size = width, height
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            found.packet = found.packet or body[29:]
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            found.extensions.append(body[35:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            profile[body[12]] = body[14:]
        elif marker == 0xE2 and body.startswith(b"urn:iso:std:iso:ts:21496:-1\0"):
            gain = True
        elif marker == 0xED and body.startswith(b"Photoshop 3.0\0"):
            photoshop += body[14:]
        elif marker == 0xEB and b"jumb" in body[:64]:
            found.others["content credentials"] = found.others.get("content credentials", 0) + len(body)
        at += 2 + size
        if marker == _SCAN:
            at = _next_marker(data, at)
    else:
        raise Unclear("it has too many segments")
    found.profile = b"".join(profile[number] for number in sorted(profile))
    found.resources = resources_in(photoshop)
    return found


def _next_marker(data: Bytes, at: int) -> int:
    while at < data.size:
        piece = data.part(at, min(_STEP, data.size - at))
        if match := _REAL.search(piece):
            return at + match.end() - 2
        at += max(1, len(piece) - 1)
    raise Unclear("it has no end")


def _look_behind(data: Bytes, at: int, found: Stored, gain: bool) -> None:
    end = data.size
    while end > at and not (tail := data.part(max(at, end - _STEP), end - max(at, end - _STEP))).strip(_PADDING):
        end -= len(tail)
    if end > at:
        start = data.part(at, min(end - at, _STEP))
        gain = gain or b"/hdr-gain-map/1.0/" in found.packet + start
        clip = re.search(rb"....ftyp", start, re.DOTALL)
        kinds = [*(["gain map"] if gain else []), *(["clip"] if clip else [])]
        found.others[" and ".join(kinds or ["data"]) + " behind the image"] = data.size - at
