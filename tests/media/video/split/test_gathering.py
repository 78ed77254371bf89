"""Segments are finished in any order, survive a kill in any order, and are joined only when they fit."""

from __future__ import annotations

import json
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dagan_cli.errors import CannotWrite
from dagan_cli.media.video.segments import folder_of, piece_name, work_folder
from dagan_cli.media.video.split.gathering import Gathering
from dagan_cli.media.video.split.timeline import Timeline

SETTINGS = {"model": "one"}


def piece(target: Path, index: int, content: bytes) -> str:
    name = piece_name(index)
    (folder_of(target) / name).write_bytes(content)
    return name


def adopted(work, target: Path, *indexes: int, content: bytes = b"") -> None:
    for index in indexes:
        name = piece(target, index, content or bytes([index]) * 100)
        work.adopt(index, name, [10 * index], [10], f"{index - 1}", f"{index}")


def killed(target: Path, *indexes: int) -> None:
    """A run that has finished these segments, in this order, and was then killed."""
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        adopted(work, target, *indexes)
        raise KeyboardInterrupt


def test_segments_are_in_order_once_those_before_them_are_finished(tmp_path):
    target = tmp_path / "out.mkv"
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        adopted(work, target, 2, 0)
        assert [segment.pts for segment in work.segments] == [[0]]
        assert [work.has(index) for index in range(4)] == [True, False, True, False]
        adopted(work, target, 1)
        assert [segment.pts for segment in work.segments] == [[0], [10], [20]]
        assert not work.scattered


@pytest.mark.parametrize("order", [(3, 0, 1), (0, 1, 3), (3,)])
def test_a_killed_run_leaves_what_it_has_finished_in_any_order(tmp_path, order):
    target = tmp_path / "out.mkv"
    killed(target, *order)
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        assert {index for index in range(5) if work.has(index)} == set(order)
    killed(target, *order)
    with work_folder(target, SETTINGS, resume=True) as work:  # one process takes those from the start on
        assert [segment.pts for segment in work.segments] == [[10 * index] for index in range(2) if index in order]
        assert not work.scattered


def test_the_journal_of_a_run_that_went_on_twice_still_tells_all(tmp_path):
    target = tmp_path / "out.mkv"
    killed(target, 4)
    killed(target, 2, 0)
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        assert {index for index in range(6) if work.has(index)} == {0, 2, 4}


def test_a_segment_can_be_made_again(tmp_path):
    target = tmp_path / "out.mkv"
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        adopted(work, target, 0, 1)
        adopted(work, target, 0, content=b"better")
        assert work.segments[0].bytes == 6
        raise KeyboardInterrupt
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        assert [segment.bytes for segment in work.segments] == [6, 100]
        with work.read(0) as file:
            assert file.read() == b"better"


def test_a_damaged_segment_is_made_again_and_the_others_stay(tmp_path):
    target = tmp_path / "out.mkv"
    killed(target, 0, 1, 2)
    (folder_of(target) / "000001.packets").write_bytes(b"x" * 100)
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        assert [work.has(index) for index in range(3)] == [True, False, True]


@pytest.mark.parametrize("index", [-1, 1.5, "1", None, 10**9, True])
def test_a_journal_with_an_impossible_number_is_read_up_to_it(tmp_path, index):
    from dagan_cli.media.video.segments import _line

    target = tmp_path / "out.mkv"
    killed(target, 0)
    journal = folder_of(target) / "journal.jsonl"
    digest = ""
    for line in journal.read_text().splitlines():
        _, digest = _line(json.loads(line.partition(" ")[2]), digest)
    entry = {"index": index, "bytes": 1, "crc32": 0, "pts": [5], "durations": [1], "before": "", "last": ""}
    journal.write_bytes(journal.read_bytes() + _line(entry, digest)[0])
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        assert [segment.pts for segment in work.segments] == [[0]]
        assert not work.scattered


@pytest.mark.parametrize("before", [(0, 1, 2, 3, 5), (0, 1, 3, 4)])
def test_segments_behind_the_end_of_the_film_are_not_part_of_it(tmp_path, before):
    target = tmp_path / "out.mkv"
    plan: Any = None
    killed(target, *before)
    timeline = Timeline(array("q", [0, 10, 20]), None, array("q", [0]))
    with work_folder(target, SETTINGS, resume=True, scattered=True) as work:
        gathering = Gathering(plan, work, timeline, 1, folder_of(target))
        assert gathering.missing == [index for index in range(3) if index not in before]
        adopted(work, target, *gathering.missing)
        assert [segment.pts for segment in work.segments] == [[0], [10], [20]]


def test_a_piece_that_is_gone_is_no_segment(tmp_path):
    target = tmp_path / "out.mkv"
    with (
        pytest.raises(CannotWrite, match="no such file"),
        work_folder(target, SETTINGS, resume=True, scattered=True) as work,
    ):
        work.adopt(0, piece_name(0), [0], [1], "", "")


def test_pieces_of_workers_that_died_are_removed(tmp_path):
    target = tmp_path / "out.mkv"
    killed(target, 0)
    left = piece(target, 1, b"half")
    with work_folder(target, SETTINGS, resume=True, scattered=True):
        assert not (folder_of(target) / left).exists()
    assert list(tmp_path.iterdir()) == []
