"""What is printed for people holds no character that turns, breaks or hides what stands around it."""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import cache

import pytest

from dagan_cli.words import printable, printable_lines

BAD = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
DANGEROUS = (
    "\x1b\x07\n\r\t\x7f\x9b\xad\u200b\u200d\u200e\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ue000\ud800\U000e0041"
)


@cache
def characters() -> dict[str, str]:
    """All characters of each class."""
    found: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        found.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    return {name: "".join(each) for name, each in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_no_character_of_these_classes_stays(name):
    text = characters()[name]
    shown = printable(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.count("\\") == len(text)  # one escape each


@pytest.mark.slow
def test_every_other_character_stays_as_it_is():
    text = "".join(each for name, each in characters().items() if name not in BAD)
    assert len(text) > 100_000
    assert printable(text) == text


@pytest.mark.parametrize("character", DANGEROUS, ids=ascii)
def test_an_escape_tells_which_character_it_was(character):
    shown = printable(f"a{character}b")
    assert shown.startswith("a\\")
    assert shown.encode().decode("unicode_escape") == f"a{character}b"


def test_a_byte_that_is_not_utf_8_is_shown_as_that_byte():
    """Python holds it as half of a pair of UTF-16, which no file name has."""
    assert printable(os.fsdecode(b"caf\xe9\x80.png")) == r"caf\xe9\x80.png"


def test_only_a_line_feed_breaks_a_line():
    assert printable_lines("a\u2028b\n\x85\rc\n") == "a\\u2028b\n\\x85\\rc\n"
