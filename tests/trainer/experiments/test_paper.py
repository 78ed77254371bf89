"""The experiments compare what they say: equal data, equal length, matched sizes and costs, and arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dagan_cli.errors import BadModel, BadOption
from trainer.config import TrainConfig
from trainer.experiments.arms import (
    DISTILLED,
    NO_PERCEPTUAL,
    VGG16,
    config_of,
    generator_of,
    multiply_adds,
    perceptual_of,
)
from trainer.experiments.figure import curve
from trainer.experiments.paper import run_paper
from trainer.experiments.runs import Arm, steps_within
from trainer.experiments.summary import arms_table, differences, mean_text, pairs_table, spread
from trainer.experiments.table import EXPERIMENTS, SIZES, experiment
from trainer.networks import new_network
from trainer.record.folder import Row

GENERATED = {  # by hand, from the list of experiments
    "E7": {"srgan-lt", *(f"{a}-{s}" for a in ("none", "se", "nl", "nl+se") for s in ("rk2", "rk4", "euler"))},
    "E8": {"nl+se-rk2", "nl+se-rk4", "none-euler-matched", "none-euler-costly"},
    "E9": {"rcan-small-3x5", "rcan-small-dual-3x5", "rcan-small-pointwise-3x5"},
    "E10": {"nl+se-euler", *(f"nl+se-{kind}{order}" for kind in ("rk", "tied") for order in (2, 3, 4))},
    "E11": {"none-rk2", "nl+se-rk2", "none-rk4", "nl+se-rk4"},
    "E12": {"se-rk2", "nl-rk2", "nl+se-rk2"},
    "C1": {"nl+se-rk2", "se+nl-rk2"},
    "C2": {"nl+se-rk2", "nl+se-rk2-frozen", "nl+se-rk4", "nl+se-rk4-frozen"},
    "C4": {
        f"nl+se-{solver}{rate}"
        for solver in ("euler", "rk2", "rk4")
        for rate in ("", "-lr0.0003", "-lr0.003", "-lr0.01")
    },
    "C5": {"nl+se-rk2", "nl+se-rk2-embedded", "nl+se-rk2-temperature"},
    "C6": {"nl+se-rk2", "nl+se-euler-deep2", "nl+se-rk4", "nl+se-euler-deep4"},
    "C7": {f"nl+se-{solver}{depth}" for solver in ("euler", "rk2", "rk4") for depth in ("", "-half", "-deep2")},
    "V": {"srgan-lt", "nl+se-rk2"},
}


def config(arm: str, size: str = "full", scale: int = 2, **how: Any) -> TrainConfig:
    given: dict[str, Any] = {"seed": 0, "iterations": 26_100, "perceptual": VGG16} | how
    return config_of(arm, SIZES[size], scale, "gan", **given)


def parameters(arm: str, size: str = "full", scale: int = 2) -> int:
    return sum(p.numel() for p in new_network(config(arm, size, scale)).parameters())


def cost(arm: str, size: str = "small", scale: int = 2) -> int:
    return multiply_adds(new_network(config(arm, size, scale)), 8)


def test_every_experiment_has_its_arms_scales_and_length():
    assert {name: set(one.arms) for name, one in EXPERIMENTS.items()} == GENERATED
    assert {name: one.scales for name, one in EXPERIMENTS.items() if one.scales != (2,)} == {
        "E8": (4,),
        "E9": (2, 4),
        "V": (2, 4),
    }
    lengths = {name: one.iterations(one.scales[0]) for name, one in EXPERIMENTS.items()}
    assert lengths == dict.fromkeys(lengths, 26_100) | {"E9": 52_200, "V": 39_150}  # figure 5: 150 epochs of 261 steps
    assert EXPERIMENTS["V"].iterations(4) == 27_405  # figures 1 and 6: 105
    for one in EXPERIMENTS.values():
        assert {arm for pair in one.comparisons for arm in pair} == set(one.arms)


@pytest.mark.parametrize(
    ("arm", "scale", "count"),
    [
        ("none-euler", 2, 1_389_955),
        ("nl+se-rk2", 2, 1_431_691),
        ("nl+se-rk2", 4, 1_579_403),
        ("srgan-lt", 2, 586_506),
        ("rcan-small-3x5", 2, 1_415_487),
        ("rcan-small-dual-3x5", 2, 1_478_367),
    ],
)
def test_the_full_arms_have_the_published_sizes(arm, scale, count):
    assert parameters(arm, scale=scale) == count


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [2, 4])
def test_matched_arms_have_as_many_parameters_within_a_hundredth(size, scale):
    dual, plain = (parameters(arm, size, scale) for arm in ("nl+se-rk2", "none-euler-matched"))
    assert plain == pytest.approx(dual, rel=0.01)
    assert parameters("none-euler", size, scale) < plain
    assert parameters("rcan-small-pointwise-3x5", size, scale) == parameters("rcan-small-dual-3x5", size, scale)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_costly_arm_multiplies_as_often_as_the_dual_one_within_a_hundredth(size):
    patch = SIZES[size].crop // 4
    with torch.device("meta"):
        costs = [multiply_adds(new_network(config(arm, size, 4)), patch) for arm in ("nl+se-rk2", "none-euler-costly")]
    assert costs[1] == pytest.approx(costs[0], rel=0.01)


def test_arms_of_one_solver_and_rate_differ_in_their_depth_and_rate_alone():
    base = config("nl+se-rk4")
    assert base.gan is not None
    for arm, rate in {"nl+se-rk4-lr0.0003": 3e-4, "nl+se-rk4-lr0.01": 1e-2}.items():
        assert config(arm) == replace(base, gan=replace(base.gan, lr=rate, lr_discriminator=rate))
    for arm, blocks in {"nl+se-rk4-half": 4, "nl+se-rk4-deep2": 16, "nl+se-rk4-deep4": 32}.items():
        assert config(arm) == replace(base, generator=replace(base.generator, blocks=blocks))


@pytest.mark.slow
def test_arms_matched_in_computation_multiply_as_often_with_the_same_weights():
    assert cost("nl+se-tied2") == cost("nl+se-rk2") > cost("nl+se-euler")
    assert cost("nl+se-tied4") == cost("nl+se-rk4") > cost("nl+se-tied3") == cost("nl+se-rk3") > cost("nl+se-rk2")
    once = cost("nl+se-rk2") - cost("nl+se-euler")  # of all blocks' functions
    assert cost("nl+se-rk4") == cost("nl+se-euler") + 3 * once
    constants = {"nl+se-euler": 0, "nl+se-tied2": 0, "nl+se-tied4": 0, "nl+se-rk2": 1, "nl+se-rk4": 3}
    blocks = SIZES["small"].generator["blocks"]
    plain = {arm: parameters(arm, "small") - blocks * each for arm, each in constants.items()}
    assert len(set(plain.values())) == 1


def test_multiply_adds_are_counted_as_by_hand():
    assert multiply_adds(nn.Conv2d(3, 5, 3, padding=1), 4) == 4 * 4 * 5 * 3 * 9
    positions, channels = 8 * 8, SIZES["small"].generator["channels"]
    attention = (
        2 * positions**2 * channels + positions * 2 * channels * channels // 2
    )  # of x xT and of its product; g, W
    calls = 2 * SIZES["small"].generator["blocks"]
    assert cost("nl-rk2") - cost("none-rk2") == calls * attention


def test_the_training_is_that_of_the_papers_baseline():
    found = config("nl+se-rk2")
    gan = found.gan
    assert gan is not None
    assert (found.iterations, found.batch, found.generator.patch, found.augment) == (0, 64, 44, False)
    assert (gan.iterations, gan.lr, gan.lr_discriminator, gan.halve_at, gan.warmup) == (26_100, 1e-3, 1e-3, (), 0)
    assert (gan.discriminator, gan.loss, gan.pixel, gan.perceptual) == ("leftthomas", "sigmoid", "mse", "vgg16")
    weights = (gan.pixel_weight, gan.adversarial_weight, gan.perceptual_weight, gan.tv_weight)
    assert weights == (1.0, 1e-3, 6e-3, 2e-8)


def test_arms_differ_in_what_their_name_says_only():
    size = SIZES["full"]
    base = generator_of("nl+se-rk2", size, 2)
    for arm, changes in {
        "none-euler": {"attention": "none", "solver": "euler"},
        "se+nl-rk2": {"attention": "channel-spatial"},
        "nl+se-rk3": {"solver": "rk3"},
        "nl+se-tied4": {"solver": "tied-euler", "stages": 4},
        "nl+se-rk2-frozen": {"learned_constants": False},
        "nl+se-rk2-embedded": {"pairwise": "embedded"},
        "nl+se-rk2-temperature": {"temperature": 8.0},
    }.items():
        assert generator_of(arm, size, 2) == replace(base, **changes)
        assert config(arm) == replace(config("nl+se-rk2"), generator=replace(base, **changes))


def test_a_budget_is_shared_by_all_runs_after_their_validations():
    # 3 seeds x ((0.5 + 1.5) s a step and 10 x (2 + 3) s of validations) in 750 s: 100 steps
    assert steps_within(750, 3, [0.5, 1.5], [2, 3], 10) == 100
    assert steps_within(750 + 3 * 2, 3, [0.5, 1.5], [2, 3], 10) == 101
    with pytest.raises(BadOption, match="too short") as caught:
        steps_within(150, 3, [0.5, 1.5], [2, 3], 10)
    assert "4m" in caught.value.hint  # 3 x (50 + 10 x 2) s, and one more minute


def rows(*values: float, key: str = "psnr_y") -> list[Row]:
    return [Row(10 * (i + 1), "adversarial", {key: v, "seconds": 4.0 * (i + 1)}, {}) for i, v in enumerate(values)]


def test_paired_differences_are_those_of_the_same_seed():
    a = Arm("a", 1000, 2_000_000, {0: rows(20.0, 30.0), 1: rows(20.0, 31.0), 2: rows(20.0, 32.0)})
    b = Arm("b", 1000, 2_000_000, {0: rows(20.0, 29.9), 1: rows(20.0, 30.8), 2: rows(20.0, 31.7)})
    assert differences(a.last("psnr_y"), b.last("psnr_y")) == pytest.approx([0.1, 0.2, 0.3])
    assert spread([0.1, 0.2, 0.3]) == pytest.approx((0.2, 0.1))
    row = "| a − b | +0.200 ± 0.100 | +0.100, +0.200, +0.300 | ± 0.248 | 0.074 | 1.00 |"
    assert row in pairs_table([a, b], (("a", "b"),))
    assert "| a | 1,000 | 2.0 | 0.400 ± 0.000 | 1.00 | 31.000 ± 1.000 |" in arms_table([a, b])
    assert mean_text([1.5], 2) == "1.50"
    assert mean_text([], 2) == "–"


def test_the_generators_loss_is_compared_too_in_thousandths():
    arms = [Arm(name, 0, 0, {0: rows(0.5, last, key="loss")}) for name, last in (("a", 0.0031), ("b", 0.0035))]
    assert "| 95 % | p | Δ G loss, 1e-3 | per seed |" in pairs_table(arms, (("a", "b"),))
    assert "| – | – | -0.400 | -0.400 | 1.00 |" in pairs_table(arms, (("a", "b"),))


def test_a_curve_is_the_mean_over_seeds_where_all_have_been():
    arm = Arm("a", 0, 0, {0: rows(1.0, 2.0, 5.0), 1: rows(3.0, 2.0)})
    assert curve(arm, "psnr_y") == [(10, 2.0, pytest.approx(2**0.5)), (20, 2.0, 0.0)]
    assert curve(arm, "loss") == []


def test_the_perceptual_network_is_told_by_its_file(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert perceptual_of(None) == NO_PERCEPTUAL
    for name, perceptual in (("conv11.weight", DISTILLED), ("features.0.weight", VGG16)):
        path = tmp_path / f"{name}.safetensors"
        save_file({name: torch.zeros(1)}, path)
        assert perceptual_of(path) == replace(perceptual, path=path)
    with pytest.raises(BadModel):
        perceptual_of(tmp_path / "none.safetensors")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").touch()
    assert perceptual_of(None).backbone == "vgg16"


@pytest.mark.parametrize(
    ("names", "how", "message"),
    [
        (["E6"], {}, "unknown experiment"),
        (["E8"], {"scale": 2}, "no common scale"),
        (["E8", "E10"], {}, "no common scale"),
        (["E9", "E10"], {}, "without a discriminator"),
        (["E10"], {"size": "huge"}, "unknown size"),
        ([], {}, "no experiment was given"),
        (["E10", "E11"], {"own": ["wide=gan.lr=1e-4"]}, "--arm with several experiments"),
    ],
)
def test_what_cannot_be_run_is_refused_with_advice(names, how, message, tmp_path):
    with pytest.raises(BadOption, match=message) as caught:
        next(run_paper(names, [tmp_path], tmp_path, tmp_path, **how))
    assert caught.value.hint
    assert experiment("e10").name == "E10"
