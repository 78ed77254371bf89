"""A training run killed at random moments, in both phases, ends with the same weights as one that was left alone."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from dagan_cli.model.checkpoint import load_model
from tests.attack.conftest import FULL, Figure
from tests.support import nursery
from tests.support.tiny import left_over, picture
from tests.support.training import equal
from trainer.state import load_state

KILLS = 14 if FULL else 2  # half of them in each phase
STEPS = 60  # of each phase; a state is saved after every step
SETTINGS = {
    "iterations": STEPS,
    "gan.iterations": STEPS,
    "batch": 2,
    "save_every": 1e-6,
    "precision": "fp32",
    "generator.patch": 16,
    "gan.perceptual": "none",
    "gan.width": 4,
}


def command(data: Path, run: Path) -> list[object]:
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return ["train", "--preset", "tiny", "--data", data, "--run", run, "--progress", "none", *settings]


def step_of(run: Path) -> int:
    """The last step in the log; a line may just be growing."""
    log = run / "log.jsonl"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


@pytest.mark.slow
def test_a_training_run_killed_again_and_again_ends_with_the_weights_of_one_left_alone(tmp_path, figure: Figure):
    chance = Random(1)
    data, alone, killed, log = (tmp_path / name for name in ("data", "alone", "killed", "log"))
    data.mkdir()
    for number in range(2):
        picture(data / f"{number}.png", (96, 96))
    process = nursery.start(command(data, alone), log)
    process.join(nursery.PATIENCE)
    assert process.exitcode == 0, log.read_text()

    kills, phases = 0, []
    for number in range(KILLS):
        goal = round(1.8 * STEPS * (number + 0.5) / KILLS)
        process = nursery.start(command(data, killed), log)
        kills += nursery.kill_at(process, lambda least=goal: step_of(killed) >= least, chance.uniform(0, 0.1))
        phases.append(load_state(killed)["phase"])  # whole after every kill
    process = nursery.start(command(data, killed), log)
    process.join(nursery.PATIENCE)
    assert process.exitcode == 0, log.read_text()

    one, other = load_state(alone), load_state(killed)
    assert kills >= KILLS - 1
    assert set(phases) == {"pixel", "adversarial"}
    for part in ("generator", "average", "discriminator"):
        assert equal(one[part], other[part])
    made = [load_model(run / "model.safetensors").generator.state_dict() for run in (alone, killed)]
    assert equal(*made)
    assert left_over(tmp_path) == []
    figure(
        "kills of a training run: while at work, in the adversarial phase", f"{kills}, {phases.count('adversarial')}"
    )
