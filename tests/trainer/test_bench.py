"""`dagan train bench`: the loop's pace beside that of bare steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dagan_cli.commands.app import run_command


@pytest.mark.slow
def test_it_measures_both_and_leaves_nothing_behind(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    flags = ["--preset", "smoke", "--seconds", "2", "--rounds", "2", "--json"]
    assert run_command(["train", "bench", "--data", str(tmp_path), *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["patch"], found["rounds"]) == (2, 16, 2)
    assert min(found["loop"], found["bare"]) > 0.5
    assert found["share"] == pytest.approx(found["loop"] / found["bare"], rel=0.7)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
