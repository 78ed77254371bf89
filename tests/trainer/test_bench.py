"""`dagan train bench`: the loop's pace beside that of bare steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dagan_cli.commands.app import run_command
from trainer import bench
from trainer.presets import preset


@pytest.mark.slow
def test_it_measures_both_and_leaves_nothing_behind(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    flags = ["--preset", "smoke", "--seconds", "2", "--rounds", "1", "--json"]
    assert run_command(["train", "bench", "--data", str(tmp_path), *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["patch"], found["rounds"]) == (2, 16, 1)
    assert min(found["loop"], found["bare"]) > 0.5
    assert found["share"] == pytest.approx(found["loop"] / found["bare"])
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_the_share_is_the_median_of_the_rounds(tmp_path, monkeypatch):
    """The median of the shares, not the share of the medians: a busy moment spoils one round, not the result."""
    loops, bares = iter([8.0, 1.0, 9.0]), iter([10.0, 4.0, 10.0])
    monkeypatch.setattr(bench, "_loop", lambda *_: next(loops))
    monkeypatch.setattr(bench._Bare, "rate", lambda *_: next(bares))
    Image.new("RGB", (72, 64)).save(tmp_path / "picture.png")
    found = bench.bench(preset("smoke"), [tmp_path], seconds=3)
    assert (found.loop, found.bare, found.share, found.rounds) == (8.0, 10.0, 0.8, 3)
