"""Text for people: characters that would turn, break or hide words on a terminal or a page are written out."""

from __future__ import annotations

from unicodedata import category

# Controls, formats such as U+202E, halves of pairs, private and unassigned characters, and the two separators.
_ESCAPED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: str) -> str:
    """Return the text as one printable line; line breaks, control characters and undecodable bytes are escaped."""
    if text.isprintable():
        return text
    return "".join(_escaped(c) if category(c) in _ESCAPED else c for c in text)


def _escaped(c: str) -> str:
    """Return an escape of a character, or of the byte that Python holds as half of a pair where a name is not UTF-8."""
    byte = ord(c) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else c.encode("unicode_escape").decode()


def printable_lines(text: str) -> str:
    """Return the text with each of its lines made printable; only "\\n" breaks a line."""
    return "\n".join(map(printable, text.split("\n")))
