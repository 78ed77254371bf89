"""Files of other programs: their tensors are read, their code is never run, and other files are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dagan_cli.community.library import is_installed
from dagan_cli.community.weights_file import read_tensors
from dagan_cli.errors import BadModel
from dagan_cli.model.file import is_foreign
from tests.support.community_networks import small
from tests.support.hub_case import refused
from tests.support.tiny import picture

needs_spandrel = pytest.mark.skipif(not is_installed(), reason="needs spandrel, the extra `community`")
WEIGHTS = {"conv.weight": torch.ones(2, 3), "count": torch.tensor(5)}


def read(path: Path, unwrapped: Callable[[Any], Any] = lambda values: values) -> Any:
    return read_tensors(path, unwrapped)


class Runs:
    """A pickle that creates a file when it is loaded without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_a_pickle_and_the_checksum_of_the_file(legacy, tmp_path):
    torch.save({"net": WEIGHTS}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    tensors, digest = read(tmp_path / "a.pth", lambda values: values["net"])
    assert digest == sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    assert tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)


def test_tensors_of_a_safetensors_file_and_its_checksum(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    tensors, digest = read(tmp_path / "a.safetensors")
    assert digest == sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": torch.full((2,), float("nan"))}, "not finite"),
        ({"a": torch.empty(0, 10**9)}, "is empty"),
        ({"a": "text"}, "is not a tensor"),
        ({5: torch.ones(1)}, "no state dict"),
        ({"a": torch.ones(1).expand(10**6)}, "larger than its storage"),
        ([torch.ones(1)], "not a state dict"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(value, words, tmp_path):
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(BadModel, match=words):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x02}q\0.", b"PK\3\4 and no more"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_model_is_refused(content, suffix, tmp_path):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(BadModel):
        read(tmp_path / f"a{suffix}")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadModel, match="no such file"):
        read(tmp_path / "a.pth")


def test_a_file_is_foreign_by_its_suffix_or_by_its_header(tmp_path, tiny_model):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    (tmp_path / "a.pth").touch()
    (tmp_path / "half.safetensors").write_bytes(b"half")
    foreign = [path.name for path in sorted(tmp_path.iterdir()) if is_foreign(path)]
    assert foreign == ["a.pth", "a.safetensors"]
    assert not is_foreign(tiny_model)
    assert not is_foreign(tmp_path / "missing.pth")


@needs_spandrel
@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_with_code_is_refused_and_its_code_is_not_run(cli, tmp_path, wrapped):
    mark, bad = tmp_path / "mark", Runs(tmp_path / "mark")
    torch.save({"params_ema": small("Compact") | {"extra": bad}} if wrapped else bad, tmp_path / "bad.pth")
    assert refused(cli(picture(tmp_path / "in.png"), "-n", tmp_path / "bad.pth"), "holds more than weights")
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(bad, protocol=2))
    assert refused(cli("models", "info", tmp_path / "bad.pth"), "holds more than weights")
    assert not mark.exists()


@needs_spandrel
@pytest.mark.slow
def test_a_network_that_spandrel_does_not_know_is_refused(cli, tmp_path):
    torch.save({"encoder.layer.weight": torch.ones(3, 3)}, tmp_path / "net.pth")
    ran = cli("models", "info", tmp_path / "net.pth")
    assert refused(ran, "does not know", "encoder.layer.weight", "dagan models convert")


@needs_spandrel
@pytest.mark.slow
def test_weights_that_do_not_fit_the_network_that_they_resemble_are_refused(cli, tmp_path):
    weights = small("SwinIR")
    del weights["norm.weight"]
    torch.save(weights, tmp_path / "net.pth")
    assert refused(cli("models", "info", tmp_path / "net.pth"), "does not fit the network")


@pytest.mark.slow
def test_without_spandrel_the_error_says_what_to_install(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("dagan_cli.community.network.is_installed", lambda: False)
    torch.save(WEIGHTS, tmp_path / "net.pth")
    ran = cli(picture(tmp_path / "in.png"), "-n", tmp_path / "net.pth")
    assert refused(ran, "need spandrel", 'pip install "dagan[community]"', "dagan models convert")
