"""The embedded models are what their numbers say: judged on Set5 where it is at hand."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from dagan_cli.evaluate import evaluate, mean
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.checkpoint import load_generator, load_model
from dagan_cli.upscaler import Upscaler
from weights.catalog import CATALOG

NAMES = [model.name for model in CATALOG]


def test_the_catalogue_names_a_fidelity_model_for_each_scale():
    assert {(model.name, model.scale) for model in CATALOG} >= {("dagan-x2-psnr", 2), ("dagan-x4-psnr", 4)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_embedded_model_is_a_dual_attention_rk4_one_and_says_how_it_was_trained(name):
    published = next(model for model in CATALOG if model.name == name)
    assert load_model(published.path, published.sha256).sha256 == published.sha256
    model = load_generator(published.path)
    config = model.generator.config
    assert (config.solver, config.attention, config.scale) == ("rk4", "spatial-channel", published.scale)
    assert {"training", "training_data", "hardware", "iterations", "metrics", "licence"} <= model.provenance.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_weights_reach_the_numbers_in_their_own_header_on_set5_far_better_than_bicubic(corpus, name):
    """Fidelity models in PSNR; perceptual ones in LPIPS, for less than 2.5 dB."""
    upscaler = Upscaler.load(name, precision="fp32")
    judge = Lpips.load(corpus / "weights" / "lpips_alex.safetensors")
    score = mean(list(evaluate(corpus / "benchmarks" / "Set5", upscaler, upscaler.scale, judge)))
    published = next(model for model in CATALOG if model.name == name)
    claimed = load_model(published.path).provenance["metrics"]["Set5"][f"order {upscaler.order}"]
    assert score.psnr == pytest.approx(claimed, abs=0.02)
    if name.endswith("-psnr"):
        assert score.psnr > score.bicubic_psnr + 1.5
    elif published.kind == "perceptual":
        assert score.lpips is not None
        assert score.bicubic_lpips is not None
        assert score.lpips < 0.6 * score.bicubic_lpips
        twin = next(model for model in CATALOG if model.name == f"{name}-psnr")
        assert score.psnr > twin.metrics["Set5"] - 2.5
        assert score.rgb_offset < 0.5
    assert score.bicubic_psnr == pytest.approx({2: 33.67, 4: 28.43}[upscaler.scale], abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tiles_change_the_psnr_of_set5_by_less_than_two_hundredths(corpus, name):
    """Tiles that hold the windows of attention and pooling, 1.5 times the training patch of 48, and their rim."""

    def psnr(tile: Literal["off"] | int) -> float:
        upscaler = Upscaler.load(name, precision="fp32", tile=tile)
        return mean(list(evaluate(corpus / "benchmarks" / "Set5", upscaler, upscaler.scale))).psnr

    assert abs(psnr(128) - psnr("off")) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_models_for_degraded_sources_pool_over_windows_by_default(name):
    """They read from all they see how degraded it is; tiles must not show."""
    assert Upscaler.load(name).window == ("local" if name.endswith(("-real", "-fast")) else "global")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bf16_stays_within_50_db_of_fp32(name):
    picture = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(picture, size=(112, 112), mode="bicubic").clamp(0, 1)
    exact, rough = (Upscaler.load(name, precision=p)(smooth) for p in ("fp32", "bf16"))
    assert -10 * math.log10((exact - rough).square().mean().item()) > 50


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_flat_grey_picture_stays_flat_and_grey(name):
    """Within 2.5 code values, and 7.5 at the four corners, where zeros are padded on two sides."""
    upscaler = Upscaler.load(name, precision="fp32")
    off = (upscaler(torch.full((1, 3, 40, 56), 0.5)) - 0.5).abs() * 255
    assert off.max() < 7.5
    corner = slice(None, 3 * upscaler.scale), slice(-3 * upscaler.scale, None)
    for rows in corner:
        for columns in corner:
            off[..., rows, columns] = 0
    assert off.max() < 2.5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("colour", [(0.05, 0.05, 0.05), (0.2, 0.4, 0.8), (0.9, 0.9, 0.9)])
def test_away_from_the_edge_a_flat_colour_shows_neither_grid_nor_tint(name, colour):
    flat = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 48, 48)
    upscaler = Upscaler.load(name, precision="fp32")
    inner = slice(20 * upscaler.scale, 28 * upscaler.scale)
    off = (upscaler(flat) - flat[..., :1, :1])[..., inner, inner] * 255
    is_for_degraded = name.endswith(("-real", "-fast"))  # they restore the chroma that JPEG and H.264 take from colours
    assert off.abs().max() < (1.75 if is_for_degraded else 1.25)
    assert off.mean((-1, -2)).abs().max() < (1.0 if is_for_degraded else 0.5)
