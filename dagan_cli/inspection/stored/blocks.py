"""What GIF and WebP files store, by GIF89a and the RIFF container of WebP."""

from __future__ import annotations

from dagan_cli.inspection.stored.facts import LONGEST, MOST_PARTS, Bytes, Stored, Unclear


def look_at_gif(data: Bytes) -> Stored:
    width, height, flags = data.numbers("<HHB", 6)
    found = Stored(size=(width, height), bits=8)
    at = 13 + _table(flags)
    for _ in range(MOST_PARTS):
        kind = data.part(at, 1)
        if kind == b"!":
            label = data.part(at + 1, 1)[0]
            head = data.part(at + 3, data.part(at + 2, 1)[0]) if label == 0xFF else b""
            start, at = at + 2, _behind_blocks(data, at + 2)
            if head == b"XMP DataXMP":
                raw = data.part(start + 12, at - start - 12)
                found.packet = raw[: max(0, len(raw) - 258)]
            elif head == b"ICCRGBG1012":
                found.profile = _joined(data.part(start + 12, at - start - 12))
        elif kind == b",":
            at = _behind_blocks(data, at + 11 + _table(data.part(at + 9, 1)[0]))
        else:
            return found
    raise Unclear("it has too many blocks")


def look_at_webp(data: Bytes) -> Stored:
    found = Stored(bits=8)
    at = 12
    for _ in range(MOST_PARTS):
        if at + 8 > data.size:
            return found
        kind, size = data.numbers("<4sI", at)
        if kind == b"VP8X":
            body = data.part(at + 8, 10)
            found.size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        elif kind == b"ICCP":
            found.profile = data.part(at + 8, min(size, LONGEST))
        elif kind == b"XMP ":
            found.packet = data.part(at + 8, min(size, LONGEST))
        at += 8 + size + size % 2
    raise Unclear("it has too many chunks")


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _behind_blocks(data: Bytes, at: int) -> int:
    while size := data.part(at, 1)[0]:
        at += 1 + size
    return at + 1


def _joined(blocks: bytes) -> bytes:
    body, at = b"", 0
    while at < len(blocks) and blocks[at]:
        body += blocks[at + 1 : at + 1 + blocks[at]]
        at += 1 + blocks[at]
    return body
