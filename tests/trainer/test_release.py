"""`dagan train release`: the published file says what was measured, of the weights that it holds."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli import Upscaler
from dagan_cli.ablate import ablate
from dagan_cli.commands.app import run_command
from dagan_cli.model.ablation import PARTS
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.data.samples import load_pictures, validation_pairs
from trainer.validate import scores, validate

SMALL = GeneratorConfig(
    scale=2, blocks=1, channels=16, block="residual", solver="rk4", orders=(1, 2, 4), upsampler="direct", patch=16
)


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch):
    """Times are measured on a few pixels, as these tests ask only that they are there."""
    monkeypatch.setattr("trainer.bench.SIDE", 16)
    monkeypatch.setattr("trainer.bench.ROUNDS", 2)


@pytest.fixture
def run(tmp_path):
    """A run's folder, and one of pictures."""
    (tmp_path / "run").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(save_model(Generator(SMALL), {"iterations": 7}))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "val" / "a.png")
    return tmp_path / "run", tmp_path / "val"


@pytest.mark.slow
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
    assert (model.generator.window, facts["metrics"].keys()) == ("global", {"val (centre 512)", "val"})
    pairs = list(validation_pairs(load_pictures([val], smallest=16), 2))
    with torch.inference_mode():
        for order in (1, 2, 4):
            measured = validate(model.generator, pairs, order)
            assert facts["metrics"]["val"][f"order {order}"] == pytest.approx(measured, abs=2e-3)


@pytest.mark.slow
def test_the_file_says_what_its_parts_are_worth(run, tmp_path):
    """As `dagan eval --ablate` measures it, which upscales the same images through the engine."""
    folder, val = run
    out = tmp_path / "out.safetensors"
    assert run_command(["train", "release", str(folder), "-o", str(out), "--val", str(val)]) == 0
    found = load_generator(out).provenance["ablation"]
    assert found["data"] == "val (centre 512)"
    assert [(row["order"], row["change"]) for row in found["rows"]] == [
        (1, ""),
        (1, "softmax replaced by the mean of its window"),
        (1, "spatial attention left out"),
        (1, "gates replaced by their means"),
        (1, "channel attention left out"),
        (4, ""),
        (4, "textbook constants of rk4"),
    ]
    for order in (1, 4):
        upscaler = Upscaler.load(str(out), device="cpu", precision="fp32", order=order)
        measured = ablate(val, upscaler, PARTS if order == 4 else ("spatial", "channel"), 2)
        own = {row["change"]: row["psnr_y"] for row in found["rows"] if row["order"] == order}
        there = {row.change: row.score.psnr for row in measured.rows}
        assert own == pytest.approx({change: there[change] for change in own}, abs=2e-3)
        if order == 1:
            assert found["entropy"] == pytest.approx(measured.entropy, abs=1e-3)
            assert found["gate_spread"] == pytest.approx(measured.gate_spread, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("facts", [{"training": {"degradation": "medium"}}, {"training": {}, "pairs": True}])
def test_a_model_for_real_sources_is_measured_on_degraded_ones_and_along_the_dial(run, tmp_path, capsys, facts):
    folder, val = run
    torch.manual_seed(3)
    start = tmp_path / "start.safetensors"
    start.write_bytes(save_model(Generator(SMALL), {"iterations": 5}))
    facts = facts | {"phase": "adversarial"}
    (folder / "model.safetensors").write_bytes(save_model(Generator(SMALL), facts))
    out = tmp_path / "out.safetensors"
    command = ["train", "release", str(folder), "-o", str(out), "--val", str(val)]
    assert run_command([*command, "--dial"]) == 2
    assert run_command([*command, "--dial", "--started-from", str(start)]) == 0
    model = load_generator(out)
    found = model.provenance
    assert model.generator.window == "local"
    assert list(found["metrics"]) == ["val (centre 512)", "val, degraded as video", "val, degraded as web"]
    clean, video, web = (found["metrics"][name]["order 1"] for name in found["metrics"])
    assert len({clean, video, web}) == 3
    assert list(found["detail"]) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert found["detail"]["1"]["psnr_y"] == pytest.approx(clean, abs=2e-3)
    pairs = list(validation_pairs(load_pictures([val], smallest=16), 2))
    assert found["detail"]["0"]["psnr_y"] == pytest.approx(validate(load_generator(start).generator, pairs), abs=2e-3)
    assert found["started_from"] == {"iterations": 5, "sha256": hashlib.sha256(start.read_bytes()).hexdigest()}
    assert set(found["microseconds"]) == {"order 1", "order 2", "order 4"}
    assert min(found["microseconds"].values()) > 0

    capsys.readouterr()
    assert run_command(["models", "card", str(out)]) == 0
    card = capsys.readouterr().out
    assert f"| val, degraded as web | {found['metrics']['val, degraded as web']['order 1']:g} |" in card
    assert f"| `--detail` | PSNR-Y |\n| --- | --- |\n| 0 | {found['detail']['0']['psnr_y']:.6g} |" in card
    assert "µs per input pixel" in card
    assert f"| started from | iterations 5, sha256 {found['started_from']['sha256']} |" in card


@pytest.mark.slow
def test_the_dial_may_end_at_a_fidelity_model_that_the_run_did_not_start_from(run, tmp_path, capsys):
    folder, val = run
    torch.manual_seed(3)
    fidelity, out = tmp_path / "fidelity.safetensors", tmp_path / "out.safetensors"
    fidelity.write_bytes(save_model(Generator(SMALL), {"iterations": 9}))
    command = ["train", "release", str(folder), "-o", str(out), "--val", str(val), "--fidelity-model", str(fidelity)]
    assert run_command(command) == 2
    assert "--dial" in capsys.readouterr().err
    command[-2] = "--twin"  # its old name
    assert run_command([*command, "--dial"]) == 0
    assert "--fidelity-model" in capsys.readouterr().err
    found = load_generator(out).provenance
    assert "started_from" not in found
    assert found["fidelity_model"] == {"iterations": 9, "sha256": hashlib.sha256(fidelity.read_bytes()).hexdigest()}
    pairs = list(validation_pairs(load_pictures([val], smallest=16), 2))
    assert found["detail"]["0"]["psnr_y"] == pytest.approx(
        validate(load_generator(fidelity).generator, pairs), abs=2e-3
    )
    capsys.readouterr()
    assert run_command(["models", "card", str(out)]) == 0
    card = capsys.readouterr().out
    assert f"| its fidelity model | iterations 9, sha256 {found['fidelity_model']['sha256']} |" in card
    assert "Between its fidelity model (0) and this one (1)" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("degradation", "flags", "window"),
    [("none", [], "global"), ("medium", [], "local"), ("medium", ["--window", "global"], "global")],
)
def test_what_is_measured_is_the_window_that_the_file_runs_with(degradation, flags, window, run, tmp_path, monkeypatch):
    folder, val = run
    measured = []

    def spy(generator, *rest):
        measured.append(generator.window)
        return scores(generator, *rest)

    monkeypatch.setattr("trainer.release.scores", spy)
    facts = {"training": {"degradation": degradation}}
    (folder / "model.safetensors").write_bytes(save_model(Generator(SMALL), facts))
    out = tmp_path / "out.safetensors"
    assert run_command(["train", "release", str(folder), "-o", str(out), "--val", str(val), *flags]) == 0
    assert set(measured) == {load_generator(out).generator.window} == {window}


@pytest.mark.slow
def test_weights_between_the_start_and_the_end_of_a_run_can_be_published(run, tmp_path, capsys):
    folder, val = run
    torch.manual_seed(3)
    start, out = tmp_path / "start.safetensors", tmp_path / "out.safetensors"
    start.write_bytes(save_model(Generator(SMALL), {}))
    command = ["train", "release", str(folder), "-o", str(out), "--val", str(val), "--mix", "0.75"]
    assert run_command(command) == 2
    assert "--started-from" in capsys.readouterr().err
    assert run_command([*command, "--started-from", str(start)]) == 0
    ends = [load_generator(path).generator.state_dict() for path in (start, folder / "model.safetensors")]
    for name, tensor in load_generator(out).generator.state_dict().items():
        assert torch.allclose(tensor, 0.25 * ends[0][name] + 0.75 * ends[1][name], atol=1e-3), name
    capsys.readouterr()
    assert run_command(["models", "card", str(out)]) == 0
    assert "| mixed with its start | 75% of the way" in capsys.readouterr().out


def test_a_published_file_is_never_written_over(run, tmp_path, capsys):
    folder, val = run
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    assert run_command(["train", "release", str(folder), "-o", str(out), "--val", str(val)]) == 2
    assert out.read_text() == "mine"
    assert "exists" in capsys.readouterr().err
