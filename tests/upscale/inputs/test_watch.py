"""A watched folder: each file is done once it is whole, once, until the run is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dagan_cli.upscale.inputs import watch
from tests.support import nursery
from tests.support.tiny import left_over, picture, pixels

NEAREST = ("-n", "nearest", "-s", "2")
SETTLED = 1.0
PATIENCE = 60  # seconds


class Watch:
    """A run that watches, in a process of its own, and what it says."""

    def __init__(self, folder: Path, *arguments: object, name: str = "run") -> None:
        self.report, self.log = folder.parent / f"{name}.json", folder.parent / f"{name}.log"
        self.log.touch()
        given = ["--watch", folder, *arguments, "--report", self.report, "--progress", "json"]
        self.process = nursery.start(
            given, self.log, {f"{watch.__name__}.SETTLED": SETTLED, f"{watch.__name__}.POLL": 0.1}
        )

    def __enter__(self) -> Watch:
        self.wait(lambda: self.said("notice"))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()

    def said(self, event: str) -> list[dict]:
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [found for found in map(json.loads, lines) if found["event"] == event]

    def wait(self, until: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < end, self.log.read_text()
            assert self.process.is_alive(), self.log.read_text()
            time.sleep(0.02)

    def wait_for(self, count: int) -> list[dict]:
        """Wait for so many results."""
        self.wait(lambda: len(self.said("item")) >= count)
        return self.said("item")

    def stop(self, number: int = signal.SIGINT) -> int | None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return self.ended()

    def ended(self) -> int | None:
        self.process.join(PATIENCE)
        return self.process.exitcode

    @property
    def statuses(self) -> dict[str, str]:
        return {Path(item["input"]).name: item["status"] for item in json.loads(self.report.read_text())["items"]}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def idle(count: float = 2.0) -> None:
    time.sleep(count * SETTLED)


# --- files come and go


@pytest.mark.slow
def test_what_is_there_and_what_comes_is_done_and_a_stop_while_idle_is_the_end(folder):
    picture(folder / "a.png")
    picture(folder / "sub" / "no.png")
    with Watch(folder, *NEAREST) as run:
        run.wait_for(1)
        picture(folder / "b.png")
        (folder / "notes.txt").write_text("no image")
        (folder / ".hidden.png").write_bytes((folder / "b.png").read_bytes())
        (folder / "c.png.part").write_bytes((folder / "b.png").read_bytes())
        run.wait_for(2)
        (folder / "c.png.part").rename(folder / "c.png")
        run.wait_for(3)
        idle()
        assert run.stop() == 0
    assert run.statuses == {"a.png": "done", "b.png": "done", "c.png": "done"}
    assert {path.name for path in folder.glob("*_x2*")} == {"a_x2.png", "b_x2.png", "c_x2.png"}
    (summary,) = run.said("summary")
    assert (summary["inputs"], summary["done"]) == (3, 3)
    assert left_over(folder.parent) == []


@pytest.mark.slow
def test_a_file_that_grows_is_done_once_when_it_is_whole(folder):
    data = picture(folder.parent / "whole.png", (40, 30)).read_bytes()
    third = len(data) // 3
    with Watch(folder, *NEAREST, "-o", folder.parent / "out") as run:
        with (folder / "a.png").open("wb") as file:
            for start in (0, third, 2 * third):
                file.write(data[start : None if start == 2 * third else start + third])
                file.flush()
                time.sleep(0.7 * SETTLED)
        run.wait_for(1)
        idle()
        assert run.stop(signal.SIGTERM) == 0
        assert [item["status"] for item in run.said("item")] == ["done"]
    assert (pixels(folder.parent / "out" / "a_x2.png")[::2, ::2] == pixels(folder.parent / "whole.png")).all()


@pytest.mark.slow
def test_a_file_that_failed_is_tried_again_once_it_changes(folder):
    (folder / "a.png").write_bytes(b"half")
    with Watch(folder, *NEAREST) as run:
        run.wait_for(1)
        idle(3)
        assert [item["status"] for item in run.said("item")] == ["failed"]
        picture(folder / "a.png")
        run.wait_for(2)
        assert run.stop() == 0
    assert run.statuses == {"a.png": "done"}


@pytest.mark.slow
def test_a_file_that_changes_is_done_again_and_no_other_result_is_replaced(folder):
    picture(folder / "a.png")
    picture(folder / "b.png")
    theirs = picture(folder / "b_x2.png", (3, 3)).read_bytes()
    with Watch(folder, *NEAREST) as run:
        run.wait_for(3)  # theirs is an image like any other
        source = picture(folder / "a.png", seed=7)
        run.wait_for(4)
        assert run.stop() == 1
    assert run.statuses == {"a.png": "done", "b.png": "failed", "b_x2.png": "done"}
    assert (pixels(folder / "a_x2.png")[::2, ::2] == pixels(source)).all()
    assert (folder / "b_x2.png").read_bytes() == theirs


@pytest.mark.slow
def test_subfolders_are_watched_with_r_and_inputs_of_one_name_are_told_apart(folder):
    out = folder / "out"
    picture(folder / "a.png")
    with Watch(folder, "-r", *NEAREST, "-f", "webp", "-o", out) as run:
        run.wait_for(1)
        picture(folder / "a.bmp")
        picture(folder / "new" / "deep" / "c.png")
        run.wait_for(3)
        idle()
        assert run.stop() == 0
    assert len(run.said("item")) == 3
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.webp"))
    assert names == ["a_bmp_x2.webp", "a_x2.webp", "new/deep/c_x2.webp"]


@pytest.mark.slow
def test_equal_watches_share_the_files(folder):
    out = folder.parent / "out"
    with Watch(folder, *NEAREST, "-o", out, name="one") as one, Watch(folder, *NEAREST, "-o", out, name="two") as two:
        for number in range(12):
            picture(folder / f"{number}.png", seed=number)
        one.wait_for(12)
        two.wait_for(12)
        idle()
        assert (one.stop(), two.stop()) == (0, 0)
        done = [item["input"] for run in (one, two) for item in run.said("item") if item["status"] == "done"]
    assert len(done) == len(set(done)) == 12


# --- the end


@pytest.mark.slow
def test_a_stop_in_the_middle_ends_as_any_run_that_was_stopped(folder, tiny_model):
    with Watch(folder, "-n", tiny_model, "-s", "2", "-t", "64") as run:
        for name in "ab":
            picture(folder / f"{name}.png", (900, 900))
        run.wait(lambda: run.said("progress"))
        picture(folder / "late.png")
        idle(0.3)
        assert run.stop() == 130
    assert {"a.png", "b.png"} <= run.statuses.keys()
    assert "untried" in run.statuses.values()
    assert left_over(folder) == []


@pytest.mark.slow
def test_what_was_still_growing_at_a_stop_is_untried(folder):
    with Watch(folder, *NEAREST) as run:
        idle(0.5)
        picture(folder / "a.png")
        time.sleep(0.4 * SETTLED)
        assert run.stop(signal.SIGTERM) == 143
    assert run.statuses == {"a.png": "untried"}


@pytest.mark.slow
def test_a_watched_folder_that_is_removed_ends_the_run_and_what_was_done_is_reported(folder):
    picture(folder / "a.png")
    with Watch(folder, *NEAREST, "-o", folder.parent / "out") as run:
        run.wait_for(1)
        shutil.rmtree(folder)
        assert run.ended() == 3
    assert run.statuses == {"a.png": "done"}
    assert "has gone" in run.log.read_text().splitlines()[-2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.png",),
        ("in", "a.png"),
        ("missing",),
        ("in", "--dry-run"),
        ("in", "--shard", "1/2"),
        ("-",),
        ("in", "-o", "-"),
        ("in", "-o", "s3://bucket/results"),
        ("https://name:secret@host/in",),
    ],
)
def test_what_cannot_be_watched_is_refused(cli, tmp_path, monkeypatch, folder, arguments):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    ran = cli("upscale", *arguments, "--watch")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert "--watch" in ran.err
    assert "secret" not in ran.err


def test_a_file_for_the_results_of_a_folder_is_refused_before_the_first_file(cli, folder):
    ran = cli(folder, "--watch", "-o", "out.png")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)


# --- looking


@pytest.fixture
def look(monkeypatch, folder) -> Callable[[float], set[str]]:
    """Look at the folder at a time in seconds; the names that are ready."""
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    request = SimpleNamespace(inputs=(str(folder),), recursive=True, output=str(folder / "out"))
    watched = watch._Watched(request)  # type: ignore[arg-type]

    def looked(at: float) -> set[str]:
        now[0] = at
        return {path.name for path in watched.ready()}

    looked.watched = watched  # type: ignore[attr-defined]
    return looked


def test_a_state_of_a_file_is_ready_once_after_it_stayed(look, folder):
    settled = watch.SETTLED
    (folder / "a").write_bytes(b"1")
    assert [look(0), look(settled - 0.1), look(settled), look(10 * settled)] == [set(), set(), {"a"}, set()]
    (folder / "a").write_bytes(b"22")
    assert [look(11 * settled), look(12 * settled), look(13 * settled)] == [set(), {"a"}, set()]
    os.utime(folder / "a", (1, 1))
    assert [look(20 * settled), look(21 * settled)] == [set(), {"a"}]


def test_a_result_that_was_moved_away_at_once_is_no_error(look, folder):
    (folder / "a").touch()
    look.watched.know(folder / "moved")
    look.watched.know(folder / "a")
    assert [look(0), look(watch.SETTLED)] == [set(), set()]


def test_looking_remembers_no_more_than_there_is(look, folder):
    for number in range(100):
        path = folder / f"{number}"
        path.touch()
        look(10.0 * number)
        look(10.0 * number + watch.SETTLED)
        path.unlink()
    look(10_000)
    assert (look.watched._taken, look.watched._waiting) == ({}, {})


def test_results_hidden_and_unfinished_files_links_to_folders_and_pipes_are_not_looked_at(look, folder):
    for name in (".hidden", "a.part", "b.CRDOWNLOAD", "c.tmp", "d~", "out/result", "good", "sub/good2"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(folder)
    look(0)
    assert look(watch.SETTLED) == {"good", "good2"}
