"""Events of inputs that are worked on at once are told in the order of the inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagan_cli.upscale.events import Advance, Event, Item, Start, Wait
from dagan_cli.upscale.executors.ledger import Ledger

A, B, C = map(Path, "abc")


def item(path: Path) -> Item:
    return Item(input=path, output=None, status="done")


@pytest.fixture
def told() -> list[Event]:
    return []


def test_what_a_later_input_tells_waits_for_the_earlier_ones(told):
    ledger = Ledger([A, B, C], told.append)
    ledger.start(B)
    ledger.tell(B, Wait(B, "locked"))
    ledger.item(item(B))
    ledger.start(C)
    assert told == []
    assert (ledger.has(B), ledger.has(A)) == (True, False)
    ledger.start(A)
    ledger.tell(A, Advance(1, 2, "tiles"))
    ledger.item(item(A))
    assert told == [
        Start(0, 3, A),
        Advance(1, 2, "tiles"),
        item(A),
        Start(1, 3, B),
        Wait(B, "locked"),
        item(B),
        Start(2, 3, C),
    ]


def test_an_input_that_comes_to_the_front_shows_its_last_progress_and_its_rate_begins_there(told):
    ledger = Ledger([A, B], told.append)
    ledger.start(A)
    ledger.start(B)
    for done in (1, 2, 3):
        ledger.tell(B, Advance(done, 9, "frames"))
    ledger.item(item(A))
    assert told[2:] == [Start(1, 2, B), Advance(3, 9, "frames", resumed=3)]


def test_an_input_that_is_put_behind_the_others_is_told_last_and_starts_again(told):
    ledger = Ledger([A, B], told.append)
    ledger.start(A)
    ledger.postpone(A)
    ledger.start(B)
    ledger.item(item(B))
    ledger.start(A)
    ledger.item(item(A))
    assert told == [Start(0, 2, A), Start(0, 2, B), item(B), Start(1, 2, A), item(A)]


def test_an_input_whose_work_begins_anew_starts_again_so_that_its_rate_is_not_that_of_waiting(told):
    ledger = Ledger([A], told.append)
    ledger.start(A)
    ledger.tell(A, Wait(A, "taken"))
    ledger.start(A)
    assert told == [Start(0, 1, A), Wait(A, "taken"), Start(0, 1, A)]


def test_when_no_more_will_come_the_items_there_are_are_told(told):
    ledger = Ledger([A, B, C], told.append)
    ledger.item(item(C))
    ledger.end()
    assert told == [item(C)]


def test_an_input_without_a_start_has_its_item(told):
    ledger = Ledger([A], told.append)
    ledger.item(item(A))
    assert told == [item(A)]
