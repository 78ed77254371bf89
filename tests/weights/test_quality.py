"""The embedded models are what their numbers say: judged on Set5 where it is at hand."""

from __future__ import annotations

import math
from pathlib import Path
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


def change_by_tiles(images: Path, name: str, side: int) -> float:
    """How the PSNR of a folder changes in tiles of so many pixels, in dB."""

    def psnr(tile: Literal["off"] | int) -> float:
        upscaler = Upscaler.load(name, precision="fp32", tile=tile)
        return mean(list(evaluate(images, upscaler, upscaler.scale))).psnr

    return abs(psnr(side) - psnr("off"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tiles_change_the_psnr_of_set5_by_less_than_two_hundredths(corpus, name):
    """The engine enlarges them to 96 pixels, so that they hold what a model pools over: 1.5 times its patch of 48."""
    assert change_by_tiles(corpus / "benchmarks" / "Set5", name, 64) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tiles_that_hold_a_window_change_the_psnr_by_less_than_two_hundredths(corpus, name):
    """Set14 for x4, as the low-resolution images of Set5 are no larger than such a tile."""
    images = corpus / "benchmarks" / ("Set14" if "-x4" in name else "Set5")
    assert change_by_tiles(images, name, 128) < 0.02


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


def off_on_flat(name: str, colour: tuple[float, ...], height: int, width: int) -> torch.Tensor:
    """The error on a flat colour, in 8-bit code values: (1, 3, scale * height, scale * width)."""
    flat = torch.tensor(colour).view(1, 3, 1, 1)
    return 255 * (Upscaler.load(name, precision="fp32")(flat.expand(1, 3, height, width)) - flat)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_flat_grey_picture_stays_flat_and_grey(name):
    assert off_on_flat(name, (0.5, 0.5, 0.5), 40, 56).abs().max() < 2.5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_only_the_corners_of_a_flat_grey_picture_are_off(name):
    off = off_on_flat(name, (0.5, 0.5, 0.5), 40, 56).abs()
    assert off.max() < 7.5
    side = 3 * (off.shape[-1] // 56)
    for rows in (slice(None, side), slice(-side, None)):
        for columns in (slice(None, side), slice(-side, None)):
            off[..., rows, columns] = 0
    assert off.max() < 2.5


def inside(name: str, colour: tuple[float, ...]) -> torch.Tensor:
    """The error in the middle of a flat colour."""
    off = off_on_flat(name, colour, 48, 48)
    scale = off.shape[-1] // 48
    return off[..., 20 * scale : 28 * scale, 20 * scale : 28 * scale]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("colour", [(0.05, 0.05, 0.05), (0.9, 0.9, 0.9)])
def test_away_from_the_edge_a_flat_grey_shows_neither_grid_nor_tint(name, colour):
    assert inside(name, colour).abs().max() < 1.25
    assert inside(name, colour).mean((-1, -2)).abs().max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_away_from_the_edge_a_flat_blue_shows_neither_grid_nor_tint(name):
    assert inside(name, (0.2, 0.4, 0.8)).abs().max() < 1.25
    assert inside(name, (0.2, 0.4, 0.8)).mean((-1, -2)).abs().max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(("-real", "-fast"))])
@pytest.mark.parametrize(
    "colour", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.86, 0.12, 0.12), (0.98, 0.86, 0.16)]
)
def test_models_for_degraded_sources_keep_saturated_colours_up_to_the_border(name, colour):
    off = off_on_flat(name, colour, 48, 48).abs()
    assert off.max() < 10
    side = 6 * (off.shape[-1] // 48)  # of a corner
    assert off[..., side:-side].max() < 4
    assert off[..., side:-side, :].max() < 4
