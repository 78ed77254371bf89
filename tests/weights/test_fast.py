"""The fast models: small networks for degraded videos on a CPU, which are used only where they are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dagan_cli.errors import BadModel
from dagan_cli.model.checkpoint import load_generator
from tests.support.tiny import picture
from weights.catalog import CATALOG, default_model, find_model

FAST = [model for model in CATALOG if model.kind == "fast"]


def test_there_is_one_for_each_scale_and_it_has_a_fifth_of_the_weights():
    assert [(model.name, model.scale) for model in FAST] == [("dagan-x2-fast", 2), ("dagan-x4-fast", 4)]
    for model in FAST:
        usual = next(each for each in CATALOG if each.name == f"dagan-x{model.scale}-real")
        assert _weights(model.path) < 100_000 < _weights(usual.path) / 4


def _weights(path: Path) -> int:
    return sum(values.numel() for values in load_generator(path).generator.state_dict().values())


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0, 4.0, 6.0])
def test_no_source_gets_a_fast_model_unless_it_is_named(factor):
    for video in (False, True):
        assert "fast" not in default_model(factor, video=video)
    assert default_model(factor, kind="fast") == ("dagan-x2-fast" if factor <= 2 else "dagan-x4-fast")


@pytest.mark.parametrize(("scale", "name"), [(2, "dagan-x2-fast"), (3, "dagan-x4-fast"), (4, "dagan-x4-fast")])
def test_the_kind_and_the_name_give_the_same_pixels(cli, tmp_path, scale, name):
    source = picture(tmp_path / "in.png", (24, 16))
    for number, named in enumerate(("fast", name)):
        ran = cli(source, "-s", scale, "-n", named, "--name", "{stem}_{model}_" + str(number), "--json")
        assert ran.code == 0, ran.err
        (item,) = json.loads(ran.out)["items"]
        assert (item["model"], item["out_size"]) == (name, [24 * scale, 16 * scale])
    first, second = (tmp_path / f"in_{name}_{number}.png" for number in (0, 1))
    assert first.read_bytes() == second.read_bytes()


def test_the_kind_alone_is_no_file_and_the_error_names_its_models():
    with pytest.raises(BadModel, match="fast is a kind") as caught:
        find_model("fast")
    assert caught.value.hint == "name one of them: dagan-x2-fast, dagan-x4-fast"


@pytest.mark.parametrize("model", FAST, ids=lambda model: model.name)
def test_it_takes_noise_from_a_flat_picture(model):
    from dagan_cli.upscaler import Upscaler

    generator = torch.Generator().manual_seed(0)
    noisy = (0.5 + torch.randn(1, 3, 64, 64, generator=generator) * 5 / 255).clamp(0, 1)
    result = Upscaler.load(model.name, precision="fp32")(noisy)
    assert result.std() < 0.6 * noisy.std()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fats", "did you mean fast?"),
        ("psnr", "use perceptual, fidelity, real, fast, or a name from `dagan models list`"),
    ],
)
def test_the_error_for_an_unknown_name_knows_the_kinds(name, hint):
    with pytest.raises(BadModel) as caught:
        find_model(name)
    assert caught.value.hint == hint
