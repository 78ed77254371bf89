"""What a PNG stores: its chunks and their checksums, by the third edition of the specification."""

from __future__ import annotations

import zlib

from dagan_cli.inspection.stored.facts import LONGEST, MOST_PARTS, Bytes, Stored

_SKIPPED = (b"IDAT", b"fdAT")


def look(data: Bytes) -> Stored:
    found = Stored()
    at = 8
    for _ in range(MOST_PARTS * 50):  # pixels may be in many small chunks
        size, kind = data.numbers(">I4s", at)
        if kind in _SKIPPED:
            at += 12 + size
            continue
        body = data.part(at + 8, min(size, LONGEST))
        (check,) = data.numbers(">I", at + 8 + size)
        if len(body) == size and check != zlib.crc32(kind + body):
            found.damaged.append(kind.decode("latin-1"))
        elif kind == b"IHDR":
            found.size = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
            found.bits = max(8, body[8])
        elif kind == b"cICP" and len(body) == 4:
            found.points, found.narrow = (body[0], body[1]), not body[3]
        elif kind == b"iCCP":
            found.profile = _inflated(body.partition(b"\0")[2][1:])
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            text = body[18:]
            packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
            found.packet = _inflated(text) if packed else text
        if kind == b"IEND":
            break
        at += 12 + size
    return found


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, LONGEST)
    except zlib.error:
        return b""
