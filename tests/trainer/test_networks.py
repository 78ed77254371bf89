"""A baseline trains in the generator's place: the same loop, a file of its own kind, and nobody mixes them up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.checkpoint import load_model
from dagan_cli.model.config import GeneratorConfig
from tests.support.training import run
from trainer.baselines import baseline
from trainer.config import GanConfig, TrainConfig
from trainer.data.samples import load_pictures, validation_pairs
from trainer.ema import Average
from trainer.loop import BEST, MODEL
from trainer.losses import terms
from trainer.networks import load_network, network_bytes
from trainer.presets import RECIPES, preset
from trainer.state import load_state
from trainer.validate import scores, validate

CONFIG = TrainConfig(
    generator=GeneratorConfig(scale=2, patch=8),
    baseline="srgan-lt",
    batch=2,
    loss="mse",
    iterations=3,
    warmup=0,
    ema=0.9,
    precision="fp32",
)
ADVERSARIAL = replace(
    CONFIG, gan=GanConfig(discriminator="leftthomas", width=2, iterations=3, warmup=1, perceptual="none")
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    small = np.random.default_rng(0).integers(0, 256, (9, 10, 3), np.uint8)
    Image.fromarray(small).resize((80, 72), Image.Resampling.BICUBIC).save(folder / "0.png")
    return folder


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(CONFIG, pictures, folder, val=pictures)
    return folder


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_baseline_goes_through_both_phases_and_goes_on_bit_for_bit(pictures, tmp_path):
    whole = run(ADVERSARIAL, pictures, tmp_path / "whole")
    assert [p.phase for p in whole] == ["pixel"] * 3 + ["adversarial"] * 4
    for steps in (1, 3, None):
        torch.manual_seed(123)  # whatever happened before must not matter
        run(ADVERSARIAL, pictures, tmp_path / "parts", steps)
    a, b = load_state(tmp_path / "whole"), load_state(tmp_path / "parts")
    assert a["step"] == b["step"] == 6
    for part in ("generator", "average", "discriminator"):  # running statistics of batch norms among them
        assert equal(a[part], b[part]), part


@pytest.mark.slow
@pytest.mark.parametrize("name", ["srcnn-915", "mdsr-baseline", "rcan-small-dual-2x6", "oisr-rk2-s"])
def test_other_kinds_train_and_come_back_from_their_file(name, pictures, tmp_path):
    config = replace(CONFIG, baseline=name, iterations=1)
    run(config, pictures, tmp_path)
    network, facts = load_network(tmp_path / MODEL)
    assert equal(network.state_dict(), load_state(tmp_path)["average"])
    assert (type(network), network.scale) == (type(baseline(name, 2)), 2)
    assert facts["training"]["baseline"] == name


@pytest.mark.slow
def test_what_is_validated_is_what_is_saved_and_its_norms_do_not_see_the_batch(pictures, trained):
    network, facts = load_network(trained / BEST)
    pairs = list(validation_pairs(load_pictures([pictures], 16), 2))
    assert not network.training
    assert validate(network, pairs) == facts["val_psnr_y"]
    assert validate(network, pairs * 2) == pytest.approx(facts["val_psnr_y"], abs=1e-9)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_the_pooled_score_is_that_of_one_long_picture():
    network = baseline("vdsr", 2)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)  # it is the enlargement alone
    pairs = [(torch.full((1, 3, 8, 8), 100.0), torch.full((1, 3, 16, 16), 100.0 + d)) for d in (3, 4)]
    found = scores(network, pairs)
    assert found["psnr_rgb"] == pytest.approx(10 * np.log10(255**2 / ((3**2 + 4**2) / 2)))
    step = 219 / 255  # of Y, for one step of all three colours
    assert found["psnr_y"] == pytest.approx(np.mean([20 * np.log10(255 / (step * d)) for d in (3, 4)]))


def test_statistics_of_norms_are_averaged_as_weights_are():
    torch.manual_seed(0)
    network = baseline("srgan-lt", 2)
    average = Average(network, decay=0.75)
    new, mean = (dict(n.named_buffers()) for n in (network, average.network))
    network(torch.rand(2, 3, 8, 8))
    average.update(network, 100)
    name = "body.0.body.1.running_var"  # which starts as ones
    assert torch.allclose(mean[name], 0.75 + 0.25 * new[name])
    assert not torch.allclose(new[name], torch.ones(()))
    assert mean["body.0.body.1.num_batches_tracked"] == 1


@pytest.mark.slow
def test_a_step_that_is_not_finite_leaves_the_statistics_alone_too(pictures, tmp_path, monkeypatch):
    run(CONFIG, pictures, tmp_path, steps=2)
    good = load_state(tmp_path)
    monkeypatch.setitem(terms.PIXEL, "mse", lambda fake, real: (fake - real).mean() * float("nan"))
    run(CONFIG, pictures, tmp_path, steps=1)
    bad = load_state(tmp_path)
    assert (bad["step"], bad["skipped"]) == (3, 1)
    assert equal(good["generator"], bad["generator"])
    assert equal(good["average"], bad["average"])


@pytest.mark.slow
def test_another_network_in_the_run_folder_is_refused(pictures, trained):
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    for other in ("srresnet", None):
        with pytest.raises(BadOption, match="another generator"):
            run(replace(CONFIG, baseline=other), pictures, trained)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_baseline_starts_from_one_of_another_scale(pictures, trained, tmp_path):
    larger = replace(CONFIG, generator=replace(CONFIG.generator, scale=4, patch=4))
    run(larger, pictures, tmp_path, steps=0, start=trained / MODEL)
    body, state = load_network(trained / MODEL)[0].state_dict(), load_state(tmp_path)["generator"]
    assert all(torch.equal(body[name], state[name]) for name in body if name.startswith("body"))
    with pytest.raises(BadOption, match="shares no weights"):
        run(replace(CONFIG, baseline="vdsr"), pictures, tmp_path / "other", start=trained / MODEL)


def test_the_tool_refuses_a_baseline_by_name(trained):
    with pytest.raises(BadModel, match="is a baseline of the trainer") as caught:
        load_model(trained / MODEL)
    assert "models list" in caught.value.hint


def test_rdn_is_a_generator_of_the_tools():
    config = replace(CONFIG, baseline="rdn-a")
    data = network_bytes(baseline("rdn-a", 2), config, {})
    assert b'"dagan"' in data[:3000]
    assert b"dagan-baseline" not in data[:3000]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["name", "scale", "shape", "missing", "nan", "truncated", "header"])
def test_a_file_that_is_not_whole_is_a_bad_model(damage, trained, tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = load_file(trained / MODEL)
    header = {"format": 1, "name": "srgan-lt", "scale": 2, "provenance": {}}
    first = next(name for name in tensors if name.endswith("weight"))
    if damage == "shape":
        tensors[first] = tensors[first][:1].clone()
    if damage == "missing":
        tensors.pop(first)
    if damage == "nan":
        tensors[first] = tensors[first] * float("nan")
    wrong = {"name": {"name": "nothing"}, "scale": {"scale": 5}, "header": {"provenance": 7}}
    header |= wrong.get(damage, {})
    save_file(tensors, path, metadata={"dagan-baseline": json.dumps(header)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadModel) as caught:
        load_network(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "values", [{"baseline": "srgan"}, {"baseline": 3}, {"baseline": "mdsr", "generator": {"scale": 8}}]
)
def test_a_baseline_there_is_none_of_is_refused_when_the_choice_is_made(values):
    with pytest.raises(BadOption, match="invalid training config") as caught:
        TrainConfig.from_dict({"iterations": 1} | values)
    assert caught.value.hint
    dial = GeneratorConfig(solver="rk4", orders=(1, 2, 4))
    with pytest.raises(BadOption, match="with orders"):
        TrainConfig(iterations=1, baseline="vdsr", generator=dial)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_of_the_authors_are_presets(name):
    for scale in (2, 3, 4):
        config = preset(f"{name}-x{scale}")
        assert (config.baseline, config.generator.scale) == (name, scale)
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert preset("edsr-baseline-x4").generator.patch * 4 == 192
