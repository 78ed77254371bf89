"""`dagan train choose`: every candidate gets the same time, and the report says what each made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.errors import BadOption
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.generator import Generator
from trainer.experiments import choice
from trainer.experiments.choice import GROUPS, Candidate, run_choice
from trainer.presets import preset

pytestmark = pytest.mark.slow

SMALL = {"blocks": 1, "channels": 8, "reduction": 4, "patch": 16}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    for i in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
        coarse.resize((400, 400), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def two_candidates(monkeypatch) -> None:
    larger = SMALL | {"blocks": 6, "solver": "euler", "orders": ()}
    few = (Candidate("light", "the small one", SMALL), Candidate("larger", "more blocks", larger, dial=False))
    monkeypatch.setitem(choice.GROUPS, "networks", replace(GROUPS["networks"], candidates=few))


@pytest.mark.parametrize("group", GROUPS)
def test_each_candidate_changes_the_first_one_and_can_be_built_and_trained(group):
    base, candidates = preset(f"{GROUPS[group].preset}-x4"), GROUPS[group].candidates
    built = {
        c.name: (replace(base, generator=replace(base.generator, **c.changes), **c.training), c.taught)
        for c in candidates
        if c.dial
    }
    assert built[candidates[0].name] == (base, False)
    assert len(set(map(repr, built.values()))) == len(built)
    for candidate in candidates:
        config = replace(base.generator, **candidate.changes)
        assert bool(config.orders) == candidate.dial
        assert Generator(config).scale == 4


def test_recipes_are_compared_with_a_teacher_beside_the_originals(pictures, monkeypatch, tmp_path):
    small = SMALL | {"attended": None}
    few = (
        Candidate("original", "L1 to the original", small),
        Candidate("teacher", "L1 to the teacher", small, training={"target_weight": ((0.0, 1.0),)}, taught=True),
    )
    monkeypatch.setitem(choice.GROUPS, "recipes", replace(GROUPS["recipes"], candidates=few))
    run = {"scale": 4, "budget": 0.4, "group": "recipes"}
    with pytest.raises(BadOption, match="need a teacher"):
        list(run_choice([pictures], pictures, tmp_path / "run", **run))
    targets = tmp_path / "targets"
    targets.mkdir()
    for file in pictures.iterdir():  # a teacher that answers black
        Image.new("RGB", Image.open(file).size).save(targets / file.name)
    (targets / "teacher.toml").write_text('name = "black"\nsource = "here"\nlicence = "CC0"\nsha256 = "00"\n')
    list(run_choice([pictures], pictures, tmp_path / "run", targets=targets, **run))
    report = (tmp_path / "run" / "README.md").read_text()
    rows = {line.split(", ")[0].strip("| "): line.split(" | ") for line in report.splitlines() if ", order 1" in line}
    assert float(rows["teacher"][4]) < float(rows["original"][4])  # PSNR
    assert "spatial attention, dB" in report
    assert "--targets TARGETS" in report
    again = tmp_path / "again"
    start = tmp_path / "run" / "original" / "model.safetensors"
    list(run_choice([pictures], pictures, again, targets=targets, start=start, **run))
    assert "--targets TARGETS --start MODEL" in (again / "README.md").read_text()
    both = [load_generator(again / name / "model.safetensors").provenance for name in ("original", "teacher")]
    assert ["teacher" in facts for facts in both] == [False, True]
    body = load_generator(again / "body.safetensors").generator
    begun = load_generator(start).generator
    assert body.config.attention == "none"
    assert torch.equal(body.fusion1.weight, begun.fusion1.weight)
    other = tmp_path / "other.safetensors"
    other.write_bytes(save_model(Generator(replace(begun.config, channels=16)), {}))
    with pytest.raises(BadOption, match="cannot start from"):
        list(run_choice([pictures], pictures, tmp_path / "no", targets=targets, start=other, **run))
    taught = load_generator(tmp_path / "run" / "teacher" / "model.safetensors").provenance
    assert taught["teacher"] == {"name": "black", "source": "here", "licence": "CC0", "sha256": "00"}
    assert "teacher" not in load_generator(tmp_path / "run" / "original" / "model.safetensors").provenance


def test_the_same_time_buys_the_smaller_network_more_steps(pictures, two_candidates, tmp_path):
    def run(part: tuple[int, int] = (1, 1)) -> list[str]:
        return list(run_choice([pictures], pictures, tmp_path, scale=4, budget=0.4, part=part))

    with pytest.raises(BadOption, match="does not exist yet"):
        run(part=(2, 2))
    assert "other parts are not finished" in run(part=(1, 2))[-1]
    assert run(part=(2, 2))[-1].startswith("written")
    steps = json.loads((tmp_path / "lengths.json").read_text())
    assert steps["light"] > steps["larger"] > 0
    for name in steps:
        assert load_generator(tmp_path / name / "model.safetensors").provenance["iterations"] == steps[name]

    rows = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| l")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| light, order 1",
        "| light, order 2",
        "| light, order 4",
        "| larger",
    ]
    assert f"| {steps['larger']:,} |" in rows[-1]
    assert min(float(row.split(" | ")[-1].strip(" |")) for row in rows) == 1.0
    assert Image.open(tmp_path / "figure.png").size[0] > 500
    assert str(tmp_path) not in (tmp_path / "README.md").read_text()
