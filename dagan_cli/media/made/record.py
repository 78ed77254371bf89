"""The record as text: fields of a name and a value, in ASCII without quotes, markup and blanks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, unquote

SOURCE = "source"  # a field of every record: the identity of the source


def to_text(fields: Mapping[str, str]) -> str:
    """Return the fields as text, in their order: "source=1234-0a1b;--scale=2"."""
    return ";".join(f"{_quoted(name)}={_quoted(value)}" for name, value in fields.items())


def from_text(text: str) -> dict[str, str] | None:
    """Return the fields of a text; None if it is no record."""
    first, more, others = text.partition(";")
    name, between, value = first.partition("=")
    rest = _fields(others) if more else {}  # the results of a run differ in the first field only
    if not between or rest is None:
        return None
    fields = {_unquoted(name): _unquoted(value), **rest}
    return fields if SOURCE in fields else None


@lru_cache(64)
def _fields(text: str) -> dict[str, str] | None:
    pairs = [part.partition("=") for part in text.split(";")]
    if not all(between for _, between, _ in pairs):
        return None
    return {_unquoted(name): _unquoted(value) for name, _, value in pairs}


def _quoted(text: str) -> str:
    return quote(text, safe="/:,@", errors="surrogateescape")


def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogateescape") if "%" in text else text
