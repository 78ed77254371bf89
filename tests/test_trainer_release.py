"""`dagan train release`: the published file says what was measured, of the weights that it holds."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.app import run_command
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.data import load_pictures, validation_pairs
from trainer.evaluate import validate

SMALL = GeneratorConfig(
    scale=2, blocks=1, channels=16, block="residual", solver="rk4", orders=(1, 2, 4), upsampler="direct", patch=16
)


@pytest.fixture
def run(tmp_path):
    """A run's folder, and one of pictures."""
    (tmp_path / "run").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(save_model(Generator(SMALL), {"iterations": 7}))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "val" / "a.png")
    return tmp_path / "run", tmp_path / "val"


def test_the_published_file_is_half_precise_measured_and_signed(run, tmp_path, capsys):
    folder, val = run
    out = tmp_path / "out.safetensors"
    flags = ["--val", str(val), "--report", str(val), "--order", "2", "--training-data", "noise (CC0)"]
    assert run_command(["train", "release", str(folder), "-o", str(out), *flags]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert entry["bytes"] == out.stat().st_size < (folder / "model.safetensors").stat().st_size

    model = load_generator(out)
    facts = model.provenance
    assert (facts["iterations"], facts["licence"], facts["training_data"]) == (7, "MIT", "noise (CC0)")
    assert model.generator.order == 2
    assert facts["metrics"].keys() == {"val (centre 512)", "val"}
    pairs = list(validation_pairs(load_pictures([val], smallest=16), 2))
    with torch.inference_mode():
        for order in (1, 2, 4):
            measured = validate(model.generator, pairs, order)
            assert facts["metrics"]["val"][f"order {order}"] == pytest.approx(measured, abs=2e-3)


def test_a_published_file_is_never_written_over(run, tmp_path, capsys):
    folder, val = run
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    assert run_command(["train", "release", str(folder), "-o", str(out), "--val", str(val)]) == 2
    assert out.read_text() == "mine"
    assert "exists" in capsys.readouterr().err
