"""Batches made ahead are those that would have been made on demand."""

from __future__ import annotations

import threading

import pytest
import torch

from trainer.data.batches import Ahead


def pair(step: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((1,), float(step)), torch.full((1,), float(patch))


@pytest.mark.parametrize(("threads", "depth"), [(0, 0), (1, 0), (1, 2), (4, 8)])
def test_every_step_gets_its_own_batch_whatever_the_way(threads, depth):
    batches = Ahead(pair, threads=threads, depth=depth)
    way = [(5, 16), (6, 16), (7, 16), (7, 32), (8, 32), (3, 32), (4, 32), (100, 16), (101, 16)]
    assert [tuple(part.item() for part in batches.get(*key)) for key in way] == way
    batches.close()


def test_the_next_batch_is_made_while_nobody_asks():
    made = {step: threading.Event() for step in range(4)}

    def make(step: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        made[step].set()
        return pair(step, patch)

    batches = Ahead(make, threads=1, depth=2)
    batches.get(0, 8)
    assert all(made[step].wait(10) for step in (1, 2))
    batches.close()
    assert not made[3].is_set()


def test_an_error_is_raised_for_the_step_that_has_it():
    def make(step: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 1:
            raise OSError("a picture is gone")
        return pair(step, patch)

    batches = Ahead(make, threads=1, depth=1)
    batches.get(0, 8)
    with pytest.raises(OSError, match="gone"):
        batches.get(1, 8)
    assert batches.get(2, 8)[0].item() == 2
    batches.close()


def test_its_threads_compute_alone_and_leave_the_others_as_they_are():
    before = torch.get_num_threads()
    seen = []

    def make(step: int, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(torch.get_num_threads())
        return pair(step, patch)

    batches = Ahead(make, threads=1, depth=0)
    batches.get(0, 8)
    batches.close()
    assert seen == [1]
    assert torch.get_num_threads() == before
