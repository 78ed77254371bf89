"""The network that a converted SRGAN becomes: what it says of itself is true, and its file is checked."""

from __future__ import annotations

import pytest
import torch

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.checkpoint import load_generator, load_model, save_model
from dagan_cli.model.srresnet import SrResNet, SrResNetConfig


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_no_output_pixel_sees_further_than_the_receptive_field_and_one_sees_as_far(scale):
    network = SrResNet(SrResNetConfig(scale=scale, blocks=2, channels=4)).double()
    x = torch.rand(1, 3, 3, 41, dtype=torch.float64, requires_grad=True)
    y = network(x)
    furthest = 0
    for column in range(20 * scale, 21 * scale):  # all that pixel 20 becomes
        (gradient,) = torch.autograd.grad(y[..., column].sum(), x, retain_graph=True)
        seen = gradient.abs().sum((0, 1, 2)).nonzero()
        furthest = max(furthest, 20 - int(seen.min()), int(seen.max()) - 20)
    assert network.receptive_field == furthest


def test_it_comes_back_from_its_file_as_it_was_but_not_as_a_generator_to_train(tmp_path):
    network = SrResNet(SrResNetConfig(scale=2, blocks=1, channels=4)).eval()
    path = tmp_path / "srgan.safetensors"
    path.write_bytes(save_model(network, {"licence": "MIT"}))
    model = load_model(path)
    x = torch.rand(1, 3, 7, 1)
    assert torch.equal(model.generator(x), network(x))
    assert (model.generator.config, model.provenance) == (network.config, {"licence": "MIT"})
    with pytest.raises(BadModel, match="SRGAN"):
        load_generator(path)


@pytest.mark.parametrize(
    "config",
    [{"scale": 3}, {"blocks": 0}, {"blocks": "5"}, {"channels": 4097}, {"channels": True}, {"depth": 3}, {5: 1}],
    ids=str,
)
def test_impossible_numbers_are_refused(config):
    with pytest.raises(BadOption):
        SrResNetConfig.from_dict({"architecture": "srresnet", **config})


def test_a_configuration_larger_than_its_tensors_is_refused_before_it_is_built(tmp_path):
    network = SrResNet(SrResNetConfig(scale=2, blocks=1, channels=4))
    network.config = SrResNetConfig(scale=2, blocks=4096, channels=4096)
    path = tmp_path / "srgan.safetensors"
    path.write_bytes(save_model(network, {}))
    with pytest.raises(BadModel, match="too few"):
        load_model(path)


def test_it_has_no_order_to_choose():
    network = SrResNet(SrResNetConfig(blocks=1, channels=4))
    assert network.order is None
    with pytest.raises(BadOption):
        network.order = 2
