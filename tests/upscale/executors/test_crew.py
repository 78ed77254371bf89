"""Who gets which unit, and what happens when workers die or are slow. Time and workers are those of the test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dagan_cli.errors import BadModel
from dagan_cli.media.find import Source
from dagan_cli.media.video.split.timeline import Stretch
from dagan_cli.upscale.events import Advance, Stopped
from dagan_cli.upscale.executors.crew import Crew, Fatal
from dagan_cli.upscale.executors.units import (
    Died,
    Done,
    Inputs,
    Left,
    Look,
    Message,
    Piece,
    Raised,
    Told,
    Unit,
    WorkerDied,
)
from dagan_cli.upscale.job import Job

NOTHING = Left((), ())


@dataclass(eq=False)
class Member:
    name: str
    units: list[Unit] = field(default_factory=list)
    is_stopped: bool = False

    def send(self, unit: Unit) -> None:
        self.units.append(unit)

    def stop(self) -> None:
        self.is_stopped = True


class Scripted:
    """A pool in which nothing happens but what the test says."""

    def __init__(self, *places: str) -> None:
        self.open = list(places)
        self.members: list[Member] = []
        self.said: list[tuple[Member, Message]] = []
        self.now = 0.0

    def places(self) -> list[str]:
        return self.open

    def hire(self, place: str) -> Member:
        self.members.append(Member(place))
        return self.members[-1]

    def wait(self, seconds: float) -> list[tuple[Any, Message]]:
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        pass

    def at(self, place: str) -> Member:
        """The last worker that was hired there."""
        return [member for member in self.members if member.name == place][-1]


def crew_of(*places: str) -> tuple[Crew, Scripted]:
    pool = Scripted(*places)
    return Crew(pool, clock=lambda: pool.now), pool


def look(name: str = "film") -> Look:
    return Look(Path(name))


def piece(number: int) -> Piece:
    missing: Any = None
    return Piece(
        path=Path("film"),
        plan=missing,
        choice=missing,
        signature="",
        stretch=Stretch((number,), None, None),
        folder=Path(),
        number=number,
    )


def submit(crew: Crew, unit: Unit):
    task = crew.submit(unit, lambda *_: None)
    crew.pump(0)
    return task


def say(crew: Crew, pool: Scripted, member: Member, message: Message) -> None:
    pool.said.append((member, message))
    crew.pump(0)


def test_workers_are_hired_as_units_need_them_and_kept():
    crew, pool = crew_of("a", "b")
    assert (crew.size, crew.appetite) == (2, 2)
    first = submit(crew, look())
    assert [member.name for member in pool.members] == ["a"]
    assert crew.appetite == 1
    say(crew, pool, pool.at("a"), Done(NOTHING))
    assert first.answer.result() == ("a", NOTHING)
    submit(crew, look())
    assert [member.name for member in pool.members] == ["a"]  # it was idle
    submit(crew, look())
    submit(crew, look())
    assert [member.name for member in pool.members] == ["a", "b"]
    assert crew.appetite == -1


def test_a_unit_is_repeated_twice_in_other_places_and_then_given_up():
    crew, pool = crew_of("a", "b", "c")
    task = submit(crew, look())
    for place in ("a", "b", "c"):
        assert not task.answer.done()
        assert pool.at(place).units == [task.unit]
        say(crew, pool, pool.at(place), Died(f"{place} fell over"))
    with pytest.raises(WorkerDied, match="c fell over"):
        task.answer.result()
    assert task.deaths == ["a", "b", "c"]


def test_where_there_is_one_place_a_new_worker_there_gets_the_unit():
    crew, pool = crew_of("a")
    task = submit(crew, look())
    say(crew, pool, pool.at("a"), Died("once"))
    assert len(pool.members) == 2
    say(crew, pool, pool.at("a"), Done(NOTHING))
    assert task.answer.result() == ("a", NOTHING)


def test_images_whose_worker_died_come_back_to_be_tried_apart():
    crew, pool = crew_of("a", "b")
    jobs = tuple(Job(Source(Path(name), "picture"), Path(f"{name}.png")) for name in "xy")
    task = submit(crew, Inputs(jobs))
    say(crew, pool, pool.at("a"), Died("gone"))
    with pytest.raises(WorkerDied):
        task.answer.result()


def test_a_place_where_three_workers_die_in_a_row_is_given_up():
    crew, pool = crew_of("a", "b")
    tasks = [submit(crew, look(str(number))) for number in range(8)]
    say(crew, pool, pool.at("b"), Done(NOTHING))
    for _ in range(3):
        say(crew, pool, pool.at("a"), Died("broken"))
        say(crew, pool, pool.at("b"), Done(NOTHING))
    assert crew.size == 1
    while not all(task.answer.done() for task in tasks):
        say(crew, pool, pool.at("b"), Done(NOTHING))
    assert {task.answer.result()[0] for task in tasks} == {"b"}


def test_without_any_place_left_all_units_fail():
    crew, pool = crew_of("a")
    tasks = [submit(crew, look(str(number))) for number in range(3)]
    for _ in range(3):
        say(crew, pool, pool.at("a"), Died("broken"))
    for task in tasks:
        with pytest.raises(WorkerDied, match="broken"):
            task.answer.result()


def test_a_segment_that_takes_far_longer_than_others_is_given_to_an_idle_worker_too():
    crew, pool = crew_of("a", "b", "c")
    slow, quick, other = (submit(crew, piece(number)) for number in range(3))
    pool.now = 10.0
    for place in ("b", "c"):
        say(crew, pool, pool.at(place), Done(NOTHING))
    assert quick.answer.done()
    assert other.answer.done()
    assert pool.at("b").units == [quick.unit]  # twice the usual time has not passed
    pool.now = 21.0
    crew.pump(0)
    assert pool.at("b").units == [quick.unit, slow.unit]
    crew.pump(0)
    assert pool.at("c").units == [other.unit]  # one copy is enough
    say(crew, pool, pool.at("b"), Done(NOTHING))
    assert slow.answer.result() == ("b", NOTHING)
    say(crew, pool, pool.at("a"), Raised(ValueError("too late")))
    assert slow.answer.result() == ("b", NOTHING)


def test_a_segment_with_a_copy_lives_on_when_one_of_both_workers_dies():
    crew, pool = crew_of("a", "b")
    slow, quick = submit(crew, piece(0)), submit(crew, piece(1))
    pool.now = 5.0
    say(crew, pool, pool.at("b"), Done(NOTHING))
    pool.now = 11.0
    crew.pump(0)
    say(crew, pool, pool.at("a"), Died("at last"))
    assert not slow.answer.done()
    assert quick.answer.done()
    say(crew, pool, pool.at("b"), Done(NOTHING))
    assert slow.answer.result() == ("b", NOTHING)
    assert slow.deaths == []


def test_whole_inputs_are_never_copied():
    crew, pool = crew_of("a", "b")
    submit(crew, look())
    segment = submit(crew, piece(0))
    pool.now = 1.0
    say(crew, pool, pool.at("b"), Done(NOTHING))
    assert segment.answer.done()
    pool.now = 1000.0
    crew.pump(0)
    assert len(pool.at("b").units) == 1


def test_an_error_before_any_work_ends_all_and_one_in_a_unit_ends_that():
    crew, pool = crew_of("a", "b")
    one, other = submit(crew, look("1")), submit(crew, look("2"))
    say(crew, pool, pool.at("a"), Raised(ValueError("odd")))
    say(crew, pool, pool.at("b"), Raised(BadModel("none", hint="name one"), is_fatal=True))
    with pytest.raises(ValueError, match="odd"):
        one.answer.result()
    with pytest.raises(Fatal):
        other.answer.result()


def test_a_stop_reaches_the_busy_workers_and_the_waiting_units():
    crew, pool = crew_of("a")
    running, waiting = submit(crew, look("1")), submit(crew, look("2"))
    crew.stop()
    assert pool.at("a").is_stopped
    with pytest.raises(Stopped):
        waiting.answer.result()
    with pytest.raises(Stopped):  # nobody would ever hand it out
        crew.submit(look("3"), lambda *_: None).answer.result(timeout=0)
    assert not running.answer.done()
    say(crew, pool, pool.at("a"), Raised(Stopped()))
    with pytest.raises(Stopped):
        running.answer.result()


def test_a_few_slow_workers_do_not_make_slowness_usual():
    crew, pool = crew_of("a", "b", "c")
    for number in range(3):
        submit(crew, piece(number))
    pool.now = 10.0
    say(crew, pool, pool.at("a"), Done(NOTHING))
    say(crew, pool, pool.at("b"), Done(NOTHING))
    pool.now = 200.0
    say(crew, pool, pool.at("c"), Done(NOTHING))
    late = submit(crew, piece(3))
    pool.now += 14.0
    crew.pump(0)
    assert sum(late.unit in member.units for member in pool.members) == 1
    pool.now += 2.0
    crew.pump(0)
    assert sum(late.unit in member.units for member in pool.members) == 2


def test_messages_of_busy_workers_cost_no_look_at_all_places():
    crew, pool = crew_of("a", "b")
    looks = []
    pool.places = lambda: looks.append(0) or pool.open
    for number in range(4):
        submit(crew, look(str(number)))
    before = len(looks)
    for _ in range(100):
        say(crew, pool, pool.at("a"), Told(Advance(1, 2, "frames")))
    assert len(looks) == before
    pool.open.append("c")
    pool.now += 2.0
    crew.pump(0)
    assert len(pool.at("c").units) == 1  # a place that is new is found all the same
