"""`dagan train` and what users give it: a wrong folder, broken pictures, another run's folder, a disk that fills up.

Each ends in two lines and its exit code, and whatever was trained before is still there, byte for byte.
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli.commands.app import run_command
from trainer.state import load_state

pytestmark = pytest.mark.slow

SMOKE = ["train", "--preset", "smoke", "--set", "iterations=4", "--set", "validate_every=2"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        save(folder / f"{i}.png", side=64, seed=i)
    return folder


@pytest.fixture
def begun(pictures: Path, tmp_path: Path) -> Path:
    """A run of two steps, which is to go on."""
    run = tmp_path / "run"
    assert train(pictures, run, "--set", "iterations=2") == 0
    return run


def save(path: Path, side: int, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def train(pictures: Path, run: Path, *more: str) -> int:
    return run_command([*SMOKE, "--data", str(pictures), "--run", str(run), *more])


def fingerprints(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def two_lines(err: str) -> tuple[str, str]:
    what, hint = err.splitlines()
    assert what.startswith("error: ")
    assert hint.startswith("  try: ")
    return what, hint


def test_an_empty_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "empty", tmp_path / "run") == 3
    what, hint = two_lines(capsys.readouterr().err)
    assert "no usable image" in what
    assert "PNG" in hint
    assert not (tmp_path / "run" / "state.pt").exists()


def test_pictures_smaller_than_the_patch(tmp_path, capsys):
    (tmp_path / "small").mkdir()
    save(tmp_path / "small" / "icon.png", side=24)
    assert train(tmp_path / "small", tmp_path / "run") == 3
    what, hint = two_lines(capsys.readouterr().err)
    assert "at least 48 pixels" in what, "a patch of 16 and its margin of 4 on both sides, twice as large"
    assert "icon.png" in what
    assert "smaller patch" in hint


def test_unreadable_files_among_good_ones_are_named_and_left_out(pictures, tmp_path, capsys, caplog):
    whole = (pictures / "0.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "text.jpg").write_text("not a picture")
    (pictures / "notes.txt").write_text("not even called one")
    assert train(pictures, tmp_path / "run") == 0
    told = caplog.text + capsys.readouterr().err
    assert "cut.png" in told
    assert "text.jpg" in told
    assert "notes.txt" not in told


@pytest.mark.parametrize(
    ("flags", "says", "tries"),
    [
        (["--preset", "psnr-x5"], "unknown preset 'psnr-x5'", "psnr-x4"),
        (["--config", "missing.toml"], "missing.toml", "--config"),
        (["--set", "genrator.blocks=2"], "unknown key genrator", "generator"),
        (["--budget", "soon"], "'soon'", "20m"),
        (["--schedule", "linear"], "invalid --schedule 'linear'", "cosine, constant, cooldown"),
        (["--gan-budget", "5m"], "need an adversarial phase", "gan-x4"),
        (["--data", "missing"], "missing", "folder"),
        (["--start", "missing.safetensors"], "missing.safetensors", ""),
        (["--branch", "missing"], "missing", ""),
        (["--lpips", "missing.pth"], "missing.pth", ""),
    ],
)
def test_a_choice_there_is_none_of(flags, says, tries, pictures, tmp_path, capsys):
    preset = [] if flags[0] in ("--preset", "--config") else ["--preset", "smoke"]
    data = [] if flags[0] == "--data" else ["--data", str(pictures)]
    assert run_command(["train", *preset, *data, "--run", str(tmp_path / "run"), *flags]) in (2, 3, 4)
    what, hint = two_lines(capsys.readouterr().err)
    assert says in what
    assert tries in hint
    assert not (tmp_path / "run" / "state.pt").exists()


def test_no_pictures_named(capsys, tmp_path):
    assert run_command(["train", "--preset", "smoke", "--run", str(tmp_path / "run")]) == 2
    assert "--data" in two_lines(capsys.readouterr().err)[1]


def test_a_folder_with_the_checkpoint_of_another_architecture(begun, pictures, capsys):
    before = fingerprints(begun)
    capsys.readouterr()
    assert train(pictures, begun, "--set", "generator.blocks=3") == 2
    what, hint = two_lines(capsys.readouterr().err)
    assert "another generator" in what
    assert "--run" in hint
    assert fingerprints(begun) == before


def test_a_damaged_checkpoint(begun, pictures, capsys):
    state = begun / "state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    before = fingerprints(begun)
    capsys.readouterr()
    assert train(pictures, begun) == 4
    two_lines(capsys.readouterr().err)
    assert fingerprints(begun) == before


@pytest.mark.parametrize("room", [20_000, 200_000])
def test_a_disk_that_is_full_while_saving(room, begun, pictures, tmp_path):
    """A process that may not write files larger than `room` bytes; then one that may."""
    good = load_state(begun)["step"]
    assert (begun / "state.pt").stat().st_size > room
    command = [sys.executable, "-m", "dagan_cli", *SMOKE, "--data", str(pictures), "--run", str(begun)]

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    before = (begun / "state.pt").read_bytes()
    full = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, preexec_fn=little_room
    )
    assert full.returncode == 6, full.stderr
    resumed, error = full.stderr.split("\n", 1)
    assert "resumed with iterations = 4 instead of 2" in resumed
    two_lines(error)
    assert (begun / "state.pt").read_bytes() == before
    assert load_state(begun)["step"] == good
    assert not list(begun.glob(".*")), "nothing half-written is left"
    twin = tmp_path / "twin"
    shutil.copytree(begun, twin)
    assert train(pictures, twin) == 0
    assert load_state(twin)["step"] == 4


@pytest.mark.parametrize("command", [["paper", "E10"], ["choose"]])
@pytest.mark.parametrize("part", ["3/2", "0/2", "half"])
def test_a_part_that_is_none_is_named(command, part, tmp_path, capsys):
    folders = ["--data", str(tmp_path), "--val", str(tmp_path), "--run", str(tmp_path / "run")]
    assert run_command(["train", *command, *folders, "--part", part]) == 2
    what, hint = two_lines(capsys.readouterr().err)
    assert part in what
    assert "1/2" in hint
