"""Equal commands at the same time, stopped and continued at random moments: every name whole, every exit code 0."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random

import av
import pytest

from tests.attack.conftest import FULL, Figure
from tests.support import nursery
from tests.support.tiny import clip, left_over, picture

REPETITIONS = 50 if FULL else 1  # of each kind


def digest(path: Path) -> str:
    """A hash of the pixels of a video, or of the bytes of another file."""
    if path.suffix != ".mkv":
        return sha256(path.read_bytes()).hexdigest()
    with av.open(str(path)) as video:
        found = sha256()
        for frame in video.decode(video=0):
            found.update(f"{frame.pts} ".encode() + frame.to_ndarray().tobytes())
    return found.hexdigest()


def pictures(folder: Path) -> list[object]:
    for number in range(4):
        picture(folder / "in" / f"{number}.png", (40, 30), seed=number)
    return [folder / "in"]


INPUTS: dict[str, Callable[[Path], list[object]]] = {
    "image": lambda folder: [picture(folder / "in.png", (60, 60))],
    "folder": pictures,
    "video": lambda folder: [clip(folder / "in.mkv", "-c:v", "ffv1", "-an", seconds=4)],
    "report": lambda folder: [picture(folder / "in.png", (16, 16)), "--report", folder / "report.json"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", INPUTS)
def test_equal_commands_at_once_all_succeed(tmp_path, tiny_model, figure: Figure, kind):
    chance, stops, started = Random(kind), 0, 0
    inputs = INPUTS[kind](tmp_path)
    options = ["-n", tiny_model, "-s", 2, "--device", "cpu", "-t", 32, *(["-c", "ffv1"] if kind == "video" else [])]
    alone = nursery.start([*inputs, *options, "-o", tmp_path / "alone"], tmp_path / "log")
    alone.join(nursery.PATIENCE)
    assert alone.exitcode == 0, (tmp_path / "log").read_text()
    expected = {path.name: digest(path) for path in (tmp_path / "alone").iterdir()}
    for repetition in range(REPETITIONS):
        out = tmp_path / f"out{repetition}"
        logs = [tmp_path / f"log{number}" for number in range(chance.choice([2, 4]))]
        processes = [nursery.start([*inputs, *options, "-o", out], log) for log in logs]
        stops += nursery.stop_at_random(processes, chance, 0.1)
        started += len(processes)
        said = [log.read_text() for log in logs]
        assert [process.exitcode for process in processes] == [0] * len(processes), said
        assert not any("Traceback" in text or "error" in text for text in said), said
        assert {path.name: digest(path) for path in out.iterdir()} == expected
        assert left_over(tmp_path) == []
        if kind == "report":
            (item,) = json.loads((tmp_path / "report.json").read_text())["items"]
            assert item["status"] in ("done", "skipped")
    figure(f"races, {kind}: repetitions, commands, stops", f"{REPETITIONS}, {started}, {stops}")
