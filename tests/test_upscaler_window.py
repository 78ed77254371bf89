"""`--window`: what pooling and global attention see is the model's choice unless the user makes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dagan_cli.exchange.card import card
from dagan_cli.model.checkpoint import Model, save_model
from dagan_cli.model.config import Window
from dagan_cli.model.generator import Generator
from dagan_cli.upscaler import Upscaler
from tests.conftest import TINY
from tests.support.tiny import picture


@pytest.fixture
def local_model(tmp_path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "local.safetensors"
    path.write_bytes(save_model(Generator(replace(TINY, default_window="local")), {}))
    return path


@pytest.mark.slow
def test_a_model_runs_in_the_window_it_names_unless_told_otherwise(local_model, tiny_model):
    large = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))  # windows are of 24

    def run(path: Path, **choice) -> torch.Tensor:
        return Upscaler.load(str(path), precision="fp32", tile="off", **choice)(large)

    everywhere, local = run(tiny_model, window="global"), run(tiny_model, window="local")
    assert not torch.equal(everywhere, local)
    assert torch.equal(run(tiny_model), everywhere)
    assert torch.equal(run(local_model), local)
    assert torch.equal(run(local_model, window="global"), everywhere)


@pytest.mark.slow
def test_the_report_and_the_file_say_which_window_it_was(local_model, tiny_model, cli, tmp_path):
    source = picture(tmp_path / "in.png", (40, 30))
    for model, flags, window in [
        (tiny_model, [], "global"),
        (tiny_model, ["--window", "local"], "local"),
        (local_model, [], "local"),
        (local_model, ["--window", "global"], "global"),
        ("bicubic", [], None),
    ]:
        out = tmp_path / "out.png"
        ran = cli("upscale", source, "-o", out, "-s", 2, "-n", model, "--json", "-y", *flags)
        assert ran.code == 0, ran.err
        assert json.loads(ran.out)["model"]["window"] == window
        assert (b"local windows" in out.read_bytes()) == (window == "local")


def test_tiles_with_too_little_to_pool_over_are_enlarged_and_the_user_is_told(local_model, tiny_model):
    def planned(path: Path, tile: int, width: int = 300) -> tuple[set[int], list[str]]:
        engine = Upscaler.load(str(path), device="cpu", runtime="torch", tile=tile).engine
        return set(engine.plan(200, width).sides), engine.notices

    told = ["tiles of 32 px instead of 16: smaller ones change the model's result"]
    assert planned(local_model, 16) == ({32}, told)  # windows are of 24 pixels, and a third of that is rim
    assert planned(tiny_model, 16) == planned(tiny_model, 16, width=33) == ({32}, told)
    assert planned(local_model, 64) == ({64}, [])


def test_the_card_says_that_a_model_pools_over_windows():
    def text(window: Window) -> str:
        generator = Generator(replace(TINY, default_window=window))
        return card("mine", Model(generator, "ab" * 32, {}), "hf://me/mine")

    assert ["pools over windows" in text(window) for window in ("local", "global")] == [True, False]
