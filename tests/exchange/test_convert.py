"""`dagan models convert`: the only reader of pickles, and a careful one."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dagan_cli.model.checkpoint import Network, load_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from dagan_cli.model.srresnet import SrResNet
from tests.conftest import TINY, Ran
from tests.support.foreign_networks import rdn, rdn_weights, srgan, srgan_weights
from tests.support.tiny import left_over, picture, pixels

pytestmark = pytest.mark.slow


def _state(folder: Path) -> tuple[Path, Generator]:
    generator = Generator(TINY)
    path = folder / "state.pt"
    config = {"generator": TINY.to_dict(), "seed": 7}
    torch.save({"config": config, "step": 12, "average": generator.state_dict()}, path)
    return path, generator


@pytest.fixture
def converted(cli, tmp_path) -> Callable[..., Network]:
    """Save the value, convert the file, and load the result."""

    def convert(value: Any, **how: Any) -> Network:
        torch.save(value, tmp_path / "net.pth", **how)
        ran = cli("models", "convert", tmp_path / "net.pth")
        assert ran.code == 0, ran.err
        assert ran.out == f"{tmp_path / 'net.safetensors'}\n"
        return load_model(tmp_path / "net.safetensors").generator

    return convert


@pytest.fixture
def refused(cli, tmp_path) -> Callable[[Path], str]:
    """Convert the file, which must end in a two-line error and no file; returns its first line."""

    def convert(path: Path) -> str:
        ran: Ran = cli("models", "convert", path)
        assert ran.code == 4, ran.err
        assert len(ran.err.strip().splitlines()) == 2
        assert not path.with_suffix(".safetensors").exists()
        assert not left_over(tmp_path)
        return ran.err.splitlines()[0]

    return convert


def same(network: Network, expected: Callable[[dict[str, Tensor], Tensor], Tensor], w: dict[str, Tensor], **near: Any):
    """In float64, so that only a difference of meaning shows."""
    x = torch.rand(2, 3, 9, 13, dtype=torch.float64)
    exact = expected({name: tensor.double() for name, tensor in w.items()}, x)
    torch.testing.assert_close(network.double()(x), exact, **(near or {"rtol": 1e-10, "atol": 1e-10}))


# The states of `dagan train`


def test_a_training_state_becomes_a_model_with_its_averaged_weights(cli, tmp_path):
    path, generator = _state(tmp_path)
    ran = cli("models", "convert", path)
    assert ran.code == 0, ran.err
    model = load_model(tmp_path / "state.safetensors")
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(model.generator(x), generator.eval().requires_grad_(False)(x))
    assert (model.provenance["iterations"], model.provenance["training"]) == (12, {"seed": 7})


def test_the_state_of_a_baselines_run_is_refused_by_that_name(refused, tmp_path):
    state = {"config": {"generator": TINY.to_dict(), "baseline": "srcnn-915"}, "step": 1, "average": {}}
    torch.save(state, tmp_path / "state.pt")
    assert "baseline" in refused(tmp_path / "state.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"generator": {"scale": 5}}},
        {"config": [1]},
        {"config": {"generator": TINY.to_dict(), "seed": {1, 2}}},
        {"step": torch.zeros(3)},
        {"average": {}},
        {"average": {"sfe1.weight": torch.zeros(16, 3, 3, 3)}},
        {"config": {"generator": TINY.to_dict() | {"blocks": 4096, "channels": 4096}}},
        {"config": {"generator": TINY.to_dict() | {"orders": (), "shared_weights": False, "solver": "tied-euler"}}},
    ],
    ids=str,
)
def test_a_state_that_contradicts_itself_is_refused(change, refused, tmp_path):
    path, _ = _state(tmp_path)
    torch.save(torch.load(path, weights_only=True) | change, path)
    refused(path)


# RDN, of yjn870 and of the paper's author


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_rdn_keeps_its_results(scale, converted):
    w = rdn_weights(scale)
    network = converted(w)
    assert network.config == GeneratorConfig(
        scale=scale, blocks=2, channels=16, growth=8, layers=3, attention="none", reduction=1, solver="euler"
    )
    same(network, lambda w, x: rdn(w, x, scale), w)


@pytest.mark.parametrize(
    ("solver", "constants"),
    [("heun", ("one_half",)), ("rk4", ("one_half", "one_third", "one_sixth"))],
)
def test_the_papers_network_keeps_its_results_with_its_own_constants(solver, constants, converted):
    w = rdn_weights(2, constants, dual=True)
    network = converted(w)
    assert isinstance(network, Generator)
    assert (network.config.solver, network.config.attention, network.config.reduction) == (solver, "spatial-channel", 4)
    same(network, lambda w, x: rdn(w, x, solver=solver), w)


@pytest.mark.parametrize(
    ("solver", "constants"),
    [("euler", ("one_half",)), ("rk4", ("one_half", "one_third", "one_sixth"))],
)
def test_his_plain_blocks_take_one_step_unless_all_constants_of_rk4_are_there(solver, constants, converted):
    w = rdn_weights(2, constants)
    same(converted(w), lambda w, x: rdn(w, x, solver=solver), w)


# SRGAN, of leftthomas


@pytest.mark.parametrize("doublings", [1, 2, 3])
@pytest.mark.parametrize("normed_trunk", [True, False], ids=["normed", "first-published"])
def test_a_generator_of_srgan_keeps_its_results_without_its_batch_norms(doublings, normed_trunk, converted):
    w = srgan_weights(doublings, normed_trunk=normed_trunk)
    network = converted(w)
    assert isinstance(network, SrResNet)
    assert network.scale == 2**doublings
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    same(network, lambda w, x: srgan(w, x, doublings), w, rtol=0, atol=1e-6)


def test_a_converted_srgan_upscales(cli, tmp_path):
    w = srgan_weights()
    torch.save(w, tmp_path / "netG_epoch_2_100.pth")
    assert cli("models", "convert", tmp_path / "netG_epoch_2_100.pth", "-o", tmp_path / "srgan.safetensors").code == 0
    source = picture(tmp_path / "in.png", (20, 16))
    model = ("-n", tmp_path / "srgan.safetensors", "--device", "cpu", "--precision", "fp32")
    assert cli(source, *model, "-s", 2, "-t", "off", "-o", tmp_path / "out.png").code == 0
    x = torch.from_numpy(pixels(source)).permute(2, 0, 1)[None] / 255
    expected = srgan(w, x).mul(255).round()[0].permute(1, 2, 0)
    assert (torch.from_numpy(pixels(tmp_path / "out.png")) - expected).abs().max() <= 1  # a rounding either way
    info = cli("models", "info", tmp_path / "srgan.safetensors")
    assert '"architecture": "srresnet"' in info.out
    assert cli(source, *model, "--order", 2, "-o", tmp_path / "no.png").code == 2


# What training scripts put around weights


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"state_dict": w, "epoch": 3, "optimizer": {"lr": 1e-4}},
        lambda w: {"params": rdn_weights(), "params_ema": w},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {f"module.{name}": tensor for name, tensor in w.items()},
        lambda w: {"generator": {f"_orig_mod.module.{name}": tensor for name, tensor in w.items()}},
        lambda w: {name: torch.nn.Parameter(tensor) for name, tensor in w.items()},
        lambda w: {name: tensor.double() for name, tensor in w.items()},
        lambda w: {name: tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor for name, tensor in w.items()},
    ],
    ids=["state_dict", "params_ema", "nested", "module", "compiled", "parameters", "double", "transposed"],
)
def test_weights_are_found_within_what_is_around_them(wrap, converted):
    w = rdn_weights()
    same(converted(wrap(w)), rdn, w)


def test_the_file_format_of_before_pytorch_1_6_is_read(converted):
    w = srgan_weights()
    same(converted(w, _use_new_zipfile_serialization=False), srgan, w, rtol=0, atol=1e-6)


# What is not converted


def test_a_model_that_exists_is_not_replaced(cli, tmp_path):
    path, _ = _state(tmp_path)
    (tmp_path / "state.safetensors").write_text("mine")
    assert cli("models", "convert", path).code == 2
    assert (tmp_path / "state.safetensors").read_text() == "mine"


def test_choices_that_make_no_sense_end_in_exit_2(cli, tiny_model, tmp_path):
    path, _ = _state(tmp_path)
    for choices in (
        (tiny_model,),
        (tiny_model, "-o", tmp_path / "other.safetensors"),
        (path, "-o", tmp_path / "out.bin"),
        (path, "--order", 4),
    ):
        assert cli("models", "convert", *choices).code == 2


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run_it(refused, tmp_path):
    mark = tmp_path / "ran"
    torch.save({"config": _Bomb(mark)}, tmp_path / "bomb.pth")
    torch.save(rdn_weights() | {"bomb": _Bomb(mark)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Bomb(mark)))
    torch.save(torch.nn.Conv2d(3, 3, 1), tmp_path / "whole.pth")
    for name in ("bomb.pth", "old.pth", "plain.pth", "whole.pth"):
        assert "more than weights" in refused(tmp_path / name)
    assert not mark.exists()


def test_a_file_that_unpacks_to_more_than_it_is_is_refused_unread(refused, tmp_path):
    torch.save({"sfe1.weight": torch.zeros(2**22)}, tmp_path / "stored.pth")
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(tmp_path / "stored.pth") as stored, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    assert bomb.stat().st_size < 2**17
    assert isinstance(torch.load(bomb, weights_only=True), dict)  # torch itself would unpack it
    assert "unpacks" in refused(bomb)


def test_a_file_that_is_missing_or_of_another_kind_ends_in_exit_4(refused, tmp_path):
    (tmp_path / "text.pth").write_text("no pickle")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "cut.pth").write_bytes(_state(tmp_path)[0].read_bytes()[:-5000])
    (tmp_path / "folder.pth").mkdir()
    os.mkfifo(tmp_path / "pipe.pth")  # nothing would ever come out of it
    with (tmp_path / "huge.pth").open("wb") as file:
        os.truncate(file.fileno(), 2**40)  # sparse: it takes no room
    for name in ("text.pth", "empty.pth", "cut.pth", "folder.pth", "pipe.pth", "huge.pth", "missing.pth"):
        refused(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(3), "Tensor"),
        ([1, 2], "list"),
        ({}, "no state dict"),
        ({"params": torch.zeros(3)}, "unknown network"),
        ({1: torch.zeros(3)}, "not a tensor"),
        ({"sfe1.weight": 3}, "sfe1.weight"),
        ({"sfe1.weight": {"a": torch.zeros(3)}}, "sfe1.weight"),
        ({"state_dict": {"params": {"model": {"params": {"a": torch.zeros(3)}}}}}, "not a tensor"),
        ({"sfe1.weight": torch.zeros(3).to_sparse()}, "sparse"),
        ({"sfe1.weight": torch.zeros(3, dtype=torch.complex64)}, "complex"),
        ({"sfe1.weight": torch.zeros(3, device="meta")}, "meta"),
        ({"sfe1.weight": torch.zeros(1).expand(2**40)}, "larger"),
        ({f"module.{'x' * 5000}\n": torch.zeros(1)}, "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_state_dict_of_a_known_network_is_refused(value, says, refused, tmp_path):
    torch.save(value, tmp_path / "net.pth")
    line = refused(tmp_path / "net.pth")
    assert says in line
    assert len(line) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("sfe2.bias"),
        lambda w: w.pop("sfe1.bias"),
        lambda w: w.pop("upscale.0.weight"),
        lambda w: w.pop("rdbs.1.one_half"),
        lambda w: w.pop("rdbs.0.lff.weight"),
        lambda w: w.pop("rdbs.0.se.fc.0.weight"),
        lambda w: w.update({"extra": torch.zeros(3)}),
        lambda w: w.update({"rdbs.7.lff.weight": torch.zeros(16, 40, 1, 1)}),
        lambda w: w.update({"rdbs.99999.lff.weight": torch.zeros(1)}),
        lambda w: w.update({"blocks.0.functions.0.0.fusion.bias": torch.zeros(16)}),
        lambda w: w.update({"sfe1.weight": torch.zeros(16, 1, 3, 3)}),
        lambda w: w.update({"sfe1.weight": torch.zeros(())}),
        lambda w: w.update({"sfe1.weight": torch.zeros(0, 3, 3, 3)}),
        lambda w: w.update({"sfe1.weight": torch.zeros(4096, 3, 3, 3)}),
        lambda w: w.update({"rdbs.0.layers.0.conv.weight": torch.zeros(4096, 16, 3, 3)}),
        lambda w: w.update({"rdbs.0.one_half": torch.zeros(2)}),
        lambda w: w["gff.0.weight"].view(-1)[:1].fill_(float("nan")),
    ],
    ids=range(17),
)
def test_an_rdn_with_parts_missing_or_wrong_is_refused(change, refused, tmp_path):
    w = rdn_weights(2, ("one_half",), dual=True)
    change(w)
    torch.save(w, tmp_path / "net.pth")
    refused(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("block2.bn1.running_var"),
        lambda w: w.pop("block5.prelu.weight"),
        lambda w: w.pop("block8.1.weight"),
        lambda w: w.pop("block8.0.conv.weight"),
        lambda w: w.pop("block4.conv1.weight"),
        lambda w: w.update({"block2.bn1.weight": torch.ones(1)}),
        lambda w: w.update({"block2.bn1.weight": torch.ones(8, 1)}),
        lambda w: w.update({"block3.bn2.running_var": torch.full((8,), -1.0)}),
        lambda w: w.update({"block9.weight": torch.ones(1)}),
        lambda w: w.update({"block1.1.weight": torch.ones(8)}),
        lambda w: w.update({"block1.0.weight": torch.zeros(8, 3, 7, 7)}),
    ],
    ids=range(11),
)
def test_a_generator_of_srgan_with_parts_missing_or_wrong_is_refused(change, refused, tmp_path):
    w = srgan_weights()
    change(w)
    torch.save(w, tmp_path / "net.pth")
    refused(tmp_path / "net.pth")
