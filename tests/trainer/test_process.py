"""A training process may be killed at any moment, and the same command goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.commands.app import run_command
from dagan_cli.errors import NoInput
from dagan_cli.files import Taken, owned
from dagan_cli.model.checkpoint import load_model
from trainer.loop import train
from trainer.presets import preset
from trainer.state import load_state

TOML = """
batch = 2
warmup = 2
iterations = 24
precision = "fp32"
save_every = 1e-6
validate_every = 1
[generator]
scale = 2
blocks = 2
channels = 16
block = "residual"
pairwise = "embedded"
temperature = 4.0
window = 16
pool = 4
solver = "rk4"
orders = [1, 2, 4]
upsampler = "direct"
image_skip = true
identity_start = true
patch = 16
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 72, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def trainer(config: Path, pictures: Path, run: Path) -> subprocess.Popen[str]:
    """It validates, and so tells, every step."""
    command = [sys.executable, "-m", "dagan_cli", "train", "--config", str(config), "--progress", "json"]
    command += ["--data", str(pictures), "--val", str(pictures), "--run", str(run)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)


def steps_of(process: subprocess.Popen[str]) -> Iterator[int]:
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        assert event["event"] == "train"
        yield event["step"]


def stop_after(process: subprocess.Popen[str], steps: int, number: int) -> int:
    """Send the signal once so many steps were told; the exit code."""
    told = steps_of(process)
    for _ in range(steps):
        next(told)
    process.send_signal(number)
    list(told)
    return process.wait(timeout=60)


@pytest.mark.slow
def test_a_run_killed_and_terminated_ends_in_the_same_weights_as_one_left_alone(pictures, tmp_path):
    config, whole, cut = tmp_path / "run.toml", tmp_path / "whole", tmp_path / "cut"
    config.write_text(TOML)
    smoke = replace(preset("smoke"), iterations=24, precision="fp32", save_every=1e-6)
    list(train(smoke, [pictures], whole))

    assert stop_after(trainer(config, pictures, cut), 6, signal.SIGKILL) == -signal.SIGKILL
    killed = load_state(cut)["step"]
    assert 5 <= killed < 24
    assert stop_after(trainer(config, pictures, cut), 4, signal.SIGTERM) == 128 + signal.SIGTERM
    terminated = load_state(cut)["step"]
    assert killed + 4 <= terminated < 24
    process = trainer(config, pictures, cut)
    told = list(steps_of(process))
    assert process.wait(timeout=60) == 0
    assert (told[0], told[-1]) == (terminated + 1, 24)

    a, b = load_state(whole), load_state(cut)
    assert a["step"] == b["step"] == 24
    assert a["config"] == b["config"] | {"validate_every": a["config"]["validate_every"]}
    for part in ("generator", "average"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    moments, again = a["optimiser"]["state"], b["optimiser"]["state"]
    assert moments.keys() == again.keys()
    assert all(torch.equal(moments[i][key], again[i][key]) for i in moments for key in moments[i])
    assert not list(cut.glob(".*.part*"))
    one, two = (load_model(run / "model.safetensors").generator.state_dict() for run in (whole, cut))
    assert all(torch.equal(one[name], two[name]) for name in one)


ENDLESS = TOML.replace("iterations = 24", 'schedule = "constant"')


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_taken(process: subprocess.Popen[str], by: subprocess.Popen[str]) -> None:
    """The process was refused with two lines that name the owner."""
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    what, hint = err.splitlines()
    assert f"process {by.pid} on {socket.gethostname()}" in what
    assert hint.startswith("  try: ")


@pytest.mark.slow
def test_a_run_has_one_trainer_also_one_that_stands_still_until_it_ends_or_is_killed(pictures, tmp_path):
    config, run = tmp_path / "run.toml", tmp_path / "run"
    config.write_text(ENDLESS)
    first = trainer(config, pictures, run)
    told = steps_of(first)
    assert [next(told) for _ in range(3)] == [1, 2, 3]  # a step is saved after it is told
    first.send_signal(signal.SIGSTOP)
    before = contents(run)
    others = [trainer(config, pictures, run) for _ in range(2)]
    for other in others:
        assert_taken(other, first)
    assert contents(run) == before
    first.kill()
    first.wait(60)
    killed = load_state(run)["step"]
    second = trainer(config, pictures, run)
    assert next(steps_of(second)) == killed + 1
    assert_taken(trainer(config, pictures, run), second)
    assert stop_after(second, 1, signal.SIGTERM) == 128 + signal.SIGTERM
    assert not list(run.glob(".*")), "no lock and nothing half-written is left"


@pytest.mark.slow
def test_of_three_trainers_that_start_together_one_trains(pictures, tmp_path):
    config, run = tmp_path / "run.toml", tmp_path / "run"
    config.write_text(ENDLESS)
    three = [trainer(config, pictures, run) for _ in range(3)]
    deadline = time.monotonic() + 90
    while len(alive := [one for one in three if one.poll() is None]) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    (owner,) = alive
    for one in three:
        if one is not owner:
            assert_taken(one, owner)
    assert stop_after(owner, 1, signal.SIGTERM) == 128 + signal.SIGTERM
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1)), "no other one has logged a step"


def test_a_folder_that_another_one_trains_in_is_refused_at_once_and_stays_as_it_is(pictures, tmp_path):
    run, held, done = tmp_path / "run", threading.Event(), threading.Event()

    def hold() -> None:
        with owned(run / "state.pt"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    before = contents(run)
    began = time.monotonic()
    with pytest.raises(Taken, match="another dagan"):
        next(train(preset("smoke"), [pictures], run))
    assert time.monotonic() - began < 5
    assert contents(run) == before
    done.set()
    thread.join()


def test_a_folder_made_for_nothing_is_removed_again(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(NoInput):
        next(train(preset("smoke"), [tmp_path / "none"], tmp_path / "new" / "run"))
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(NoInput):
        next(train(preset("smoke"), [tmp_path / "none"], tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.slow
def test_the_smoke_preset_trains_to_its_end(pictures, tmp_path, capsys):
    where = ["--data", str(pictures), "--val", str(pictures), "--run", str(tmp_path / "run")]
    assert run_command(["train", "--preset", "smoke", *where]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("step 20: PSNR-Y ")


@pytest.mark.slow
def test_of_processes_that_train_together_one_speaks(pictures, tmp_path, monkeypatch, capsys):
    where = ["--data", str(pictures), "--val", str(pictures), "--run", str(tmp_path / "run")]
    monkeypatch.setenv("RANK", "1")  # as torchrun numbers them; alone in its world, it trains as one would
    assert run_command(["train", "--preset", "smoke", "--set", "iterations=2", *where]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("preset", "data", "code"), [("smoke", "nothing", 3), ("smok", "pictures", 2)])
def test_an_error_is_two_lines_and_its_exit_code(preset, data, code, pictures, tmp_path, capsys):
    assert pictures.is_dir()
    where = ["--data", str(tmp_path / data), "--run", str(tmp_path / "run")]
    assert run_command(["train", "--preset", preset, *where]) == code
    assert [line.split(":")[0].strip() for line in capsys.readouterr().err.splitlines()] == ["error", "try"]


@pytest.mark.slow
def test_several_processes_start_as_documented_and_train_as_one(pictures, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (line,) = (each for each in page.split("`") if each.startswith("torchrun "))
    changes = {"4": "2", "psnr-x4": "smoke", "photos": str(pictures), "runs/mine": str(tmp_path / "two")}
    launcher, *words = (changes.get(word, word) for word in shlex.split(line))
    together = [str(Path(sys.executable).with_name(launcher)), *words]
    together += ["--iterations", "3", "--set", "optimiser=sgd"]  # Adam divides rounding errors by tiny gradients
    alone = [sys.executable, "-m", *together[together.index("--") + 1 :]]
    alone[alone.index(str(tmp_path / "two"))] = str(tmp_path / "one")
    for command in (together, alone):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-2000:]
    one, two = (load_state(tmp_path / name) for name in ("one", "two"))
    assert (one["step"], two["step"]) == (3, 3)
    for name, value in one["generator"].items():
        torch.testing.assert_close(two["generator"][name], value, rtol=1e-5, atol=1e-6)
