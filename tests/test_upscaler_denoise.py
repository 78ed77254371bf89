"""`--denoise`: between a published model for clean sources and the one for degraded sources, by their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dagan_cli.errors import BadOption
from dagan_cli.model.blend import blend
from dagan_cli.model.checkpoint import load_generator
from dagan_cli.upscaler import ModelChoice, Upscaler, load_network
from tests.support.tiny import picture
from weights.catalog import CATALOG, degraded_model_of, find_model

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)


def test_a_published_model_for_clean_sources_has_one_for_degraded_sources():
    names = {model.name for model in CATALOG}
    assert degraded_model_of("dagan-x4") == "dagan-x4-real"
    assert degraded_model_of("dagan-x2") == "dagan-x2-real"
    for name in names - {"dagan-x2", "dagan-x4"}:
        assert degraded_model_of(name) is None
    assert degraded_model_of("mine.safetensors") is None


def test_the_ends_are_the_two_models():
    for denoise, name in ((0.0, "dagan-x2"), (1.0, "dagan-x2-real")):
        assert np.array_equal(Upscaler.load("dagan-x2", denoise=denoise)(PIXELS), Upscaler.load(name)(PIXELS))


def test_detail_comes_first_and_denoise_goes_on_from_there():
    fidelity, clean, degraded = (
        load_generator(*find_model(f"dagan-x2{end}")).generator for end in ("-psnr", "", "-real")
    )
    expected = blend(blend(fidelity, clean, 0.5), degraded, 0.25).state_dict()
    network = load_network(ModelChoice("dagan-x2", detail=0.5, denoise=0.25)).network
    assert isinstance(network, torch.nn.Module)
    found = network.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert "detail 0.5, denoise 0.25" in Upscaler.load("dagan-x2", detail=0.5, denoise=0.25).signature


def test_other_models_have_nothing_to_blend_with():
    for name in ("dagan-x2-psnr", "dagan-x2-real"):
        with pytest.raises(BadOption, match="--denoise does not apply"):
            Upscaler.load(name, denoise=0.5)
    with pytest.raises(BadOption, match="--denoise does not apply to bicubic"):
        ModelChoice("bicubic", denoise=0.5)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadOption, match=r"--denoise .* is out of range"):
            ModelChoice("dagan-x2", denoise=wrong)


@pytest.mark.slow
def test_the_command_takes_a_number_or_auto(cli, tmp_path):
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    ask = (source, "-s", 2, "-o", target)
    assert cli(*ask, "--denoise", "auto", "--dry-run").code == 0
    for wrong in ("much", "2"):
        ran = cli(*ask, "--denoise", wrong)
        assert ran.code == 2
        assert "--denoise" in ran.err
    assert cli(*ask, "-n", "dagan-x2", "--denoise", "auto").code == 2
    assert cli(*ask, "--denoise", 0.5).code == 0
    ran = cli(*ask, "--denoise", 0.6)
    assert ran.code == 1
    assert "was made with --denoise 0.5, now 0.6" in ran.err
    assert cli(*ask, "--denoise", 0.5).code == 0
