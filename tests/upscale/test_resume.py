"""A video that was stopped or killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.files import Taken
from dagan_cli.media.video.packets import decoding_times
from dagan_cli.media.video.segments import KeptFrame, folder_of, kept_frames, work_folder
from tests.support.tiny import MOVING, STEADY, clip, command, frames_of, left_over, sound_of

SETTINGS = {"model": "one", "size": [2, 2]}
KILLS = int(os.environ.get("DAGAN_KILLS", "2"))  # for each clip
# Processes that a test starts would choose OpenVINO where it is installed, and the runs in the test's own one do not.
TORCH = ("--runtime", "torch")
CODECS = {".mkv": ("-c", "ffv1"), ".mov": ("-c", "prores_ks"), ".mp4": ("-c", "libx264", *STEADY)}


def segment(work, number: int, frames: int = 3) -> None:
    with work.create(len(work.segments)) as file:
        file.write(bytes([number]) * 100)
    work.finish([number * 10 + i for i in range(frames)], [1] * frames)


def begun(target: Path, segments: int = 2) -> int:
    """A run that dies after so many segments; returns how many an earlier one had finished."""
    found = -1
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True) as work:
        found = len(work.segments)
        for number in range(segments):
            segment(work, number)
        raise KeyboardInterrupt
    return found


def found(target: Path) -> int:
    """How many segments the next run finds."""
    return begun(target, segments=0)


def killed(moment: float, *arguments: object) -> bool:
    """Start `dagan`, and kill it so many seconds after its first frame; whether it was still at work."""
    process = subprocess.Popen(command(*arguments, "--progress", "json"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == "progress":
            break
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.stderr.close()
    return process.wait(60) == -signal.SIGKILL


# --- the journal


def test_finished_segments_are_found_again_and_gone_once_all_is_well(tmp_path):
    target = tmp_path / "out.mkv"
    begun(target)
    with work_folder(target, SETTINGS, resume=True) as work:
        assert [s.pts for s in work.segments] == [[0, 1, 2], [10, 11, 12]]
        assert work.frames == 6
        segment(work, 2)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_run_that_finished_no_segment(tmp_path):
    begun(tmp_path / "out.mkv", segments=0)
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_cut_does_not_count(tmp_path):
    target = tmp_path / "out.mkv"
    begun(target)
    journal = folder_of(target) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert found(target) == 1
    assert found(target) == 1  # the mended journal is read like any other


def test_a_segment_that_is_not_what_the_journal_says_does_not_count_nor_any_after_it(tmp_path):
    target = tmp_path / "out.mkv"
    begun(target, segments=3)
    damaged = sorted(folder_of(target).glob("*.packets"))[1]
    damaged.write_bytes(b"\x07" + damaged.read_bytes()[1:])
    assert found(target) == 1


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\n", b"[]\n[]\n[]\n", b'{"settings": 1}\n{"a": 1}\n', b"\n" * 9])
def test_a_journal_of_junk_is_begun_anew_or_refused(tmp_path, junk):
    target = tmp_path / "out.mkv"
    begun(target)
    (folder_of(target) / "journal.jsonl").write_bytes(junk)
    assert found(target) == 0


def test_other_settings_do_not_throw_away_what_is_there(tmp_path):
    target = tmp_path / "out.mkv"
    begun(target)
    other = work_folder(target, SETTINGS | {"model": "two"}, resume=True)
    with pytest.raises(BadOption, match=r"started with other settings \(model\)") as refused, other:
        pass
    assert "--no-resume" in refused.value.hint
    assert found(target) == 2
    with work_folder(target, SETTINGS | {"model": "two"}, resume=False) as work:
        assert work.segments == []


def kept(target: Path, *frames: tuple[int, int]) -> list[int]:
    """A run that keeps frames, given as segment and time, and dies; returns the times that an earlier one had kept."""
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True) as work:
        before = [(frame.pts, frame.captions, frame.planes) for frame in work.kept_frames(500)]
        assert [pts for pts, _, _ in before] == work.kept
        assert all(captions == b"cc" and planes == bytes([pts]) * 500 for pts, captions, planes in before)
        for index, pts in frames:
            work.keep(index, KeptFrame(pts, 1, b"cc", bytes([pts]) * 500))
        raise KeyboardInterrupt
    return work.kept


def test_frames_of_unfinished_segments_are_found_again_until_their_segment_is_finished(tmp_path):
    target = tmp_path / "out.mkv"
    assert kept(target, (0, 1), (0, 2), (1, 3)) == []
    assert kept(target, (1, 4)) == [1, 2, 3]
    assert kept(target) == [1, 2, 3, 4]
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True) as work:
        work.create(0).close()
        work.finish([1, 2], [1, 1])
        raise KeyboardInterrupt
    assert kept(target) == [3, 4]
    with work_folder(target, SETTINGS, resume=True):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_kept_frame_that_is_not_whole_does_not_count_nor_any_after_it(tmp_path, damage):
    target = tmp_path / "out.mkv"
    kept(target, (0, 1), (0, 2), (1, 3))
    file = folder_of(target) / "000000.frames"
    data = file.read_bytes()
    file.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    assert kept(target, (0, 2), (1, 4)) == [1]
    assert kept(target) == [1, 2, 4]


def test_what_is_kept_is_counted_without_a_change(tmp_path):
    target = tmp_path / "out.mkv"
    assert kept_frames(target, SETTINGS) == 0
    begun(target)
    kept(target, (2, 90), (2, 91))
    with (folder_of(target) / "000002.frames").open("ab") as file:
        file.write(b"half a frame")
    before = {file: file.read_bytes() for file in folder_of(target).iterdir()}
    assert kept_frames(target, SETTINGS) == 2 * 3 + 2
    with pytest.raises(BadOption, match="other settings"):
        kept_frames(target, SETTINGS | {"model": "two"})
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()} == before


def test_of_a_planted_frame_no_more_is_expanded_than_a_frame_has(tmp_path):
    target = tmp_path / "out.mkv"
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True) as work:
        work.keep(0, KeptFrame(1, 1, b"", bytes(1 << 28)))
        raise KeyboardInterrupt
    with work_folder(target, SETTINGS, resume=True) as work:
        tracemalloc.start()
        assert [frame.planes for frame in work.kept_frames(500)] == [b""]
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
        tracemalloc.stop()


def test_frames_that_were_kept_with_other_settings_are_neither_used_nor_thrown_away(tmp_path):
    target = tmp_path / "out.mkv"
    kept(target, (0, 1))
    with (
        pytest.raises(BadOption, match=r"other settings \(model\)"),
        work_folder(target, SETTINGS | {"model": "2"}, resume=True),
    ):
        pass
    assert kept(target) == [1]
    with work_folder(target, SETTINGS | {"model": "2"}, resume=False) as work:
        assert work.kept == []
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_work_on_one_output(tmp_path):
    target = tmp_path / "out.mkv"
    with work_folder(target, SETTINGS, resume=True), ThreadPoolExecutor(1) as other:
        refused = other.submit(begun, target).exception()
    assert isinstance(refused, Taken)
    assert f"process {os.getpid()}" in str(refused)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shown", [[0, 1, 2, 3], [0, 4, 2, 1, 3, 8, 6, 5, 7], [0, 30, 10, 20], [5]])
def test_decoding_times_increase_and_none_comes_after_its_picture_is_shown(shown):
    decoded = decoding_times(shown)
    assert all(a < b for a, b in pairwise(decoded))
    assert all(d <= p for d, p in zip(decoded, shown, strict=True))


# --- the command


def stopped(frames: int, *arguments: object) -> int:
    """Start `dagan`, ask it to stop once so many frames are written; its exit code."""
    process = subprocess.Popen(command(*arguments, "--progress", "json"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    asked = False
    for line in process.stderr:
        if not asked and json.loads(line).get("done", 0) >= frames:
            process.send_signal(signal.SIGINT)
            asked = True
    return process.wait(60)


@pytest.mark.slow
def test_a_stopped_video_goes_on_where_it_was_with_the_same_settings_alone(cli, tmp_path, tiny_model):
    source = clip(tmp_path / "in.mp4", seconds=5)
    work = (source, "-n", tiny_model, "-s", 2, *TORCH, "-c", "ffv1", "-o", tmp_path / "out.mkv")
    assert stopped(52, *work, "--report", tmp_path / "stopped.json") == 130
    assert not (tmp_path / "out.mkv").exists()
    report = json.loads((tmp_path / "stopped.json").read_text())
    (row,) = report["items"]
    assert (row["status"], row["output"], report["totals"]["stopped"]) == ("stopped", str(tmp_path / "out.mkv"), 1)
    assert row["reason"].startswith(f"stopped after {row['frames']} of 125 frames")
    before = {file: file.read_bytes() for file in folder_of(work[-1]).iterdir()}
    ran = cli(*work, "--dry-run", "--json")
    item = json.loads(ran.out)["items"][0]
    assert (item["status"], item["frames"], item["resumed"]) == ("planned", 125, row["frames"])
    for flags, words in (
        (("--order", 2), "out.mkv was started with --order 1, now 2"),
        (("-e", "slices=4"), "out.mkv was started without -e slices=4"),
    ):
        ran = cli(*work, *flags)
        assert (ran.code, words in ran.err) == (2, True), ran.err
        assert "--no-resume" in ran.err
    assert {file: file.read_bytes() for file in folder_of(work[-1]).iterdir()} == before
    ran = cli(*work, "--json")
    assert ran.code == 0, ran.err
    item = json.loads(ran.out)["items"][0]
    assert item["frames"] == 125
    assert item["resumed"] == row["frames"]
    assert 52 <= item["resumed"] < 60  # also those after the first segment, which has 48 frames
    assert left_over(tmp_path) == []
    assert cli(*work[:-1], tmp_path / "whole.mkv", "--no-resume").code == 0
    assert frames_of(tmp_path / "out.mkv") == frames_of(tmp_path / "whole.mkv")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), [("10bit.mov", ["-c", "prores_ks"]), ("grey.mkv", ["-c", "ffv1"])])
def test_frames_kept_before_the_first_segment_was_done_are_those_of_a_run_that_was_not_stopped(
    cli, tmp_path, tiny_model, name, flags
):
    pix_fmt = "gray" if name.startswith("grey") else "yuv422p10le"
    source = clip(tmp_path / name, "-c:v", "ffv1", "-pix_fmt", pix_fmt, "-an", "-f", "matroska", seconds=1)
    work = (source, "-n", tiny_model, "-s", 2, *TORCH, *flags, "-o", tmp_path / f"out{source.suffix}")
    assert stopped(3, *work) == 130
    ran = cli(*work, "--json")
    assert ran.code == 0, ran.err
    assert 3 <= json.loads(ran.out)["items"][0]["resumed"] < 12
    assert cli(*work[:-1], tmp_path / f"whole{source.suffix}", "--no-resume").code == 0
    assert frames_of(work[-1]) == frames_of(tmp_path / f"whole{source.suffix}")
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_on_a_full_disk_the_work_goes_on_without_keeping_frames(cli, tmp_path, tiny_model, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dagan_cli.media.video.segments.WorkFolder.keep", full)
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an")
    assert cli(source, "-n", tiny_model, "-s", 2, "-c", "ffv1").code == 0
    assert len(frames_of(tmp_path / "in_x2.mkv")) == 10


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_killed_at_random_moments_is_the_one_that_was_never_killed(cli, tmp_path, tiny_model, suffix):
    chance = random.Random(suffix)
    uneven = f"{MOVING},settb=1/1000,setpts='40*N+13*mod(N,3)+200*gte(N,6)'"
    source = clip(tmp_path / f"in{suffix}", seconds=5, source=MOVING if suffix == ".mp4" else uneven)
    options = ("-n", tiny_model, "-s", 2, *TORCH, *CODECS[suffix])
    whole, target = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    began = time.monotonic()
    assert cli(source, *options, "-o", whole).code == 0
    took = time.monotonic() - began
    kills = 0
    for _ in range(KILLS):
        kills += killed(chance.uniform(0, took), source, *options, "-o", target)
        if target.exists():  # it was done, or killed between its last step and its end: then it must be whole
            assert frames_of(target) == frames_of(whole)
            target.unlink()
    assert kills
    assert cli(source, *options, "-o", target).code == 0
    assert frames_of(target) == frames_of(whole)
    assert sound_of(target) == sound_of(whole) == sound_of(source)
    assert left_over(tmp_path) == []
