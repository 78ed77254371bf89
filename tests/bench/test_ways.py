"""Ways to upscale an input: which are worth measuring, and the commands that take them."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import weights.catalog
from dagan_cli.bench import ways as module
from dagan_cli.bench.busy import Busy
from dagan_cli.bench.pipeline import _Pace, _quickest, _threads
from dagan_cli.bench.ways import Way, other_qualities, same_quality, usual_runtime
from dagan_cli.engine.options import EngineOptions
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.model.checkpoint import load_model, save_model
from dagan_cli.model.generator import Generator
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscaler import ModelChoice, Upscaler
from tests.conftest import TINY
from tests.support.tiny import clip, picture


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path_factory) -> None:
    watch = type("Watch", (), {"result": lambda _: Busy(2)})
    monkeypatch.setattr("dagan_cli.bench.pipeline.Watch", watch)
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def four_threads(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 4)


def asked(model: str | Path, *, order: int | None = None, **options: str) -> Request:
    return Request(
        inputs=("in.mp4",),
        output=None,
        goal=Goal.of(2, None),
        model=ModelChoice(str(model), order=order),
        engine=EngineOptions(device="cpu", **options),  # type: ignore[arg-type]
        encoding=Encoding(),
    )


def settings(request: Request, size: tuple[int, int] = (40, 30), *, many: bool = True) -> list[tuple[str, int | None]]:
    upscaler = Upscaler.of(request.model, request.engine)
    usual = usual_runtime(request, upscaler, size, many=many)
    return [(way.runtime, way.threads) for way in same_quality(request, upscaler, usual)]


# --- runtimes and threads


@pytest.mark.openvino
def test_the_other_runtime_is_tried_after_the_one_that_auto_takes(tiny_model):
    pytest.importorskip("openvino")
    assert settings(asked(tiny_model)) == [("openvino", None), ("torch", None)]
    assert settings(asked(tiny_model, runtime="torch")) == [("torch", None)]


@pytest.mark.openvino
def test_for_one_small_image_nothing_is_compiled(tiny_model):
    pytest.importorskip("openvino")
    assert settings(asked(tiny_model), many=False) == [("torch", None)]
    assert settings(asked(tiny_model), (512, 512), many=False) == [("openvino", None), ("torch", None)]


def test_half_of_the_threads_are_tried_where_there_are_more_than_two(tiny_model, four_threads, monkeypatch):
    assert settings(asked(tiny_model)) == [("torch", None), ("torch", 2)]
    assert settings(asked("bicubic")) == [("torch", None)]
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 2)
    assert settings(asked(tiny_model)) == [("torch", None)]


def test_a_number_of_threads_that_the_user_has_chosen_stays(tiny_model, four_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert settings(asked(tiny_model)) == [("torch", None)]


def test_threads_are_limited_while_a_way_is_timed():
    before = torch.get_num_threads()
    with _threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_command_names_only_what_is_unusual(tiny_model):
    way = Way(asked("dagan-x2", order=1), "openvino", "openvino")
    begin = "dagan upscale in.mp4 -s 2 -n dagan-x2 --order 1 --device cpu"
    assert way.command("in.mp4") == begin
    assert replace(way, runtime="torch").command("in.mp4") == f"{begin} --runtime torch"
    assert replace(way, threads=4).command("in.mp4") == f"OMP_NUM_THREADS=4 {begin}"
    plain = replace(way, request=asked("bicubic"), runtime="torch")
    assert "--runtime" not in plain.command("in.mp4")


# --- models


def published(folder: Path, name: str, **changed: object) -> weights.catalog.Published:
    """A file of its own shape, as the catalogue describes it."""
    with torch.random.fork_rng():
        content = save_model(Generator(replace(TINY, **changed)), {"data": "none", "licence": "MIT"})  # type: ignore[arg-type]
    (folder / f"{name}.safetensors").write_bytes(content)
    return weights.catalog.Published(
        name=name, scale=2, sha256="", size=len(content), licence="MIT", summary="", metrics={}
    )


@pytest.fixture
def catalogue(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(weights.catalog, "HERE", tmp_path)
    models = (
        published(tmp_path, "dagan-x2-psnr"),
        published(tmp_path, "dagan-x2", default_order=4),
        published(tmp_path, "dagan-x2-fast", blocks=1),
        published(tmp_path, "dagan-x2-real-fast", blocks=1),
        weights.catalog.Published("dagan-x2-far", 2, "", 9, "MIT", "", {}),  # on the Hub only
    )
    monkeypatch.setattr(weights.catalog, "CATALOG", models)
    monkeypatch.setattr(module, "CATALOG", models)


def levels(name: str) -> list[tuple[str | None, int | None, int]]:
    request = asked(name, order=1)
    upscaler = Upscaler(Generator(TINY), request.engine, name=name)
    found = other_qualities(Way(request, "torch", "torch"), upscaler)
    return [(way.request.model.name, way.request.model.order, way.quality) for way in found]


def test_a_published_model_of_another_shape_is_tried_once_at_its_fastest_order(catalogue):
    orders = [("dagan-x2", order, rank) for rank, order in enumerate((4, 2, 1))]
    assert levels("dagan-x2") == [*orders, ("dagan-x2-fast", 1, 3), ("bicubic", None, 4)]


def test_a_larger_model_is_better(catalogue):
    orders = [("dagan-x2-fast", order, rank) for rank, order in enumerate((4, 2, 1), 1)]
    assert levels("dagan-x2-fast") == [("dagan-x2-psnr", None, 0), *orders, ("bicubic", None, 4)]


def test_a_file_of_the_user_s_own_is_not_compared_with_published_models(catalogue):
    assert [name for name, *_ in levels("mine.safetensors")] == ["mine.safetensors"] * 3 + ["bicubic"]


def test_no_two_of_the_models_that_are_tried_have_one_shape():
    for model in weights.catalog.CATALOG:
        upscaler = Upscaler.load(model.name, options=EngineOptions(device="cpu"))
        tried = {way.request.model.name for way in other_qualities(Way(asked(model.name), "torch", "torch"), upscaler)}
        files = {name: weights.catalog.find_model(str(name))[0] for name in tried - {"bicubic"}}
        sizes = {
            sum(value.numel() for value in load_model(path).generator.state_dict().values()): name
            for name, path in files.items()
        }
        assert len(sizes) == len(files)
        assert model.name in files


# --- together


@pytest.mark.parametrize(("rates", "place"), [((100, 104), 0), ((100, 106), 1), ((100, 106, 200), 2), ((100,), 0)])
def test_another_setting_must_be_clearly_faster_than_the_usual_one(rates, place):
    paces = [_Pace(lambda n, rate=rate: (n, n / rate), 1) for rate in rates]
    ways: list = [SimpleNamespace(words=str(i), alone=pace, is_as_named=True) for i, pace in enumerate(paces)]
    assert _quickest(ways, 1, 1, None, lambda _: None) is ways[place]
    ways[place].is_as_named = place == 0  # another runtime had to step in
    assert _quickest(ways, 1, 1, None, lambda _: None) is ways[max(0, place - 1)]


@pytest.mark.slow
@pytest.mark.openvino
def test_what_cannot_win_is_timed_alone_and_the_report_ends_with_a_command(cli, tiny_model, tmp_path):
    """One order: two runtimes are timed alone, and only the faster one from file to file besides the usual one."""
    pytest.importorskip("openvino")
    source = clip(tmp_path / "in.mp4")
    done = cli("bench", source, "-n", tiny_model, "-s", 2, "--device", "cpu", "--seconds", 0.1, "--rounds", 1, "--json")
    result = json.loads(done.out)
    ways = {tuple(shlex.split(way["command"])[5:]): way for way in result["commands"]}
    begin = ("-n", str(tiny_model), "--order", "1", "--device", "cpu")
    usual, other = ways[begin], ways[*begin, "--runtime", "torch"]
    assert usual["fps"] == result["fps"]
    assert other["alone_fps"] > 0
    assert "openvino" in usual["words"]
    assert "torch" in other["words"]
    assert result["fastest"] in [way["command"] for way in result["commands"]]


@pytest.mark.slow
def test_the_second_run_on_a_picture_is_compared_with_the_first(cli, tiny_model, tmp_path):
    source = picture(tmp_path / "in.png", (40, 30))
    command = ("bench", source, "-n", tiny_model, "-s", 2, "--device", "cpu", "--seconds", 0.1, "--rounds", 1)
    assert "last time" not in cli(*command).out
    text = cli(*command).out
    assert "last time (20" in text
    assert "best quality" in text
    assert os.linesep.join(text.splitlines()[-2:]).count("times as fast") == 1
