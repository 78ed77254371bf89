"""The models in the package: whole, as described, and at work."""

from __future__ import annotations

import json

import pytest

from dagan_cli.errors import BadModel
from tests.support.tiny import picture, pixels
from weights.catalog import CATALOG, Published, default_model, find_model

EACH = pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.name)


def test_models_come_with_the_package():
    assert {"dagan-x2-psnr", "dagan-x4-psnr"} <= {model.name for model in CATALOG}


@pytest.mark.slow
@EACH
def test_a_published_model_is_what_the_catalog_says(cli, model: Published):
    facts = json.loads(cli("models", "info", model.name).out)  # refused if its sha256 were another
    assert (facts["sha256"], facts["scale"]) == (model.sha256, model.scale)
    assert facts["provenance"]
    assert facts["config"]["solver"] == "rk4"
    assert facts["config"]["attention"] in ("spatial-channel", "channel-spatial")
    assert find_model(model.name) == (model.path, model.sha256)
    assert cli("models", "path", model.name).out == f"{model.path}\n"
    assert model.name in cli("models", "list").out


@pytest.mark.slow
@EACH
def test_a_published_model_enlarges_a_picture_and_stays_close_to_it(cli, tmp_path, model: Published):
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:16, 0:16]
    smooth = np.stack([x * 15, y * 15, 255 - x * 15], axis=-1).astype(np.uint8)
    source = tmp_path / "in.png"
    Image.fromarray(smooth).save(source)
    assert cli(source, "-n", model.name, "-s", model.scale, "-o", tmp_path / "out.png").code == 0
    big = pixels(tmp_path / "out.png")
    assert big.shape == (16 * model.scale, 16 * model.scale, 3)
    back = big.reshape(16, model.scale, 16, model.scale, 3).mean((1, 3))
    assert np.abs(back - smooth)[2:-2, 2:-2].mean() < 4


@pytest.mark.parametrize(("factor", "scale"), [(1.0, 2), (1.5, 2), (2.0, 2), (2.5, 4), (4.0, 4), (16.0, 4)])
def test_the_model_for_a_factor_is_the_smallest_that_reaches_it(factor, scale):
    assert find_model(default_model(factor))[0].name.startswith(f"dagan-x{scale}")


def test_video_which_is_compressed_gets_the_model_for_degraded_sources(monkeypatch):
    for factor, scale in ((2.0, 2), (4.0, 4)):
        names = {model.name for model in CATALOG if model.scale == scale}
        wanted = [f"dagan-x{scale}-real", f"dagan-x{scale}", f"dagan-x{scale}-psnr"]
        assert default_model(factor, video=True) == next(name for name in wanted if name in names)
        assert default_model(factor) == next(name for name in wanted[1:] if name in names)


def test_a_kind_names_the_model_of_that_kind_for_a_factor(monkeypatch):
    for factor, scale in ((1.5, 2), (2.0, 2), (3.0, 4), (16.0, 4)):
        for kind, suffix in (("perceptual", ""), ("fidelity", "-psnr"), ("real", "-real")):
            for video in (False, True):
                assert default_model(factor, video=video, kind=kind) == f"dagan-x{scale}{suffix}"
    assert {model.name: model.kind for model in CATALOG if model.kind is None} == {}
    monkeypatch.setattr("weights.catalog.CATALOG", CATALOG[:1])
    with pytest.raises(BadModel):
        default_model(2.0, kind="real")


def test_a_kind_alone_is_no_file_and_the_error_names_its_models():
    with pytest.raises(BadModel, match="real is a kind") as caught:
        find_model("real")
    assert caught.value.hint == "name one of them: dagan-x2-real, dagan-x4-real"


@pytest.mark.slow
def test_the_kind_of_a_model_is_chosen_on_the_command_line(cli, tmp_path):
    (tmp_path / "real").touch()  # no file of this name is meant
    source = picture(tmp_path / "in.png", (8, 6))
    for flags, name in (
        (["-n", "fidelity", "-s", 2], "dagan-x2-psnr"),
        (["-n", "real", "--size", "20x20"], "dagan-x4-real"),
        (["-n", "perceptual", "--detail", "0.5", "-s", 2], "dagan-x2"),
    ):
        ran = cli(source, *flags, "-o", tmp_path / f"{name}.png", "--json")
        assert json.loads(ran.out)["model"]["name"] == name
        assert cli(source, *flags, "-o", tmp_path / f"{name}.png").code == 0  # it exists, and is the same
    scores = json.loads(
        cli("eval", picture(tmp_path / "hr" / "a.png", (32, 32)).parent, "-n", "real", "-s", 2, "--json").out
    )
    assert scores["model"] == "dagan-x2-real"


@pytest.mark.slow
def test_without_a_name_the_default_model_does_the_work(cli, tmp_path):
    ran = cli(picture(tmp_path / "in.png"), "-s", 2, "--json")
    report = json.loads(ran.out)
    assert ran.code == 0
    assert report["model"]["name"] == default_model(2.0)
    assert pixels(tmp_path / "in_x2.png").shape == (16, 24, 3)
