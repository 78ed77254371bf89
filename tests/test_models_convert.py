"""`dagan models convert`: the only reader of pickles, and a careful one."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from dagan_cli.model.checkpoint import load_model
from dagan_cli.model.generator import Generator
from tests.conftest import TINY


def _state(folder: Path) -> tuple[Path, Generator]:
    generator = Generator(TINY)
    path = folder / "state.pt"
    config = {"generator": TINY.to_dict(), "seed": 7}
    torch.save({"config": config, "step": 12, "average": generator.state_dict()}, path)
    return path, generator


def test_a_training_state_becomes_a_model_with_its_averaged_weights(cli, tmp_path):
    path, generator = _state(tmp_path)
    ran = cli("models", "convert", path)
    assert ran.code == 0, ran.err
    model = load_model(tmp_path / "state.safetensors")
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(model.generator(x), generator.eval().requires_grad_(False)(x))
    assert (model.provenance["iterations"], model.provenance["training"]) == (12, {"seed": 7})


def test_a_model_that_exists_is_not_replaced(cli, tmp_path):
    path, _ = _state(tmp_path)
    (tmp_path / "state.safetensors").write_text("mine")
    assert cli("models", "convert", path).code == 2
    assert (tmp_path / "state.safetensors").read_text() == "mine"


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run_it(cli, tmp_path):
    mark = tmp_path / "ran"
    torch.save({"config": _Bomb(mark)}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Bomb(mark)))
    for name in ("bomb.pth", "plain.pth"):
        ran = cli("models", "convert", tmp_path / name)
        assert ran.code == 4
        assert len(ran.err.strip().splitlines()) == 2
    assert not mark.exists()


def test_a_file_that_is_missing_or_of_another_kind_ends_in_exit_4(cli, tmp_path):
    (tmp_path / "text.pth").write_text("no pickle")
    torch.save({"params": torch.zeros(3)}, tmp_path / "foreign.pth")
    for name in ("text.pth", "foreign.pth", "missing.pth"):
        assert cli("models", "convert", tmp_path / name).code == 4
