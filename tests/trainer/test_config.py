"""A training run's choices: complete, checked when built, and forgiving of nothing but advice on what was meant."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.model.generator import Generator
from trainer.config import TrainConfig
from trainer.config_toml import read_config, with_values
from trainer.presets import PRESETS, preset

ENDLESS = {"schedule": "constant"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_a_round_trip_through_json(name):
    config = preset(name)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_preset_is_refused_with_the_names_there_are():
    with pytest.raises(BadOption, match="psnr-x3") as caught:
        preset("psnr-x3")
    assert all(name in caught.value.hint for name in PRESETS)


def test_a_toml_file_fills_in_the_choices(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'batch = 4\nlr = 2e-4\nloss = "charbonnier"\niterations = 50\norder_odds = [2, 1, 1]\n'
        '[generator]\nscale = 2\nsolver = "rk4"\norders = [1, 2, 4]\n'
    )
    config = read_config(path)
    assert (config.batch, config.lr, config.loss, config.iterations) == (4, 2e-4, "charbonnier", 50)
    assert (config.generator.scale, config.generator.orders, config.order_odds) == (2, (1, 2, 4), (2, 1, 1))
    assert config.ema == TrainConfig(iterations=1).ema  # what is not named keeps its default


@pytest.mark.parametrize(
    ("toml", "key", "near"),
    [
        ("itertions = 5", "itertions", "iterations"),
        ("learning_rate = 1\nlrr = 5", "learning_rate", ""),
        ("validate_evry = 5", "validate_evry", "validate_every"),
        ("iterations = 5\n[generator]\nscales = 2", "generator.scales", "generator.scale"),
        ("iterations = 5\n[generator]\nshared_weigths = true", "generator.shared_weigths", "generator.shared_weights"),
        ("[Generator]\nscale = 2", "Generator", "generator"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(toml, key, near, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(toml)
    with pytest.raises(BadOption, match=rf"unknown key {key}\n") as caught:
        read_config(path)
    assert f"did you mean {near}" in caught.value.hint


@pytest.mark.parametrize("content", [b"batch = ", b"[generator", b"\xff\xfe", b'batch = 1\n"batch" = 2'])
def test_what_is_not_toml_is_refused(content, tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(BadOption, match="is not TOML"):
        read_config(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BadOption, match="cannot read"):
            read_config(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"batch": 2.0},
        {"batch": True},
        {"loss": "l2"},
        {"lr": 0},
        {"lr": -1e-3},
        {"lr": "1e-3"},
        {"lr": float("inf")},
        {"lr": float("nan")},
        {"border_weight": 0},
        {"border_weight": "heavy"},
        {"warmup": -1},
        {"warmup": "300"},
        {"schedule": "linear"},
        {"schedule": ["constant"]},
        {"iterations": 0},
        {"iterations": "many"},
        {"budget": -5},
        {"budget": float("inf")},
        {"ema": 1},
        {"ema": "0.9"},
        {"ema": float("nan")},
        {"clip": 0},
        {"augment": "no"},
        {"seed": -1},
        {"seed": 1.5},
        {"precision": "fp8"},
        {"validate_every": 0},
        {"save_every": 0},
        {"order_odds": [1.0]},
        {"order_odds": 3},
        {"order_odds": [1, 1, 1]},  # the generator has no dial
        {"generator": 5},
        {"generator": {"scale": 7}},
        {"generator": {"window": 20, "patch": 48}},
        {"gan": {"iterations": 1, "perceptual_shift": -1}},
        {"gan": {"iterations": 1, "perceptual_shift": 97}, "generator": {"scale": 4, "patch": 48}},
    ],
    ids=repr,
)
def test_an_impossible_value_is_refused_with_advice(wrong):
    with pytest.raises(BadOption, match=r"invalid|impossible") as caught:
        TrainConfig.from_dict(ENDLESS | wrong)
    assert caught.value.hint


@pytest.mark.parametrize("odds", [[1, 1], [0, 0, 0], [-1, 1, 1], ["1", 1, 1], [float("nan"), 1, 1], [1e308, 1e308, 1]])
def test_odds_that_cannot_be_drawn_from_are_refused(odds):
    dial = {"generator": {"solver": "rk4", "orders": [1, 2, 4]}}
    assert TrainConfig.from_dict(ENDLESS | dial | {"order_odds": [0, 1, 0]}).order_odds == (0, 1, 0)
    with pytest.raises(BadOption, match="order_odds"):
        TrainConfig.from_dict(ENDLESS | dial | {"order_odds": odds})


@pytest.mark.parametrize("schedule", ["cosine", "cooldown"])
def test_a_schedule_that_falls_needs_an_end(schedule):
    with pytest.raises(BadOption, match="without an end"):
        TrainConfig.from_dict({"schedule": schedule})
    for end in ({"iterations": 10}, {"budget": 60.0}):
        assert TrainConfig.from_dict({"schedule": schedule} | end).schedule == schedule
    assert TrainConfig.from_dict(ENDLESS).iterations is None


@pytest.mark.parametrize("scale", [2, 4])
def test_the_networks_to_come_attend_in_few_blocks_and_the_fast_one_is_small(scale):
    wide, fast = preset(f"wide-x{scale}").generator, preset(f"fast-x{scale}").generator
    assert (wide.blocks, wide.channels, wide.attended) == (10, 48, (5, 10))
    assert (fast.attention, len(fast.attended or ())) == ("spatial-channel", 1)
    counts = [sum(parameter.numel() for parameter in Generator(config).parameters()) for config in (wide, fast)]
    assert counts[1] < 100_000 < counts[0] < 520_000


@pytest.mark.parametrize("name", ["target_weight", "gan.target_weight"])
@pytest.mark.parametrize(
    "ramp", [[], 0.5, [0.5], [[0, 2]], [[0, -1]], [[1, 0], [0, 1]], [[0, "1"]], [[0, 1, 2]], [[2, 0]]]
)
def test_a_ramp_that_makes_no_sense_is_refused(name, ramp):
    values = {"target_weight": ramp} if "." not in name else {"gan": {"budget": 60.0, "target_weight": ramp}}
    with pytest.raises(BadOption, match="target_weight"):
        TrainConfig.from_dict({"budget": 60.0} | values)


def test_the_released_models_are_dual_attention_fourth_order_with_a_dial():
    for scale in (2, 4):
        generator = preset(f"psnr-x{scale}").generator
        assert (generator.scale, generator.solver, generator.orders) == (scale, "rk4", (1, 2, 4))
        assert generator.attention == "spatial-channel"
        paper = preset(f"paper-x{scale}").generator
        assert paper == replace(paper, scale=scale, blocks=8, layers=4, growth=32, channels=64, solver="heun")


def test_none_is_a_choice_where_there_is_one_and_else_leaves_open():
    config = with_values(preset("real-x4"), ["degradation=none", "gan.perceptual=none", "generator.attention=none"])
    assert config.degradation == "none"
    assert config.gan is not None
    assert (config.gan.perceptual, config.generator.attention) == ("none", "none")
    assert with_values(preset("smoke"), ["patience=none"]).patience is None
