"""`dagan eval --ablate`: what each part of a model is worth, in the scores of `dagan eval`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.generator import Generator
from tests.conftest import TINY
from tests.support.tiny import picture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return picture(tmp_path / "hr" / "a.png", (64, 64)).parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save_model(Generator(replace(TINY, identity_start=False)), {"licence": "MIT"}))
    return path


@pytest.mark.slow
def test_the_first_row_is_what_eval_says_and_every_part_has_its_rows(images, model, cli):
    found = json.loads(cli("eval", images, "-n", model, "--order", 4, "--ablate", "all", "--json").out)
    plain = json.loads(cli("eval", images, "-n", model, "--order", 4, "--runtime", "torch", "--json").out)
    assert [row["change"] for row in found["rows"]] == [
        "",
        "softmax replaced by the mean of its window",
        "spatial attention left out",
        "gates replaced by their means",
        "channel attention left out",
        "textbook constants of rk4",
    ]
    assert found["rows"][0]["psnr"] == pytest.approx(plain["scores"][-1]["psnr"], abs=1e-4)
    changed = {row["change"]: row["psnr"] for row in found["rows"]}
    assert changed["channel attention left out"] != pytest.approx(changed[""], abs=1e-3)
    assert changed["textbook constants of rk4"] == changed[""]  # untrained, they are the textbook's
    assert 0 < found["entropy"] <= 1
    assert 0 <= found["gate_spread"] < 0.5


@pytest.mark.slow
def test_only_the_parts_that_are_named_and_as_a_table(images, model, cli):
    ran = cli("eval", images, "-n", model, "--ablate", "channel", "--ablate", "spatial")
    lines = [line.split("  ")[0] for line in ran.out.splitlines()[:6]]
    assert lines[:2] == ["change", "none"]
    assert "softmax" in lines[2]
    assert "gates" in lines[4]
    assert "textbook" not in ran.out
    assert "Entropy of the softmax" in ran.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-n", "bicubic", "-s", "2", "--ablate", "all"], "does not apply to bicubic"),
        (["--results", "hr", "--ablate", "all"], "--results names none"),
        (["-n", "model.safetensors", "--ablate", "gates"], "invalid --ablate 'gates'"),
        (["-n", "model.safetensors", "--order", "1", "--ablate", "constants"], "no constants to replace at order 1"),
        (["-n", "model.safetensors", "--ablate", "all", "--precision", "bf16"], "needs PyTorch and fp32"),
    ],
)
def test_what_cannot_be_taken_away_is_refused(flags, words, images, model, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    ran = cli("eval", images, *flags)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.count("\n") == 2
