"""Time left of a whole run: from the pixels that are left at the pace of those that are done, or unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagan_cli.commands.shown.job import Job, Left
from dagan_cli.upscale.events import Advance, Amount, Item, Outlook, Start
from tests.support.clock import Clock

SMALL, LARGE, CLIP, RAW = (Path(name) for name in ("small.png", "large.png", "clip.mp4", "raw.h264"))
MEGA = 1_000_000


def job_of(clock: Clock, amounts: dict[Path, Amount], inputs: int | None = None) -> Job:
    job = Job(clock)
    job.follow(Outlook(len(amounts) if inputs is None else inputs, amounts))
    return job


def work(job: Job, clock: Clock, path: Path, seconds: float, *, frames: int = 1, resumed: int = 0) -> None:
    job.follow(Start(0, 2, path))
    clock.now += seconds
    job.follow(Item(input=path, output=None, status="done", frames=frames, resumed=resumed))


def left(job: Job) -> Left:
    """The time left, which must be known."""
    assert job.left is not None
    return job.left


def test_before_any_work_the_time_is_unknown(clock):
    job = job_of(clock, {SMALL: Amount("picture", MEGA, 1)})
    assert (job.left, job.input_left, job.share) == (None, None, 0.0)


def test_time_left_is_that_of_the_pixels_and_not_of_the_files(clock):
    job = job_of(clock, {SMALL: Amount("picture", MEGA, 1), LARGE: Amount("picture", 20 * MEGA, 1)})
    work(job, clock, SMALL, 10.0)
    assert job.settled == 1
    assert left(job).seconds == pytest.approx(200, rel=0.01)
    assert job.share == pytest.approx(1 / 21, rel=0.01)


def test_tiles_of_the_image_in_work_count(clock):
    job = job_of(clock, {SMALL: Amount("picture", MEGA, 1), LARGE: Amount("picture", MEGA, 1)})
    job.follow(Start(0, 2, SMALL))
    clock.now = 3.0
    job.follow(Advance(1, 4, "tiles"))
    assert job.input_left == Left(9.0)
    assert left(job).seconds == pytest.approx(21, rel=0.01)
    assert job.rate == pytest.approx(1 / 3)


def test_frames_of_an_earlier_run_are_no_work(clock):
    job = job_of(clock, {CLIP: Amount("video", MEGA, 100)})
    job.follow(Start(0, 1, CLIP))
    clock.now = 10.0
    job.follow(Advance(60, 100, "frames", resumed=50))
    assert job.rate == 1.0
    assert job.input_left == Left(40.0)
    assert left(job).seconds == pytest.approx(40, rel=0.01)
    assert job.share == pytest.approx(0.6, rel=0.01)


def test_images_and_videos_have_their_own_pace(clock):
    amounts = {SMALL: Amount("picture", MEGA, 1), LARGE: Amount("picture", MEGA, 1), CLIP: Amount("video", MEGA, 10)}
    job = job_of(clock, amounts)
    work(job, clock, SMALL, 1.0)
    job.follow(Start(1, 3, CLIP))
    clock.now += 4.0
    job.follow(Advance(2, 10, "frames"))
    assert left(job).seconds == pytest.approx(8 * 2 + 1, rel=0.01)


def test_a_video_of_unknown_length_makes_the_time_a_minimum(clock):
    job = job_of(clock, {SMALL: Amount("picture", MEGA, 1), RAW: Amount("video", MEGA, None)})
    work(job, clock, SMALL, 1.0)
    assert left(job).at_least
    job.follow(Start(1, 2, RAW))
    job.follow(Advance(5, None, "frames"))
    assert job.input_left is None
    job.follow(Item(input=RAW, output=None, status="done", frames=6))
    assert job.left == Left(0.0)


def test_inputs_that_fail_or_are_skipped_take_their_work_along(clock):
    job = job_of(clock, {SMALL: Amount("picture", MEGA, 1), LARGE: Amount("picture", 9 * MEGA, 1)}, inputs=3)
    job.follow(Item(input=Path("there.png"), output=None, status="skipped"))
    work(job, clock, SMALL, 1.0)
    job.follow(Start(1, 3, LARGE))
    job.follow(Item(input=LARGE, output=None, status="failed"))
    assert (job.settled, job.left, job.share) == (3, Left(0.0), 1.0)


def test_more_frames_than_declared_leave_an_unknown_time(clock):
    job = job_of(clock, {CLIP: Amount("video", MEGA, 10)})
    job.follow(Start(0, 1, CLIP))
    clock.now = 1.0
    job.follow(Advance(11, 10, "frames"))
    assert job.input_left is None
    assert left(job).seconds == pytest.approx(0, abs=0.01)
    assert 0.99 < job.share <= 1


def test_ten_thousand_inputs_cost_no_time(clock):
    paths = [Path(f"{i}.png") for i in range(10_000)]
    job = job_of(clock, dict.fromkeys(paths, Amount("picture", MEGA, 1)))
    for path in paths:
        work(job, clock, path, 0.001)
        assert job.left is not None
