"""Tables fit the terminal: columns of text wrap or are cut in the middle, numbers never are."""

from __future__ import annotations

import json
import re
import tracemalloc
import unicodedata

import pytest

from dagan_cli.commands.shown.tables import columns, room, shortened, table, wrapped
from tests.support.tiny import clip, picture

LONG = "a_name_of_exactly_forty_characters_1.png"
HEADER = ["file", "pixels", "seconds"]


def test_a_table_that_fits_stays_as_it_is():
    text = table(HEADER, [["a.png", "12", "3.5"], ["b.png", "1234567", "0.1"]], width=60)
    assert text.splitlines() == ["file    pixels  seconds", "a.png       12      3.5", "b.png  1234567      0.1"]


def test_nothing_is_cut_where_no_terminal_limits_it(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert room() is None
    assert "x" * 500 in table(HEADER, [["x" * 500, "1", "2"]])
    monkeypatch.setenv("COLUMNS", "60")
    assert room() == 60


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_long_name_is_cut_in_its_middle_and_numbers_stay_whole(width):
    rows = [[f"{LONG} {LONG}".replace(" ", "_"), "123456", "7890.5"], ["b.png", "1", "2"]]
    lines = table(HEADER, rows, width=width).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert re.fullmatch(r"a_name.*….*\.png  123456   7890.5", lines[1])


def test_words_wrap_below_their_own_column():
    rows = [["name", "one two three four five six seven eight nine ten"]]
    assert table(None, rows, left=2, width=30).splitlines() == [
        "name  one two three four five",
        "      six seven eight nine ten",
    ]


def test_a_row_without_room_becomes_a_list_that_names_every_value():
    header = ["file", *(f"column {i}" for i in range(6))]
    text = table(
        header,
        [["a.png", *(f"value {i}" for i in range(6))], ["b.png", "x", "", "", "", "", "y"], ["c.png", "failed"]],
        width=40,
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0] == "a.png"
    for i in range(6):
        assert f"column {i}: value {i}" in text
    assert lines[-4:] == ["b.png", "  column 0: x  column 5: y", "c.png", "  failed"]


def test_the_last_cell_of_a_short_row_extends_over_the_others():
    rows = [["a.png", "1", "2"], ["b.png", "failed: the file is truncated"]]
    assert table(HEADER, rows, width=60).splitlines()[-1] == "b.png  failed: the file is truncated"
    assert table(HEADER, rows, width=30).splitlines()[-2:] == ["b.png  failed: the file is", "       truncated"]


def test_a_short_row_takes_no_more_memory_than_its_text():
    tracemalloc.start()
    try:
        text = table(["name", "one", "two"], [["a", "1", "2"], ["b", "failed: it is damaged"]], width=1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert text.splitlines() == ["name  one  two", "a       1    2", "b     failed: it is damaged"]


def test_columns_line_up_by_what_a_terminal_shows():
    def shown(text: str) -> int:  # as East Asian Width defines it
        return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

    name = "写真" * 20 + ".jpg"
    lines = table(HEADER, [[name, "12", "3.5"], ["a.png", "1", "2"]], width=50).splitlines()
    assert {shown(line) for line in lines} == {50}
    assert "….jpg" in lines[1].replace("写", "").replace("真", "")
    assert columns("e\u0301") == 1


@pytest.mark.parametrize("width", range(3, 12))
def test_a_shortened_name_has_the_width_and_both_ends(width):
    short = shortened("abcdefghijkl", width)
    assert len(short) == width
    head, tail = short.split("…")
    assert ("abcdefghijkl"[: len(head)], "abcdefghijkl"[12 - len(tail) :]) == (head, tail)


def test_a_line_breaks_at_spaces_only():
    assert wrapped("one two three", 7, "  ") == "one two\n  three"
    assert wrapped("one two three", None) == "one two three"


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80])
def test_what_commands_print_as_tables_fits(cli, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    source = picture(tmp_path / LONG)
    video = clip(tmp_path / LONG.replace("png", "mkv"), "-c:v", "ffv1", "-an", seconds=0.08)
    run = (source, video, "-n", "nearest", "-s", 2)
    assert cli(*run).code == 0
    printed = {
        command[0]: cli(*command).out
        for command in (
            ["models", "list"],
            ["probe", video],
            ["verify", source, source.with_stem(f"{source.stem}_x2")],
            ["doctor"],
            ["bench", video, "-n", "nearest", "-s", 2, "--rounds", 1, "--seconds", 0.1],
            [*run, "--dry-run", "-y"],
        )
    }
    for name, out in printed.items():
        assert out.strip(), name
        assert [line for line in out.splitlines() if columns(line) > width] == [], name
    assert json.loads(cli(*run, "--dry-run", "-y", "--json").out)["items"][0]["input"].endswith(LONG)  # never cut


def test_a_path_is_never_cut_and_has_its_own_line_where_there_is_no_room(cli, tiny_model, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    assert f"  {tiny_model}" in cli("models", "verify", tiny_model).out.splitlines()
    monkeypatch.setenv("COLUMNS", "500")
    _header, row = cli("models", "verify", tiny_model).out.splitlines()
    assert row.endswith(f"  {tiny_model}")


@pytest.mark.parametrize("width", [50, 60, 80])
def test_help_cuts_no_sentence_and_no_placeholder(cli, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for command in ((), ("models",), ("train",)):
        text = cli(*command, "--help").out
        assert not [line for line in text.split("Commands:")[1].splitlines() if line.endswith("...")]
        assert max(map(len, text.splitlines())) <= width
    assert "{stem}_x{scale}{part}" in cli("upscale", "--help").out
