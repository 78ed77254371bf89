"""What a run says of itself between two reports."""

from __future__ import annotations

import pytest
import torch

from trainer.record.monitor import Means


def test_each_term_is_averaged_over_the_steps_that_had_it():
    means = Means()
    for terms in ({"loss_d": 1.0}, {"loss_d": 3.0, "loss": 5.0}, {"loss_d": 2.0, "loss": 7.0}):
        means.add({name: torch.tensor(value) for name, value in terms.items()})
    assert means.steps == 3
    assert means.take() == {"loss_d": pytest.approx(2.0), "loss": pytest.approx(6.0)}
    assert (means.steps, means.take()) == (0, {})


def test_a_tensor_that_is_overwritten_later_counts_as_it_was():
    means, term = Means(), torch.tensor(1.0)
    means.add({"loss": term})
    term.fill_(100.0)  # as the next replay of a CUDA graph does
    means.add({"loss": term})
    assert means.take() == {"loss": pytest.approx(50.5)}
