"""Integers in files and floats in the network mean the same pixels."""

from __future__ import annotations

import pytest
import torch

from dagan_cli.model.pixels import to_float, to_integer


@pytest.mark.parametrize(("peak", "kind"), [(255, torch.uint8), (65_535, torch.int32), (1023, torch.int32)])
def test_every_value_survives_the_way_there_and_back(peak, kind):
    values = torch.arange(peak + 1, dtype=torch.int32).view(1, 1, -1, 1).to(kind)
    back = to_integer(to_float(values, peak), peak)
    assert back.dtype == kind
    assert torch.equal(back, values)


def test_channels_move_to_the_front_and_the_range_becomes_zero_to_one():
    pixels = torch.tensor([[[[0, 51, 255], [255, 0, 102]]]], dtype=torch.uint8)  # (1, 1, 2, 3)
    x = to_float(pixels)
    assert x.shape == (1, 3, 1, 2)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert pixels[0, 0, 0, 1] == 51  # the source is left alone


def test_what_is_out_of_range_is_clamped_and_the_rest_rounded_to_the_nearest():
    x = torch.tensor([-0.3, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.7]).view(1, 1, 1, 6)
    assert to_integer(x).flatten().tolist() == [0, 0, 0, 1, 255, 255]
    assert x[0, 0, 0, 5] == pytest.approx(1.7)  # the source is left alone
