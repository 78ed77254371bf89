"""What a run reads is none of what it writes, under whatever name: it is refused before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli.commands.app import run_command
from dagan_cli.errors import BadOption
from tests.support.training import run as train
from tests.trainer.test_loop import CONFIG
from trainer.places import files_of, holds, require_apart

SMOKE = ["train", "--preset", "smoke", "--set", "iterations=2"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of images, with another one in it."""
    folder = tmp_path / "pictures"
    for i, name in enumerate(("a", "b", "inner/c")):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Run a command that is refused with two lines and exit code 2, and changes nothing; returns the two lines."""

    def ask(*arguments: object) -> str:
        before = contents(tmp_path)
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        err = capsys.readouterr().err
        assert code == 2, err
        assert [line.split(":")[0].strip() for line in err.splitlines()] == ["error", "try"]
        assert contents(tmp_path) == before
        return err

    return ask


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def spellings(folder: Path, tmp_path: Path) -> list[Path]:
    """The same folder in other words."""
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "twice").symlink_to(tmp_path / "link")
    by_parent = folder.parent / "links" / ".." / folder.name
    return [
        folder,
        Path(f"{folder}/."),
        Path(os.path.relpath(folder)),
        by_parent,
        tmp_path / "link",
        tmp_path / "links/twice",
    ]


def test_a_folder_holds_itself_and_what_is_in_it_by_any_name(pictures, tmp_path):
    for name in spellings(pictures, tmp_path):
        assert holds(pictures, name)
        assert holds(name, pictures)
        assert holds(name, pictures / "new" / "newer")
        assert holds(name, name / "inner" / "c.png")
        assert not holds(name, tmp_path / "pictures-of-another")
        assert not holds(name, tmp_path)
    (pictures / "out").symlink_to(tmp_path / "elsewhere")
    assert not holds(pictures, pictures / "out" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--data", "--val", "--targets", "--pairs"])
def test_a_run_among_its_images_is_refused(option, pictures, tmp_path, told):
    other = tmp_path / "other"
    other.mkdir()
    data = [] if option in ("--data", "--pairs") else ["--data", other]
    for name in spellings(pictures, tmp_path):
        for run in (name, name / "run", name / "inner" / "run"):
            assert f"{option} {name}" in told(*SMOKE, *data, option, name, "--run", run)
        err = told(*SMOKE, *data, option, name / "inner", "--run", name)
        assert f"{option} {name / 'inner'} is in --run {name}" in err


def test_one_image_in_the_run_folder_is_refused_too(pictures, told):
    assert "is in --run" in told(*SMOKE, "--data", pictures / "a.png", "--run", pictures)


@pytest.mark.slow
def test_the_experiments_keep_their_runs_apart_too(pictures, tmp_path, told):
    other = tmp_path / "other"
    other.mkdir()
    for command in (["paper", "E10", "--size", "small"], ["choose"]):
        for data, val in ((pictures, other), (other, pictures)):
            ask = ["train", *command, "--data", data, "--val", val]
            assert "in --" in told(*ask, "--run", pictures / "runs") + told(*ask, "--run", tmp_path)
    for given in ("body.safetensors", "original/model.safetensors"):
        own = tmp_path / "runs" / given
        own.parent.mkdir(parents=True, exist_ok=True)
        own.touch()
        ask = ["train", "choose", "--data", pictures, "--val", other, "--run", tmp_path / "runs"]
        assert "which the run itself writes" in told(*ask, "--start", own)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--start", "--lpips", "--vgg-weights"])
def test_a_file_that_the_run_writes_is_not_read_by_it(option, pictures, tmp_path, told):
    run = tmp_path / "run"
    train(replace(CONFIG, iterations=1), pictures, run, val=pictures)
    written = [path for path in run.rglob("*") if path.is_file()]
    assert set(written) <= set(files_of(run))
    assert {"checkpoints", "samples"} <= {path.parent.name for path in written}
    link, second = tmp_path / "link.safetensors", tmp_path / "second.safetensors"
    for path in written:
        link.symlink_to(path)
        os.link(path, second)
        for name in (path, link, second):
            err = told(*SMOKE, "--data", pictures, "--run", run, option, name)
            assert f"{option} {name} is " in err
            assert "which the run itself writes" in err
        link.unlink()
        second.unlink()
    told(*SMOKE, "--data", pictures, "--run", tmp_path / "new", option, tmp_path / "new" / "model.safetensors")


@pytest.mark.slow
def test_a_run_is_resumed_with_its_own_config_and_with_no_other_file_of_it(pictures, tmp_path, told):
    run = tmp_path / "run"
    where = ["--data", str(pictures), "--run", str(run)]
    assert run_command([*SMOKE, *where]) == 0
    before = (run / "config.toml").read_text()
    (tmp_path / "link.toml").symlink_to(run / "config.toml")
    for config in (run / "config.toml", tmp_path / "link.toml"):
        assert run_command(["train", "--config", str(config), *where]) == 0
        assert (run / "config.toml").read_text() == before
    (run / "pixel.safetensors").write_text("iterations = 3")  # which is TOML
    assert "--config" in told("train", "--config", run / "pixel.safetensors", *where)


@pytest.mark.slow
def test_a_run_is_no_branch_of_itself(pictures, tmp_path, told):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "link").symlink_to(run)
    for branch in (run, tmp_path / "link", tmp_path / "pictures" / ".." / "run"):
        assert "are the same folder" in told(*SMOKE, "--data", pictures, "--run", run, "--branch", branch)


@pytest.mark.slow
def test_images_are_not_degraded_onto_themselves(pictures, tmp_path, told):
    degrade = ["train", "degrade", "--kind", "web", "-s", "2"]
    for name in spellings(pictures, tmp_path):
        for target in (name, name / "small"):
            assert "-o" in told(*degrade, pictures, "-o", target)
            assert "-o" in told(*degrade, name, "-o", pictures)
    out = tmp_path / "out"
    out.mkdir()
    for make in (os.link, os.symlink):
        make(pictures / "inner" / "c.png", out / "a.png")
        assert "a.png is the image" in told(*degrade, pictures, "-o", out)
        (out / "a.png").unlink()
    assert "a.png is the image" in told(*degrade, pictures / "a.png", "-o", pictures)
    Image.new("RGB", (4, 4)).save(pictures / "tiny.png")  # too small to degrade, but nothing to replace either
    os.link(pictures / "tiny.png", out / "b.png")
    assert "b.png is the image" in told(*degrade, pictures, "-o", out)


@pytest.mark.slow
def test_images_are_degraded_elsewhere(pictures, tmp_path):
    for source, target in ((pictures, tmp_path / "small"), (pictures / "inner", pictures)):
        assert run_command(["train", "degrade", str(source), "-o", str(target), "--kind", "web", "-s", "2"]) == 0
    small = tmp_path / "small"
    found = sorted(path.relative_to(small).as_posix() for path in small.rglob("*.png"))
    assert found == ["a.png", "b.png", "inner/c.png"]
    assert (pictures / "c.png").exists()


@pytest.mark.slow
def test_curves_are_not_drawn_onto_a_sample(pictures, tmp_path, told):
    run = tmp_path / "run"
    train(replace(CONFIG, iterations=1), pictures, run, val=pictures)
    (sample,) = (run / "samples").iterdir()
    (tmp_path / "link.png").symlink_to(sample)
    for target in (sample, tmp_path / "link.png"):
        assert "which the run itself writes" in told("train", "plot", run, "-o", target)
    for target in (run / "curves.png", tmp_path / "curves.svg"):
        assert run_command(["train", "plot", str(run), "-o", str(target)]) == 0


def test_what_is_apart_is_let_through(pictures, tmp_path):
    for run in (tmp_path / "run", tmp_path / "pictures-run", tmp_path / "new" / "run"):
        require_apart(run, {"--data": [pictures], "--val": [None]})
    with pytest.raises(BadOption, match="are the same folder"):
        require_apart(pictures, {"--data": [tmp_path / "other", pictures]})


# --- what is in the run folder already


@pytest.mark.parametrize(
    "name",
    ["config.toml", "report.html", "log.jsonl", "events.jsonl", "best.safetensors", "checkpoints/00000001.safetensors"],
)
def test_files_that_no_run_made_are_not_replaced(name, pictures, tmp_path, told):
    there = tmp_path / "project" / name
    there.parent.mkdir(parents=True)
    there.write_text("precious")
    assert "no run made it" in told(*SMOKE, "--data", pictures, "--run", tmp_path / "project")


@pytest.mark.parametrize("name", ["checkpoints", "samples", "tensorboard"])
def test_a_run_leads_nowhere_through_links(name, pictures, tmp_path, told):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "00000001.safetensors").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "models")
    assert "is a link" in told(*SMOKE, "--data", pictures, "--val", pictures / "inner", "--run", tmp_path / "run")


def test_a_log_that_is_another_file_too_is_not_written_to(pictures, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "empty").touch()
    os.link(tmp_path / "empty", tmp_path / "run" / "log.jsonl")
    assert run_command([*SMOKE, "--data", str(pictures), "--run", str(tmp_path / "run")]) == 6
    assert not (tmp_path / "empty").read_bytes()


@pytest.mark.parametrize("last", ["log.jsonl", "config.toml", "events.jsonl", "model.safetensors"])
def test_a_run_that_was_killed_before_its_first_state_starts_again(last, pictures, tmp_path):
    list(train(CONFIG, pictures, tmp_path / "run", 1))
    made = ["log.jsonl", "config.toml", "events.jsonl", "model.safetensors"]  # in this order
    for path in (tmp_path / "run").iterdir():
        if path.name not in made[: made.index(last) + 1] and path.is_file():
            path.unlink()
    (tmp_path / "run" / "log.jsonl").write_bytes(b"")
    list(train(CONFIG, pictures, tmp_path / "run", 1))
    assert (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize(("name", "command"), [("README.md", ["choose"]), ("E10/README.md", ["paper", "E10"])])
def test_experiments_do_not_replace_the_files_of_a_project(name, command, pictures, tmp_path, told):
    there = tmp_path / "project" / name
    there.parent.mkdir(parents=True)
    there.write_text("precious")
    (tmp_path / "val").mkdir()
    error = told("train", *command, "--data", pictures, "--val", tmp_path / "val", "--run", tmp_path / "project")
    assert "no run made it" in error
