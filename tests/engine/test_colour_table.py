"""docs/colour.md is true: every kind of video is in it, none changes a code value, and it can be measured again."""

from __future__ import annotations

import pytest

from tests.support.colour_table import HEAD, TARGET, Case, Measured, cases, measure, row

ALL = list(cases())
SOME = ("yuv420p bt709 limited", "yuv422p10le bt601 full", "yuv444p12le bt2020 limited", "yuvj420p bt601 full")
SOME += ("gray12le bt709 limited", "gbrp rgb full", "yuva444p10le bt709 limited")


def name(case: Case) -> str:
    return f"{case.pix_fmt} {case.matrix} {'full' if case.full_range else 'limited'}"


def assert_exact(case: Case, measured: Measured) -> None:
    assert measured.furthest <= 0.002 * max(1, 2 ** (case.depth - 12))  # float32 has 24 bits
    assert (measured.back, measured.changed) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in ALL if name(case) in SOME], ids=name)
def test_colour_is_exact(tmp_path, case):
    assert_exact(case, measure(case, tmp_path))


@pytest.mark.corpus
@pytest.mark.parametrize("case", [case for case in ALL if name(case) not in SOME], ids=name)
def test_colour_is_exact_in_every_combination(tmp_path, case):
    assert_exact(case, measure(case, tmp_path))


def test_the_page_has_a_row_for_every_kind_of_video_and_none_says_that_a_code_value_changes():
    text = TARGET.read_text()
    assert text.startswith(HEAD)
    rows = text.removeprefix(HEAD).splitlines()
    assert len(rows) == len(ALL) == 66
    for case, line in zip(ALL, rows, strict=True):
        cells = line.split("|")
        assert_exact(case, Measured(float(cells[4]), float(cells[5]), int(cells[6]), int(cells[7])))
        assert line == row(case, Measured(float(cells[4]), float(cells[5]), 0, 0))
