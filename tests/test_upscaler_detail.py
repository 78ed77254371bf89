"""`--detail`: between a perceptual model and the fidelity model it was trained on from, by their weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.errors import BadModel
from dagan_cli.model.blend import blend
from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from weights.catalog import CATALOG, fidelity_model_of

SMALL = GeneratorConfig(scale=2, blocks=2, channels=16, block="residual", upsampler="direct", patch=16)


def network(seed: int, config: GeneratorConfig = SMALL) -> Generator:
    torch.manual_seed(seed)
    return Generator(config).eval().requires_grad_(False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What an adversarial run leaves: its best weights, and those of its pixel phase beside them."""
    for name, seed in (("pixel", 1), ("best", 2)):
        (tmp_path / f"{name}.safetensors").write_bytes(save_model(network(seed), {}))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    return tmp_path


def test_every_weight_lies_at_its_share_of_the_way():
    one, other = network(1), network(2)
    between = blend(one, other, 0.3).state_dict()
    for name, start in one.state_dict().items():
        expected = 0.7 * start.double() + 0.3 * other.state_dict()[name].double()
        torch.testing.assert_close(between[name].double(), expected, rtol=0, atol=1e-6)


def test_the_ends_are_the_networks_themselves():
    one, other = network(1), network(2)
    assert blend(one, other, 0) is one
    assert blend(one, other, 1) is other


def test_networks_that_differ_in_shape_have_nothing_between_them():
    with pytest.raises(BadModel, match="architectures"):
        blend(network(1), network(2, replace(SMALL, blocks=1)), 0.5)
    blend(network(1), network(2, replace(SMALL, patch=24)), 0.5)  # how it was trained is no part of the shape


@pytest.mark.slow
def test_the_command_goes_from_the_fidelity_model_to_the_perceptual_one(run, cli):
    results = {}
    for detail in (0, 0.5, 1):
        target = run / f"{detail}.png"
        ran = cli(run / "in.png", "-n", run / "best.safetensors", "--detail", detail, "-o", target, "--json")
        assert json.loads(ran.out)["model"]["detail"] == detail
        results[detail] = np.array(Image.open(target))
    for name, detail in (("pixel", 0), ("best", 1)):
        assert cli(run / "in.png", "-n", run / f"{name}.safetensors", "-o", run / f"{name}.png").code == 0
        assert np.array_equal(np.array(Image.open(run / f"{name}.png")), results[detail])
    assert not any(np.array_equal(results[0.5], results[end]) for end in (0, 1))


@pytest.mark.slow
def test_without_a_twin_it_is_refused(run, cli):
    (run / "pixel.safetensors").rename(run / "alone.safetensors")
    for model in (run / "alone.safetensors", "bicubic", "dagan-x4-psnr"):
        ran = cli(run / "in.png", "-n", model, "--detail", 0.5, "-o", run / "out.png")
        assert ran.code in (2, 4)
        assert "--detail" in ran.err
        assert not (run / "out.png").exists()
    assert cli(run / "in.png", "-n", run / "alone.safetensors", "--detail", 1.5).code == 2


def test_a_published_twin_goes_by_its_name():
    names = {model.name for model in CATALOG}
    for name in names:
        assert fidelity_model_of(name) == (f"{name}-psnr" if f"{name}-psnr" in names else None)
