"""An iterator in a thread: the same items, bounded, its errors where they belong, never left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from dagan_cli.prefetch import in_order, prefetch


@pytest.fixture(autouse=True)
def _no_thread_is_left_over():
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before


class Counting:
    """Endless numbers; knows how many were taken from it, in which thread, and whether it was closed."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.made = 0
        self.closed = False
        self.thread: threading.Thread | None = None
        self._fail_at = fail_at

    def __iter__(self) -> Iterator[int]:
        self.thread = threading.current_thread()
        try:
            while True:
                if self.made == self._fail_at:
                    raise ValueError("no more")
                self.made += 1
                yield self.made
        finally:
            self.closed = True


def test_the_items_come_in_order_and_end():
    with prefetch(iter(range(1000)), ahead=3) as items:
        assert list(items) == list(range(1000))


def test_an_empty_iterator_is_an_end():
    with prefetch([]) as items:
        assert list(items) == []


def test_items_that_are_none_are_items():
    with prefetch([None, None]) as items:
        assert list(items) == [None, None]


def test_items_are_made_in_another_thread():
    source = Counting()
    with prefetch(iter(source)) as items:
        next(items)
    assert source.thread is not threading.current_thread()


def test_it_runs_ahead_but_never_further_than_asked():
    source = Counting()
    with prefetch(iter(source), ahead=3) as items:
        next(items)
        deadline = time.monotonic() + 5
        while source.made < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert source.made == 5  # one taken, three waiting, one in hand


def test_an_error_is_raised_where_the_item_that_failed_is_taken():
    with prefetch(iter(Counting(fail_at=4))) as items:
        assert [next(items) for _ in range(4)] == [1, 2, 3, 4]
        with pytest.raises(ValueError, match="no more"):
            next(items)


def test_a_consumer_that_leaves_early_closes_the_iterator():
    source = Counting()
    with prefetch(iter(source)) as items:
        for item in items:
            if item == 3:
                break
    assert source.closed
    assert source.made <= 3 + 2 + 1


def test_a_consumer_that_fails_stops_the_thread_and_keeps_its_error():
    source = Counting()

    def consume() -> None:
        with prefetch(iter(source)) as items:
            next(items)
            raise KeyError("the consumer's own")

    with pytest.raises(KeyError):
        consume()
    assert source.closed


def test_leaving_without_taking_anything_is_prompt():
    start = time.monotonic()
    with prefetch(iter(Counting()), ahead=1):
        pass
    assert time.monotonic() - start < 1


def test_stages_can_follow_one_another():
    with prefetch(iter(range(50))) as numbers, prefetch(number * 2 for number in numbers) as doubles:
        assert list(doubles) == [2 * number for number in range(50)]


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_results_of_threads_come_in_the_order_of_their_items(threads):
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    with in_order(work, range(40), threads) as results:
        assert list(results) == [number * number for number in range(40)]


def test_results_that_nobody_takes_are_few_and_an_abandoned_block_leaves_nothing_running():
    started: list[int] = []
    with in_order(started.append, range(1000), threads=2) as results:
        next(results)
        time.sleep(0.02)
        assert len(started) <= 6
    assert len(started) <= 6


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_a_thread_is_raised_in_its_place(threads):
    with in_order(lambda number: 1 // (number - 5), range(20), threads) as results:
        assert len([next(results) for _ in range(5)]) == 5
        with pytest.raises(ZeroDivisionError):
            next(results)
