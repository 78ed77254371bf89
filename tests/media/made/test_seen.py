"""Facts about files are remembered only of a state that a changed file cannot have, and no index makes them wrong."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from dagan_cli.media.made import index as rows
from dagan_cli.media.made import seen as facts
from dagan_cli.media.made.identity import identity_of
from dagan_cli.media.made.index import Index, state_of
from dagan_cli.media.made.seen import Seen


@pytest.fixture(autouse=True)
def _for_few_files(monkeypatch):
    monkeypatch.setattr(facts, "_FEW", 0)


@pytest.fixture
def settled(monkeypatch):
    """Files count as old as soon as they are written."""
    monkeypatch.setattr(rows, "_SETTLED", -(10**15))


class Looks:
    """One run after another over the same files: whether each of them reads a file."""

    def __init__(self, index: Path) -> None:
        self.index = index

    def reads(self, path: Path, question: str = "size") -> bool:
        """True if a run of its own has to ask the file; its answer must be right in any case."""
        asked = []
        seen = Seen(self.index)
        answer = seen.answer(path, question, lambda: asked.append(path) or path.read_text())
        identity = seen.identity(path)
        seen.close()
        assert (answer, identity) == (path.read_text(), identity_of(path))
        return bool(asked)


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    return Looks(tmp_path / "cache" / "seen.sqlite")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "a.txt"
    path.write_text("first")
    return path


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_asked_once(looks, file):
    assert [looks.reads(file) for _ in range(3)] == [True, False, False]


@pytest.mark.usefixtures("settled")
def test_another_question_is_asked_again(looks, file):
    assert [looks.reads(file, question) for question in ("a", "b", "b", "a")] == [True, True, False, True]


def rewritten(file: Path) -> None:
    before = file.stat()
    file.write_text("other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    before = file.stat()
    other = file.with_name("other")
    other.write_text("other")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def linked_elsewhere(file: Path) -> None:
    other = file.with_name("other")
    other.write_text("other")
    file.unlink()
    file.symlink_to(other)


def in_a_folder_that_was_exchanged(file: Path) -> None:
    other = file.parent.with_name("second")
    other.mkdir()
    (other / file.name).write_text("other")
    file.parent.rename(file.parent.with_name("first"))
    other.rename(file.parent)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [rewritten, replaced, linked_elsewhere, in_a_folder_that_was_exchanged])
def test_a_file_that_changed_is_asked_again_though_its_size_and_time_are_the_same(
    looks: Looks, file: Path, change: Callable[[Path], None]
):
    assert [looks.reads(file), looks.reads(file)] == [True, False]
    change(file)
    assert file.read_text() == "other"
    assert [looks.reads(file), looks.reads(file)] == [True, False]


def test_a_file_that_changed_a_moment_ago_is_not_remembered_as_it_may_change_again_within_a_tick(
    looks, file, monkeypatch
):
    now = file.stat().st_ctime_ns
    for seconds, is_kept in ((-3600, False), (0, False), (2, False), (4, True)):  # before: the clock was set back
        monkeypatch.setattr(facts.time, "time_ns", lambda seconds=seconds: now + seconds * 10**9)
        looks.reads(file)
        assert looks.reads(file) is not is_kept, seconds


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(looks, file):
    seen = Seen(looks.index)
    seen.answer(file, "size", lambda: file.write_text("while") and "first")
    seen.close()
    assert looks.reads(file)


@pytest.mark.usefixtures("settled")
def test_an_answer_of_thousands_of_characters_is_not_remembered_as_memory_is_bounded(looks, file):
    file.write_text("x" * 5000)
    assert [looks.reads(file) for _ in range(2)] == [True, True]


@pytest.mark.usefixtures("settled")
def test_what_could_not_be_read_is_not_remembered(looks, file, monkeypatch):
    def fail(path: Path) -> str:
        raise OSError("too many open files")

    with monkeypatch.context() as broken:
        for name in ("kind_by_content", "identity_of", "read_inside"):
            broken.setattr(facts, name, fail)
        seen = Seen(looks.index)
        assert (seen.kind(file), seen.record(file)) == (None, None)
        with pytest.raises(OSError, match="too many"):
            seen.identity(file)
        seen.close()
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert Seen(looks.index).kind(file) == "picture"


def cut(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:5000])


def emptied(index: Path) -> None:
    index.write_bytes(b"")


def filled_with_junk(index: Path) -> None:
    index.write_bytes(b"junk" * 5000)


def of_another_program(index: Path) -> None:
    index.unlink()
    with sqlite3.connect(index) as database:
        database.execute("CREATE TABLE theirs (a)")


def a_folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


def a_link(index: Path) -> None:
    index.rename(index.with_name("elsewhere"))
    index.symlink_to(index.with_name("elsewhere"))


def with_other_columns(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute(f"DROP TABLE {rows._TABLE}")
        database.execute(f"CREATE TABLE {rows._TABLE} (folder, name)")


def with_other_types(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute(f"UPDATE {rows._TABLE} SET state = 1, answer = 2, identity = x'00ff'")


def with_other_values(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute(f"UPDATE {rows._TABLE} SET answer = 'size wrong', identity = '5-wrong'")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "spoil",
    [
        cut,
        emptied,
        filled_with_junk,
        of_another_program,
        a_folder,
        a_link,
        with_other_columns,
        with_other_types,
        with_other_values,
    ],
)
def test_an_index_that_is_spoilt_costs_a_look_and_nothing_else(looks, file, spoil):
    looks.reads(file)
    spoil(looks.index)
    assert looks.reads(file)  # which compares the answer too
    looks.reads(file)


@pytest.mark.usefixtures("settled")
def test_a_damaged_index_is_made_again_and_that_of_another_program_is_left_alone(looks, file):
    looks.reads(file)
    filled_with_junk(looks.index)
    assert [looks.reads(file) for _ in range(3)] == [True, True, False]  # removed, made, used
    of_another_program(looks.index)
    before = looks.index.read_bytes()
    assert [looks.reads(file) for _ in range(2)] == [True, True]
    assert looks.index.read_bytes() == before


@pytest.mark.usefixtures("settled")
def test_no_flipped_bytes_give_a_wrong_fact(looks, tmp_path):
    paths = [tmp_path / f"{number}.txt" for number in range(40)]
    for path in paths:
        path.write_text(f"content of {path.name}")
        looks.reads(path)
    whole = looks.index.read_bytes()
    draw = random.Random(0)
    for _ in range(30):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 40)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        looks.index.write_bytes(data)
        seen = Seen(looks.index)
        for path in paths:
            assert seen.answer(path, "size", path.read_text) == path.read_text()
            assert seen.identity(path) == identity_of(path)
        seen.close()


@pytest.mark.usefixtures("settled")
def test_an_index_that_cannot_be_made_or_is_locked_costs_nothing_but_time(looks, file, tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    assert [Looks(tmp_path / "taken" / "seen.sqlite").reads(file) for _ in range(2)] == [True, True]
    monkeypatch.setattr(rows, "_PATIENCE", 0.01)
    looks.reads(file)
    other = sqlite3.connect(looks.index)
    other.execute("BEGIN EXCLUSIVE")
    assert looks.reads(file)
    other.close()
    assert not looks.reads(file)


@pytest.mark.usefixtures("settled")
def test_two_runs_at_once_keep_what_both_have_read(looks, tmp_path):
    paths = [tmp_path / f"{number}.txt" for number in range(4)]
    runs = [Seen(looks.index), Seen(looks.index)]
    for number, path in enumerate(paths):
        path.write_text(path.name)
        runs[number % 2].answer(path, "size", path.read_text)
    for run in runs:
        run.close()
    assert [looks.reads(path) for path in paths] == [False] * 4


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("order", [lambda names: names, lambda names: names[::-1], lambda names: names[1::3]])
def test_rows_are_found_in_any_order_of_the_names(tmp_path, order):
    """Names that follow each other are fetched together, twice as many each time."""
    paths = [tmp_path / name for name in sorted(f"{number}é\udcff.txt" for number in range(100))]
    first, second = (Index(tmp_path / "seen.sqlite") for _ in range(2))
    for path in paths:
        path.touch()
        if not path.name.startswith("5"):
            first.put(path, state_of(path), rows.Facts(answer=path.name.encode("utf-8", "replace").decode()))
    first.close()
    for path in order(paths):
        found = second.get(path, state_of(path)).answer
        assert found == ("" if path.name.startswith("5") else path.name.replace("\udcff", "?"))
    second.close()


@pytest.mark.usefixtures("settled")
def test_a_full_index_starts_again(looks, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MOST_BYTES", 1 << 16)
    monkeypatch.setattr(rows, "_BATCH", 100)
    seen = Seen(looks.index)
    for number in range(1000):
        path = tmp_path / f"{number:03}.txt"
        path.touch()
        seen.answer(path, "size", lambda: "x" * 100)
    seen.close()
    assert looks.index.stat().st_size < 1 << 18
    assert Seen(looks.index).answer(tmp_path / "999.txt", "size", lambda: "unknown") == "x" * 100


def test_a_few_files_need_no_index(looks, file, monkeypatch):
    monkeypatch.setattr(facts, "_FEW", 100)
    looks.reads(file)
    assert not looks.index.exists()
