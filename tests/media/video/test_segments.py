"""Work folders that somebody else filled: what is in them is neither changed nor trusted to be small."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from dagan_cli.errors import CannotWrite
from dagan_cli.media.video.segments import folder_of, forget_finished, work_folder

SETTINGS = {"source": "a"}


def test_a_file_of_kept_frames_that_is_a_hard_link_is_not_cut(tmp_path: Path) -> None:
    will, target = tmp_path / "will.txt", tmp_path / "out.mkv"
    will.write_text("precious")
    with work_folder(target, SETTINGS, resume=True):
        (tmp_path / "kept").mkdir()
        (folder_of(target) / "journal.jsonl").rename(tmp_path / "kept" / "journal.jsonl")
    (tmp_path / "kept").rename(folder_of(target))
    os.link(will, folder_of(target) / "000000.frames")
    with pytest.raises(CannotWrite, match="hard link"), work_folder(target, SETTINGS, resume=True):
        pass
    assert will.read_text() == "precious"


@pytest.mark.parametrize("content", [b"\n", b"x"])
def test_a_journal_takes_no_more_memory_than_a_line(content: bytes, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    folder_of(target).mkdir()
    (folder_of(target) / "journal.jsonl").write_bytes(content * (1 << 24))
    tracemalloc.start()
    try:
        forget_finished(target)
        with work_folder(target, SETTINGS, resume=True) as work:
            assert not work.segments
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
