"""The generator's numbers: impossible ones are refused when they are put together, wherever they come from."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig

DIAL = GeneratorConfig(solver="rk4", orders=(1, 2, 4), window=16, pool=4, pairwise="embedded")


@pytest.mark.parametrize("config", [GeneratorConfig(), DIAL, GeneratorConfig(attended=(1, 8))])
def test_a_configuration_survives_a_round_trip_through_json(config):
    assert GeneratorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_defaults_are_the_papers():
    config = GeneratorConfig()
    assert (config.blocks, config.layers, config.growth, config.channels) == (8, 4, 32, 64)
    assert (config.block, config.attention, config.pairwise) == ("dense", "spatial-channel", "gaussian")
    assert (config.solver, config.shared_weights, config.learned_constants) == ("heun", True, True)


def test_a_configuration_cannot_be_changed_behind_its_checks():
    with pytest.raises(FrozenInstanceError):
        GeneratorConfig().scale = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 5},
        {"scale": 1},
        {"scale": 2.0},
        {"scale": True},
        {"blocks": 0},
        {"blocks": -1},
        {"blocks": "8"},
        {"blocks": 10**9},
        {"channels": 33},
        {"channels": 4},  # below the reduction
        {"growth": 0},
        {"layers": None},
        {"reduction": 65},
        {"block": "wide"},
        {"attention": "spatial-spatial"},
        {"attention": ["spatial"]},
        {"embedding": 0},
        {"embedding": 65},
        {"embedding": 2.0},
        {"learned_temperature": 1},
        {"squeeze": "maximum"},
        {"attended": ()},
        {"attended": (0, 3)},
        {"attended": (3, 9)},  # of eight blocks
        {"attended": (3, 2)},
        {"attended": (2, 2)},
        {"attended": (1.0,)},
        {"attended": "12"},
        {"pairwise": "dot"},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "1"},
        {"window": 0},
        {"window": 8.0},
        {"window": 10, "pool": 4},
        {"pool": 0},
        {"solver": "rk5"},
        {"stages": 0},
        {"learned_constants": 1},
        {"upsampler": "bilinear"},
        {"image_skip": "yes"},
        {"patch": 0},
        {"default_window": "wide"},
        {"default_window": None},
        {"orders": (1, 2, 4)},  # with heun
        {"orders": (1, 2), "solver": "rk4"},
        {"orders": (4, 1), "solver": "rk4"},
        {"orders": (1, 1, 4), "solver": "rk4"},
        {"orders": (1, 3, 4), "solver": "rk4"},
        {"orders": (1, 4), "solver": "rk4", "shared_weights": False},
        {"orders": ("1", "4"), "solver": "rk4"},
        {"orders": 4, "solver": "rk4"},
    ],
    ids=repr,
)
def test_an_impossible_value_is_refused_with_advice(wrong):
    with pytest.raises(BadOption, match="invalid generator config") as caught:
        GeneratorConfig.from_dict(wrong)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_scales_of_the_paper_and_eight_are_possible(scale):
    assert GeneratorConfig(scale=scale).scale == scale


def test_an_unknown_setting_is_refused_by_its_name():
    with pytest.raises(BadOption, match="'depth'"):
        GeneratorConfig.from_dict({"depth": 8})


def test_every_setting_is_written_to_the_mapping():
    assert set(GeneratorConfig().to_dict()) == {field.name for field in fields(GeneratorConfig)}
