"""What identifies a model without loading it, against the loaded model."""

from __future__ import annotations

import json

import pytest
import torch

from dagan_cli.errors import BadModel
from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.srresnet import SrResNet, SrResNetConfig
from dagan_cli.upscale.identity import identify
from dagan_cli.upscaler import Upscaler
from tests.support.tiny import picture
from weights.choice import ModelChoice

FIELDS = ("name", "sha256", "order", "window", "grain", "words", "detail", "denoise", "scale", "architecture")


@pytest.mark.parametrize(
    "choice",
    [
        ModelChoice("nearest"),
        ModelChoice("dagan-x2"),
        ModelChoice("dagan-x4-real"),  # its windows are local by default
        ModelChoice("dagan-x4-psnr", order=4, window="local", grain=0.5),
        ModelChoice("weights/dagan-x2-psnr.safetensors", order=2),
    ],
    ids=lambda choice: choice.words,
)
def test_it_is_what_the_loaded_model_says_of_itself(choice, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    found, loaded = identify(choice), Upscaler.of(choice, device="cpu")
    assert found is not None
    assert [getattr(found, name) for name in FIELDS] == [getattr(loaded, name) for name in FIELDS]


def test_what_the_header_does_not_decide_has_to_be_loaded(tmp_path):
    srgan = tmp_path / "srgan.safetensors"
    srgan.write_bytes(save_model(SrResNet(SrResNetConfig(scale=2, blocks=1, channels=4)), {}))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    unknown = [ModelChoice(str(srgan)), ModelChoice(str(tmp_path / "other.pth")), ModelChoice("dagan-x4", order=3)]
    blends = [ModelChoice("dagan-x4", detail=0.5), ModelChoice("dagan-x4", denoise=0.5)]
    assert [identify(choice) for choice in (*unknown, *blends)] == [None] * 5


def test_a_model_that_is_missing_or_cut_short_is_refused(tmp_path, tiny_model):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_model.read_bytes()[:-1])
    for name in ("nosuch", str(tmp_path / "missing.safetensors"), str(cut)):
        with pytest.raises(BadModel):
            identify(ModelChoice(name))


@pytest.mark.slow
def test_a_run_that_only_skips_reports_the_model_and_refuses_one_that_does_not_exist(cli, tmp_path, tiny_model):
    ask = (picture(tmp_path / "in.png"), "-s", 2, "-o", tmp_path / "out.png", "--device", "cpu", "--json")
    first, second = (json.loads(cli(*ask, "-n", tiny_model).out) for _ in range(2))
    assert [found["items"][0]["status"] for found in (first, second)] == ["done", "skipped"]
    for key in ("model", "models"):
        assert first[key] == second[key]
    assert (second["device"], second["precision"]) == (None, None)  # nothing ran
    assert first["model"]["sha256"]
    assert cli(*ask, "-n", "nosuch").code == BadModel.exit_code
    changed = cli(*ask, "-n", tiny_model, "--order", 4)
    assert changed.code == 1
    assert "was made with --order 1, now 4" in json.loads(changed.out)["items"][0]["reason"]
    assert cli(*ask, "-n", tiny_model, "--order", 3).code == 2
