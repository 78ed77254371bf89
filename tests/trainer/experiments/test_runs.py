"""Experiments run in short: reports recomputed from the logs, shared runs, own arms, stops, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import atan, pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.errors import BadOption, NoInput
from trainer.config_toml import read_config
from trainer.data.samples import load_pictures, sample_batch
from trainer.experiments import table
from trainer.experiments.arms import NO_PERCEPTUAL, config_of
from trainer.experiments.paper import run_paper
from trainer.experiments.runs import measure
from trainer.experiments.table import EXPERIMENTS, SIZES
from trainer.record import plot
from trainer.record.folder import read_run
from trainer.state import FORMAT, digest_of, load_state


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        small = np.random.default_rng(i).integers(0, 256, (18, 18, 3), np.uint8)
        Image.fromarray(small).resize((176, 176), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    """A size that trains in a second."""
    generator = {"blocks": 1, "layers": 1, "growth": 4, "channels": 8, "reduction": 4}
    size = replace(
        SIZES["small"],
        name="tiny",
        generator=generator,
        batch=4,
        crop=16,
        discriminator=2,
        validate_side=16,
        intervals=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table.SIZES, "tiny", size)
        yield "tiny"


def test_all_arms_of_a_seed_see_the_same_batches(pictures):
    seen: dict[int, set[bytes]] = {}
    for seed in (0, 1):
        for arm in EXPERIMENTS["E7"].arms:
            given: dict[str, Any] = {"seed": seed, "iterations": 100, "perceptual": NO_PERCEPTUAL}
            c = config_of(arm, SIZES["small"], 2, "gan", **given)
            lr, hr = sample_batch(
                load_pictures([pictures], 40),
                scale=c.generator.scale,
                patch=c.generator.patch,
                batch=c.batch,
                augment=c.augment,
                degradation=c.degradation,
                seed=c.seed,
                step=3,
            )
            seen.setdefault(seed, set()).add(lr.numpy().tobytes() + hr.numpy().tobytes())
    assert [len(batches) for batches in seen.values()] == [1, 1]
    assert seen[0] != seen[1]


WIDE = "wide=generator.channels=12,gan.lr=1e-4"
C1 = ("nl+se-rk2", "se+nl-rk2", "wide")


class Paper:
    """`dagan train paper` on the tiny size, 2 seeds of 4 steps each, into one folder."""

    def __init__(self, folder: Path, pictures: Path) -> None:
        self.folder, self.pictures = folder, pictures
        self.figures: list[Any] = []  # of matplotlib

    def __call__(self, *names: str, **how: Any) -> list[str]:
        given: dict[str, Any] = {"size": "tiny", "seeds": 2, "iterations": 4} | how
        return list(run_paper(list(names), [self.pictures], self.pictures, self.folder, **given))

    def run(self, arm: str, seed: int) -> Path:
        return self.folder / f"{arm}-x2-4-seed{seed}"

    def log(self, arm: str, seed: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run(arm, seed) / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(pictures, tiny, tmp_path_factory: pytest.TempPathFactory) -> Paper:
    """C1 with an own arm, trained in two parts. The seconds in its logs are drawn, as steps are too short to time."""
    paper = Paper(tmp_path_factory.mktemp("trained"), pictures)
    assert "other parts are not finished yet" in paper("C1", own=[WIDE], part=(1, 2))[-1]
    assert not (paper.folder / "C1").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.experiments.report.draw", lambda *_: None)
        assert sum(line.endswith("done") for line in paper("C1", own=[WIDE])) == 3  # the other half
    drawn = np.random.default_rng(0)
    for arm in C1:
        for seed in (0, 1):
            lines = [line | {"seconds": line["step"] * drawn.uniform(1, 9)} for line in paper.log(arm, seed)]
            (paper.run(arm, seed) / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    @contextmanager
    def drawing() -> Iterator[Any]:
        with plot.drawing() as Figure:
            yield lambda **how: paper.figures.append(Figure(**how)) or paper.figures[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.experiments.figure.drawing", drawing)
        assert [line for line in paper("C1", own=[WIDE]) if line.startswith("[")] == []  # only the report is written
    return paper


@pytest.fixture
def paper(trained, tmp_path, monkeypatch) -> Paper:
    """A copy of those runs, to go on with; without figures, which take long."""
    monkeypatch.setattr("trainer.experiments.report.draw", lambda *_: None)
    return Paper(shutil.copytree(trained.folder, tmp_path / "paper"), trained.pictures)


@pytest.mark.slow
def test_an_experiment_from_the_command_to_its_report(trained):
    report = trained.folder / "C1"
    written = ["README.md", "figure.png", "figure.svg", "runs", "table.md"]
    assert sorted(path.name for path in report.iterdir()) == written
    runs = sorted(path for path in trained.folder.iterdir() if "seed" in path.name)
    assert runs == [trained.run(arm, seed) for arm in C1 for seed in (0, 1)]
    held_out = load_pictures([trained.pictures], 16).fingerprint
    noted = json.loads((trained.folder / "lengths.json").read_text())
    assert noted == {"held-out images": held_out, "C1-tiny-x2": 4}
    logged = [row for row in read_run(runs[0]).rows if "loss" in row.values]
    assert [row.step for row in logged] == [2, 4]  # a line an interval
    assert {"psnr_y", "psnr_rgb", "pixel", "adversarial", "d_real", "d_fake"} <= logged[-1].values.keys()

    readme = (report / "README.md").read_text()
    assert "**4 steps**, 0.02% of the paper's 26,100, with 2 seeds" in readme
    assert "reduced length" in readme
    assert "Fewer than three seeds" in readme
    assert f"--seeds 2 --arm {WIDE}\n" in readme
    assert str(trained.folder) not in readme
    assert str(trained.pictures) not in readme
    assert all(np.isfinite([load_state(trained.run(arm, 0))["best"] for arm in C1]))
    with Image.open(report / "figure.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50


COLUMNS = {  # of the table, by title: key in the log, factor, decimals
    "PSNR-Y, dB": ("psnr_y", 1, 3),
    "PSNR-RGB pooled, dB": ("psnr_rgb", 1, 3),
    "G loss, 1e-3": ("loss", 1000, 3),
    "image, 1e-3": ("pixel", 1000, 3),
    "adversarial, 1e-3": ("adversarial", 1000, 3),
    "D(real)": ("d_real", 1, 3),
    "D(fake)": ("d_fake", 1, 3),
    "entropy": ("attention_entropy", 1, 3),
}


def cells(text: str, first: str) -> dict[str, dict[str, str]]:
    """Rows of the Markdown table whose first column has that title, by their first cell. Repeated titles get a +."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    start = next(i for i, line in enumerate(lines) if line[0] == first)
    titles: list[str] = []
    for title in lines[start]:
        titles.append(f"{titles[-1]} {title}" if title == "per seed" else title)
    rows: dict[str, dict[str, str]] = {}
    for line in lines[start + 2 :]:
        if len(line) != len(titles):
            break
        rows[line[0]] = dict(zip(titles, line, strict=True))
    return rows


def about(text: str, expected: list[float], decimals: int) -> bool:
    """True if the numbers in a cell are the expected ones, rounded."""
    found = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", text)]
    return found == pytest.approx(expected, abs=0.51 * 10**-decimals)


def of_two(a: float, b: float) -> list[float]:
    """Mean and sample deviation of two values: half their sum, and their distance over the root of 2."""
    return [(a + b) / 2, abs(a - b) / 2**0.5]


@pytest.mark.slow
def test_the_tables_are_the_arithmetic_of_the_logs(trained):
    text = (trained.folder / "C1" / "table.md").read_text()
    last = {arm: [trained.log(arm, seed)[-1] for seed in (0, 1)] for arm in C1}
    rows = cells(text, "arm")
    assert list(rows) == list(C1)
    pace = {arm: [line["seconds"] / 4 for line in last[arm]] for arm in C1}
    for arm, row in rows.items():
        assert about(row["s/step"], of_two(*pace[arm]), 3)
        ratios = [a / b for a, b in zip(pace[arm], pace["nl+se-rk2"], strict=True)]
        assert about(row["relative time"], [sum(ratios) / 2], 2)
        others = {"arm", "parameters", "M multiply-adds", "s/step", "relative time", "solver constants"}
        assert set(row) == others | set(COLUMNS)
        for title, (key, factor, decimals) in COLUMNS.items():
            assert about(row[title], of_two(*(factor * line[key] for line in last[arm])), decimals), title
        assert about(row["solver constants"], [sum(line["constants"]["heun"][0] for line in last[arm]) / 2], 3)
    pairs = cells(text, "comparison")
    assert list(pairs) == [f"{arm} − nl+se-rk2" for arm in C1[1:]]  # the own arm is compared with the first
    chances = {}  # of Student's t with one degree of freedom, whose distribution is Cauchy's
    for name, row in pairs.items():
        arm = name.split()[0]
        middle, deviation = of_two(*(last[arm][i]["psnr_y"] - last["nl+se-rk2"][i]["psnr_y"] for i in (0, 1)))
        chances[name] = 1 - 2 / pi * atan(abs(middle) / deviation * 2**0.5)
        assert about(row["95 %"], [12.7062 * deviation / 2**0.5], 3)
        for title in ("PSNR-Y, dB", "G loss, 1e-3", "image, 1e-3"):
            key, factor, decimals = COLUMNS[title]
            a, b = (factor * (last[arm][seed][key] - last["nl+se-rk2"][seed][key]) for seed in (0, 1))
            assert about(row[f"Δ {title}"], of_two(a, b), decimals)
            assert about(row[f"Δ {title} per seed"], [a, b], decimals)
        assert row["relative time"] == rows[arm]["relative time"]
    small, large = sorted(pairs, key=chances.__getitem__)
    corrected = min(1, 2 * chances[small])
    assert float(pairs[small]["p"]) == pytest.approx(corrected, rel=0.051)
    assert float(pairs[large]["p"]) == pytest.approx(max(corrected, chances[large]), rel=0.051)


@pytest.mark.slow
def test_the_curves_are_the_means_of_the_logs_over_steps_and_epochs(trained):
    (figure,) = trained.figures
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    for title, key in (("G loss", "loss"), ("D(real)", "d_real"), ("PSNR-Y of held-out images, dB", "psnr_y")):
        for arm, line in zip(C1, panels[title].lines, strict=True):
            logs = [{each["step"]: each.get(key) for each in trained.log(arm, seed)} for seed in (0, 1)]
            points = {x: y for x, y in line.get_xydata() if x > 0}  # the score at step 0 is in the events
            assert points == pytest.approx({step: (logs[0][step] + logs[1][step]) / 2 for step in (2, 4)})
    (above,) = panels["G loss"].child_axes  # an epoch: 2 images in batches of 4
    assert above.get_xlim() == pytest.approx([x / (2 / 4) for x in panels["G loss"].get_xlim()])


@pytest.mark.slow
def test_configurations_and_logs_are_written_next_to_the_table(trained, paper, monkeypatch):
    monkeypatch.setattr("trainer.experiments.logs.LARGEST", 0)
    paper("C1", own=[WIDE])
    for folder, steps in ((trained.folder, [0, 2, 4]), (paper.folder, [4])):  # too large: the last interval stays
        runs = folder / "C1" / "runs"
        for arm in C1:
            assert read_config(runs / f"{arm}.toml") == read_config(trained.run(arm, 0) / "config.toml")
            lines = [json.loads(line) for line in (runs / f"{arm}.jsonl").read_text().splitlines()]
            assert [(line.pop("seed"), line["step"]) for line in lines] == [(s, step) for s in (0, 1) for step in steps]
            for seed, line in enumerate(lines[len(steps) - 1 :: len(steps)]):
                logged = trained.log(arm, seed)[-1]
                assert line.pop("constants")["heun"] == pytest.approx(logged["constants"]["heun"], abs=1e-7)
                assert {"seconds", "step", "attention_entropy", *(key for key, *_ in COLUMNS.values())} <= line.keys()
                assert line == pytest.approx({key: logged[key] for key in line}, rel=1e-6)


@pytest.mark.slow
def test_a_stop_ends_it_the_same_command_goes_on_and_shared_arms_are_trained_once(paper):
    state = (paper.run("nl+se-rk2", 0) / "state.pt").read_bytes()
    asked = iter(range(10**6))
    paper("E12", seeds=1, should_stop=lambda: next(asked) >= 3)
    assert load_state(paper.run("se-rk2", 0))["step"] == 3
    assert not paper.run("nl-rk2", 0).exists()
    lines = paper("E12", seeds=1)
    assert lines[-1].startswith("written")
    assert {line.split()[1] for line in lines if line.startswith("[")} == {"se-rk2", "nl-rk2"}
    assert (paper.run("nl+se-rk2", 0) / "state.pt").read_bytes() == state
    again = paper("E12", seeds=1, iterations=None)  # the folder knows the length
    assert [line for line in again if line.startswith("[")] == []
    with pytest.raises(BadOption, match="have 4 steps, not 6"):
        paper("E12", seeds=1, iterations=6)


@pytest.mark.slow
def test_a_run_of_other_choices_is_not_taken_for_the_one_wanted(paper):
    with pytest.raises(BadOption, match=r"generator.channels = 12, not 16"):
        paper("C1", own=["wide=generator.channels=16,gan.lr=1e-4"])
    with pytest.raises(BadOption, match=r"gan.lr = 0.0001, not 0.001"):
        paper("C1", own=["wide=generator.channels=12"])
    state = load_state(paper.run("nl+se-rk2", 0))
    state["config"]["batch"] = 8
    state |= {"format": FORMAT}
    torch.save(state | {"digest": digest_of(state)}, paper.run("nl+se-rk2", 0) / "state.pt")
    with pytest.raises(BadOption, match="batch = 8, not 4"):
        paper("C1")


@pytest.mark.slow
def test_the_pictures_are_put_side_by_side_after_the_steps_of_the_budget(pictures, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.experiments.report.draw", lambda *_: None)
    paper, measured = Paper(tmp_path, pictures), []

    def measure_(*how: Any) -> tuple[float, float]:
        measured.append(measure(*how))
        return 1.0, 0.5

    monkeypatch.setattr("trainer.experiments.paper.measure", measure_)
    # 2 arms x (1 s x 5 steps and 0.5 s x 3 validations), rounded down to whole intervals of 2 steps
    lines = paper("V", seeds=1, iterations=None, budget=13.0)
    assert lines[2].startswith("4 steps each")
    assert all(step > 0 and check > 0 for step, check in measured)
    assert lines[-1].startswith("written")
    with Image.open(tmp_path / "V" / "grid.png") as grid:
        assert grid.size == (5 * 164 - 4, 16 + 2 * 164 - 4)  # LR, bicubic, two arms, HR; two pictures


def test_runs_of_a_folder_have_the_same_held_out_images(trained, tmp_path):
    shutil.copytree(trained.pictures, tmp_path / "others")
    (tmp_path / "others" / "0.png").unlink()
    given: dict[str, Any] = {"size": "tiny", "seeds": 2, "iterations": 4}
    with pytest.raises(BadOption, match="other held-out images"):
        list(run_paper(["C1"], [trained.pictures], tmp_path / "others", trained.folder, own=[WIDE], **given))


def test_nothing_is_noted_of_a_run_that_cannot_begin(pictures, tiny, tmp_path):
    given: dict[str, Any] = {"size": tiny, "seeds": 1}
    with pytest.raises(NoInput, match="no folder"):
        list(run_paper(["C1"], [pictures], tmp_path / "nosuch", tmp_path / "runs", **given))
    with pytest.raises(BadOption, match="2 equal intervals") as caught:
        list(run_paper(["C1"], [pictures], pictures, tmp_path / "runs", iterations=5, **given))
    assert caught.value.hint == "use --iterations 4"
    assert not (tmp_path / "runs").exists()


def test_experiments_are_not_shared_by_torchrun(pictures, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadOption, match="torchrun") as caught:
        list(run_paper(["C1"], [pictures], pictures, tmp_path / "runs", size=tiny))
    assert "--part" in caught.value.hint
