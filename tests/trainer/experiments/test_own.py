"""An own arm is the first arm with other values; its name and its values cannot break the comparison."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dagan_cli.errors import BadOption
from trainer.config import TrainConfig
from trainer.experiments.arms import NO_PERCEPTUAL, config_of
from trainer.experiments.own import changed, extended, own_arms
from trainer.experiments.table import EXPERIMENTS, SIZES, Protocol


def config(arm: str, protocol: Protocol = "gan") -> TrainConfig:
    return config_of(arm, SIZES["small"], 2, protocol, seed=0, iterations=20, perceptual=NO_PERCEPTUAL)


def test_an_own_arm_is_the_first_arm_with_other_values():
    own = own_arms(
        ["wide=generator.channels=12,gan.lr=1e-4", "far=generator.attended=[2,4],gan.layers={relu5_1=1.0,relu4_1=0.5}"]
    )
    assert own == {
        "wide": ["generator.channels=12", "gan.lr=1e-4"],
        "far": ["generator.attended=[2,4]", "gan.layers={relu5_1=1.0,relu4_1=0.5}"],
    }
    base = config("nl+se-rk2")
    assert base.gan is not None
    wide = replace(base, generator=replace(base.generator, channels=12), gan=replace(base.gan, lr=1e-4))
    assert changed(base, "wide", own["wide"]) == wide
    one = extended(EXPERIMENTS["E12"], list(own))
    assert one.arms == ("nl+se-rk2", "se-rk2", "nl-rk2", "wide", "far")
    assert one.comparisons == tuple((arm, "nl+se-rk2") for arm in ("se-rk2", "nl-rk2", "wide", "far"))
    assert changed(config("srgan-lt"), "rdn", ["baseline=none", "generator.blocks=2"]).generator.blocks == 2


@pytest.mark.parametrize("name", ["", "../wide", "a/b", ".wide", "-wide", "a b", "a" * 41, "NL+SE-rk2", "se-rk4"])
def test_a_name_that_is_no_safe_file_name_or_is_taken_is_refused(name):
    with pytest.raises(BadOption):
        own_arms([f"{name}=gan.lr=1"])
    with pytest.raises(BadOption, match="an arm of this name"):
        own_arms(["a=gan.lr=1", "A=gan.lr=2"])


@pytest.mark.parametrize(
    ("arm", "values", "says"),
    [
        ("nl+se-rk2", "seed=1", "must be equal"),
        ("nl+se-rk2", "batch=4", "must be equal"),
        ("nl+se-rk2", "validate_every=1", "must be equal"),
        ("nl+se-rk2", "gan.iterations=9", "must be equal"),
        ("nl+se-rk2", "generator.patch=8", "must be equal"),
        ("nl+se-rk2", "gan=none", "must be equal"),
        ("nl+se-rk2", "lr=1e-4", "pixel phase, which is skipped"),
        ("nl+se-rk2", "border_weight=6", "pixel phase, which is skipped"),
        ("nl+se-rk2", "gan.lr=1e-4,", "--arm '' is not name=value"),
        ("nl+se-rk2", "generator.chanels=8", "unknown key generator.chanels"),
        ("nl+se-rk2", "generator.channels=many", "channels"),
        ("srgan-lt", "generator.channels=8", "which srgan-lt does not have"),
        ("rcan-small-3x5", "gan.lr=1e-4", "no adversarial phase"),
    ],
)
def test_values_that_would_break_the_comparison_or_have_no_effect_are_refused(arm, values, says):
    base = config(arm, "pixel" if arm.startswith("rcan") else "gan")
    with pytest.raises(BadOption, match=says) as caught:
        changed(base, "mine", own_arms([f"mine={values}"])["mine"])
    assert caught.value.hint
