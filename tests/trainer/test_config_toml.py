"""Configurations as text: what `dagan train --print-config` prints, and what `--set` takes."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from dagan_cli.commands.app import run_command
from dagan_cli.errors import BadOption
from tests.support.irregular import KINDS, at_once, irregular
from trainer.config import GanConfig, TrainConfig
from trainer.config_toml import read_config, to_toml, with_values
from trainer.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_printed_reads_back_as_the_same_run(name, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(to_toml(preset(name)))
    assert read_config(file) == preset(name)


def test_layers_and_schedules_are_printed_too(tmp_path):
    gan = GanConfig(budget=1.0, layers={"conv3_4": 1.0, "conv1_2": 1e-7}, halve_at=(0.25,))
    config = replace(preset("tiny"), gan=gan, patch_schedule=((0.0, 16), (0.5, 24)), order_odds=(1.0, 0.0, 2.0))
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config))
    assert read_config(file) == config


@pytest.mark.parametrize("kind", [*KINDS, "a missing file", "a large file", "deep", "no text"])
def test_a_file_that_is_no_config_is_refused_and_never_waited_for(kind, tmp_path):
    path = tmp_path / "run.toml"
    if kind in KINDS:
        irregular(path, kind)
    elif kind == "a large file":
        path.touch()
        os.truncate(path, 2**40)  # sparse: it takes no room
    elif kind == "deep":
        path.write_text(f"lr = {'[' * 100_000}")
    elif kind == "no text":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadOption) as refused:
        at_once(read_config, path)
    assert "\n" not in str(refused.value)
    assert refused.value.hint


def test_a_value_that_is_nested_deeply_is_a_word(tmp_path):
    with pytest.raises(BadOption, match="lr"):
        with_values(preset("tiny"), [f"lr={'[' * 5000}"])


@pytest.mark.slow
def test_the_command_prints_the_run_that_its_flags_make(capsys, tmp_path):
    flags = ["--budget", "90s", "--gan-budget", "2m", "--batch", "4", "--lr", "2e-4", "--seed", "3"]
    sets = ["--set", "gan.loss=hinge", "--set", "generator.blocks=2", "--set", "patience=4"]
    assert run_command(["train", "--preset", "tiny", *flags, *sets, "--print-config"]) == 0
    file = tmp_path / "run.toml"
    file.write_text(capsys.readouterr().out)
    tiny = preset("tiny")
    assert tiny.gan is not None
    assert read_config(file) == replace(
        tiny,
        budget=90.0,
        iterations=None,
        batch=4,
        lr=2e-4,
        seed=3,
        patience=4,
        generator=replace(tiny.generator, blocks=2),
        gan=replace(tiny.gan, budget=120.0, iterations=None, loss="hinge"),
    )


def test_values_are_tomls_and_words_need_no_quotes():
    config = with_values(
        preset("tiny"),
        [
            "gan.lr=1e-4",
            "augment=false",
            "generator.orders=[4]",
            "gan.discriminator=srgan",
            'loss="mse"',
            "gan.width = 8",
        ],
    )
    assert config.gan is not None
    assert (config.gan.lr, config.augment, config.generator.orders) == (1e-4, False, (4,))
    assert (config.gan.discriminator, config.loss, config.gan.width) == ("srgan", "mse", 8)


def test_none_leaves_a_choice_open_and_a_table_may_begin_with_it():
    assert with_values(preset("tiny"), ["gan=none"]).gan is None
    assert with_values(preset("psnr-x2"), ["gan.budget=60"]).gan == GanConfig(budget=60)
    assert with_values(preset("psnr-x2"), ["budget=none", "iterations=7"]) == replace(
        preset("psnr-x2"), budget=None, iterations=7
    )


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("lr", "not name=value"),
        ("=3", "not name=value"),
        ("genrator.blocks=4", "unknown key genrator"),
        ("generator.block_count=4", "unknown key generator.block_count"),
        ("lr.x=4", "lr is not a table"),
        ("generator.blocks=many", "blocks"),
        ("lr=fast", "lr = 'fast'"),
    ],
)
def test_nonsense_is_refused_by_its_name(assignment, says):
    with pytest.raises(BadOption, match=says):
        with_values(TrainConfig(iterations=1), [assignment])
