"""Text subtitles from one format into another: the words and faces, and what is on the screen at each moment."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from dagan_cli.media.streams.subtitles import (
    BOLD,
    ITALIC,
    LONGEST,
    READABLE,
    UNDERLINE,
    Cue,
    OneAtATime,
    read_cue,
    write_cue,
)

ASS = b"0,0,Default,,0,0,0,,"


@pytest.mark.parametrize(
    ("codec", "data", "runs"),
    [
        ("subrip", b"a <i>b</i> <B>c</B>", [("a ", 0), ("b", ITALIC), (" ", 0), ("c", BOLD)]),
        ("subrip", b'<font color="red">a</font> {\\an8}b', [("a b", 0)]),
        ("subrip", b"<sigh> 1 < 2 & {x}", [("<sigh> 1 < 2 & {x}", 0)]),  # no tags of its
        ("subrip", b"<b>a<i>b</b>c", [("a", BOLD), ("b", BOLD | ITALIC), ("c", ITALIC)]),
        ("subrip", b"one\r\n\r\ntwo\0", [("one\n\ntwo", 0)]),
        ("text", b"<i>a</i>", [("<i>a</i>", 0)]),
        ("webvtt", b"<v Bob>a <c.red>b</c></v> <00:01.000><u>1 &lt; 2</u>", [("a b ", 0), ("1 < 2", UNDERLINE)]),
        ("ass", ASS + b"{\\i1}a{\\i0}, b\\Nc\\hd{comment}", [("a", ITALIC), (", b\nc\u00a0d", 0)]),
        ("ass", ASS + b"{\\b700}a{\\r}b{\\bord2\\u1}c{\\u}d", [("a", BOLD), ("b", 0), ("c", UNDERLINE), ("d", 0)]),
        ("ass", ASS + b"{\\p1}m 0 0 l 9 9{\\p0}a \\{b\\}", [("a {b}", 0)]),
        ("mov_text", b"\0\5a {\\N\0\0\0\1hclr", [("a {\\N", 0)]),
        ("mov_text", b"\0\4abcd" + b"\0\0\0\x16styl\0\1" + b"\0\1\0\3\0\1\3\x10____", [("a", 0), ("bc", 3), ("d", 0)]),
        ("mov_text", b"\0\6\xfe\xff\0a\0b", [("ab", 0)]),  # UTF-16 may be, with its mark
        ("mov_text", b"\0\0", []),
        ("subrip", b" \n ", []),
    ],
)
def test_words_and_faces_are_read(codec, data, runs):
    assert read_cue(codec, data) == runs


@pytest.mark.parametrize(
    ("codec", "written"),
    [
        ("subrip", b"a & <i><b>b</b></i>\nc"),
        ("webvtt", b"a &amp; <i><b>b</b></i>\nc"),
        ("mov_text", b"\0\7a & b\nc" + b"\0\0\0\x16styl\0\1" + b"\0\4\0\5\0\1\3\x10\xff\xff\xff\xff"),
    ],
)
def test_words_and_faces_are_written(codec, written):
    assert write_cue(codec, [("a & ", 0), ("b", BOLD | ITALIC), ("\nc", 0)]) == written


@pytest.mark.parametrize("codec", ["subrip", "webvtt", "mov_text"])
def test_what_was_written_is_read_again(codec):
    runs = [("Über <alles> & ", 0), ("bold", BOLD), (" then ", 0), ("all", BOLD | ITALIC | UNDERLINE), ("\nend", 0)]
    if codec == "subrip":
        runs[0] = ("Über alles & ", 0)  # it has no way to write "<b>"
    assert read_cue(codec, write_cue(codec, runs)) == runs


def test_a_blank_line_does_not_end_a_cue():
    assert write_cue("subrip", [("one\n\n \ntwo\n", 0)]) == b"one\ntwo"
    assert write_cue("webvtt", [("one\n\n \ntwo\n", 0)]) == b"one\ntwo"


@pytest.mark.slow
@pytest.mark.parametrize("codec", READABLE)
def test_wrong_bytes_are_replaced_and_absurd_lengths_cut(codec):
    noise = random.Random(0)
    for size in (0, 1, 2, 3, 40, 500):
        for _ in range(50):
            for written in ("subrip", "webvtt", "mov_text"):
                write_cue(written, read_cue(codec, noise.randbytes(size)))
    text = b"\xff" * 3_000_000
    runs = read_cue(codec, (LONGEST.to_bytes(2, "big") if codec == "mov_text" else b"") + text)
    assert {*runs[0][0]} == {"\N{REPLACEMENT CHARACTER}"}
    assert len(write_cue("mov_text", runs)) <= 2 + LONGEST


@pytest.mark.parametrize("opening", [b"<", b"{", b"{\\", b"<font ", b"<b", b"\\"])
def test_reading_takes_no_longer_for_tags_that_never_end(opening):
    data = opening * (LONGEST // len(opening)) + b"a" * 9
    for codec in READABLE:
        read_cue(codec, data)
        read_cue(codec, opening + b"a" * LONGEST)


def test_cues_that_overlap_become_ones_that_do_not():
    """At each moment what was to be read is to be read: by looking at each of them."""
    noise = random.Random(1)
    cues = sorted(
        (Cue(start, start + noise.randrange(1, 30), [(f"{start}", 0)]) for start in noise.sample(range(200), 40)),
        key=lambda cue: cue.start,
    )
    screen, found = OneAtATime(), []
    for cue in cues:
        found += screen.settled(cue.start)
        screen.add(cue)
    found += screen.settled(None)
    assert all(a.end <= b.start for a, b in pairwise(found))
    for moment in range(240):
        due = sorted(text for cue in cues if cue.start <= moment < cue.end for text, _ in cue.runs)
        shown = [text for cue in found if cue.start <= moment < cue.end for text, _ in cue.runs]
        assert sorted("".join(shown).split()) == due


def test_nothing_is_settled_that_may_still_change():
    screen = OneAtATime()
    screen.add(Cue(0, 10, [("a", 0)]))
    assert list(screen.settled(9)) == []
    screen.add(Cue(9, 12, [("b", 0)]))
    assert [(cue.start, cue.end) for cue in screen.settled(11)] == [(0, 9), (9, 10)]


def test_more_cues_at_once_than_anyone_can_read_are_counted():
    screen = OneAtATime()
    for number in range(1000):
        screen.add(Cue(0, 10, [(f"{number}", 0)]))
    assert screen.crowded_out == 800
    assert len(list(screen.settled(None))) == 1
