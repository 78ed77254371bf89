"""Files that disappear while a run uses them: an error that says so, and a clean start the next time."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from dagan_cli.media.video.segments import folder_of
from tests.support import nursery
from tests.support.tiny import clip, frames_of, left_over, picture


def wait_for(pattern: str, folder: Path) -> None:
    until = time.monotonic() + nursery.PATIENCE
    while not list(folder.rglob(pattern)):
        assert time.monotonic() < until
        time.sleep(0.005)


def remove(folder: Path) -> None:
    """Remove a folder in which a run creates files meanwhile."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("removed", ["folder", "segment", "journal"])
def test_a_work_folder_that_is_removed_is_an_error_and_the_next_run_starts_clean(tmp_path, tiny_model, removed):
    source, target, log = (
        clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an", seconds=8),
        tmp_path / "out.mkv",
        tmp_path / "log",
    )
    options = [source, "-n", tiny_model, "-s", 2, "-c", "ffv1", "--device", "cpu", "--progress", "none"]
    process = nursery.start([*options, "-o", target], log)
    wait_for("000001.packets", tmp_path)  # so the first segment is in the journal
    work = folder_of(target)
    if removed == "folder":
        remove(work)
    else:
        next(work.glob("000000.packets" if removed == "segment" else "journal.*")).unlink()
    process.join(nursery.PATIENCE)
    said = log.read_text().splitlines()
    assert process.exitcode == 6 or (removed == "journal" and process.exitcode == 0), said
    if process.exitcode:
        assert len(said) == 2, said
        assert said[0].startswith("error: ")
        assert "removed" in said[1]
        assert not target.exists()
    again = nursery.start([*options, "-o", target, "-y"], log)
    again.join(nursery.PATIENCE)
    assert again.exitcode == 0, log.read_text()
    assert len(frames_of(target)) == 200
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_an_output_folder_that_is_removed_is_an_error_for_images_in_work_and_made_again_for_the_next(
    tmp_path, tiny_model
):
    for number in range(6):
        picture(tmp_path / "in" / f"{number}.png", (300, 300))
    out, log = tmp_path / "out", tmp_path / "log"
    options = ["-n", tiny_model, "-s", 2, "-t", 32, "--device", "cpu", "--progress", "none"]
    process = nursery.start([tmp_path / "in", *options, "-o", out], log)
    wait_for("*.part.png", tmp_path)
    remove(out)
    process.join(nursery.PATIENCE)
    said = log.read_text().splitlines()
    assert process.exitcode == 1, said
    errors = [line for line in said if line.startswith("error: ")]
    assert "0_x2.png: no such file or directory" in errors[0]
    assert all("no such file or directory" in line for line in errors)
    assert len(errors) <= 3, said  # one is written and one computed, with the next in its turn
    assert sorted(path.name for path in out.iterdir()) == [f"{number}_x2.png" for number in range(len(errors), 6)]
