"""What a run writes down is read back whole after kills and resumes, and writing it never stops a run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from math import isfinite
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from dagan_cli.errors import CannotWrite, NoInput
from dagan_cli.model.config import GeneratorConfig
from tests.support.irregular import KINDS, at_once, irregular
from trainer.config import GanConfig, TrainConfig
from trainer.config_toml import read_config
from trainer.loop import train
from trainer.record.folder import read_run
from trainer.record.journal import Journal

SMALL = GeneratorConfig(
    scale=2, blocks=1, channels=8, block="residual", reduction=4, image_skip=True, upsampler="direct", patch=8
)
GAN = GanConfig(width=4, iterations=3, warmup=1, perceptual="none")
CONFIG = TrainConfig(
    generator=SMALL, batch=2, iterations=4, warmup=0, ema=0.9, precision="fp32", validate_every=3, gan=GAN
)


def folder(tmp_path: Path, *lines: object, events: tuple[object, ...] = ()) -> Path:
    """A run's folder of these lines; a string is written as it is."""
    for name, given in (("log.jsonl", lines), ("events.jsonl", events)):
        texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in given]
        (tmp_path / name).write_text("".join(texts))
    return tmp_path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Image.fromarray(noise).save(made / "noise.png")
    return made


@pytest.mark.parametrize("kind", [*KINDS, "link"])
def test_lines_are_added_to_a_file_alone_and_read_from_one(kind, tmp_path):
    (tmp_path / "other").write_text("mine")
    path = tmp_path / "log.jsonl"
    if kind in KINDS:
        irregular(path, kind)
        with pytest.raises(NoInput):
            at_once(read_run, tmp_path)
    else:
        path.symlink_to(tmp_path / "other")
    with pytest.raises(CannotWrite):
        at_once(Journal, tmp_path)
    assert (tmp_path / "other").read_text() == "mine"


def test_a_line_torn_by_a_kill_is_left_out(tmp_path):
    run = read_run(folder(tmp_path, {"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}, '{"step": 3, "lo'))
    assert [(row.step, row.values["loss"]) for row in run.rows] == [(1, 0.5), (2, 0.4)]


def test_a_line_written_onto_a_torn_one_costs_that_line_alone(tmp_path):
    run = read_run(folder(tmp_path, {"step": 1}, '{"step": 2, "lo', {"step": 2}, {"step": 3}))
    assert [row.step for row in run.rows] == [1, 3]


def test_after_a_resume_from_an_older_checkpoint_the_later_lines_count(tmp_path):
    before = [{"step": step, "loss": 1.0} for step in (10, 20, 30, 40)]
    after = [{"step": step, "loss": 2.0} for step in (20, 35)]
    run = read_run(folder(tmp_path, *before, *after))
    assert [(row.step, row.values["loss"]) for row in run.rows] == [(10, 1.0), (20, 2.0), (35, 2.0)]
    assert [(event["event"], event["step"]) for event in run.events] == [("resumed", 20)]


def test_two_lines_of_one_step_are_joined(tmp_path):
    run = read_run(folder(tmp_path, {"step": 5, "loss": 1.0, "lr": 0.1}, {"step": 5, "loss": 2.0, "psnr_y": 30.0}))
    assert [row.values for row in run.rows] == [{"loss": 2.0, "lr": 0.1, "psnr_y": 30.0}]


def test_the_last_scores_of_a_phase_come_from_its_events(tmp_path):
    rows = [{"step": 3, "phase": "pixel", "loss": 1.0}, {"step": 9, "phase": "adversarial", "loss": 2.0}]
    ends = ({"event": "the pixel phase ended", "step": 4, "phase": "pixel", "psnr_y": 30.0},)
    run = read_run(folder(tmp_path, *rows, events=ends))
    assert [(name, [row.step for row in of]) for name, of in run.phases] == [("pixel", [3, 4]), ("adversarial", [9])]
    assert run.rows[1].values == {"psnr_y": 30.0}


def test_what_is_no_finite_number_or_no_line_of_a_log_is_left_out(tmp_path):
    hostile = [
        "[" * 100_000 + "\n",
        '{"step": 1e400}\n',
        json.dumps({"step": 10**30}) + "\n",
        '{"step": -1}\n{"step": true}\n[1]\n"step"\nnull\n\xff\n',
        '{"step": 1, "loss": NaN, "lr": Infinity, "norm": ' + "9" * 400 + ', "phase": 7}\n',
        '{"step": 2, "loss": "<b>", "constants": {"rk4": [0.5, "x", null], "heun": 3}}\n',
        '{"step": 3, "constants": [1], "loss": true}\n',
    ]
    run = read_run(folder(tmp_path, *hostile))
    assert [row.step for row in run.rows] == [1, 2, 3]
    assert all(isfinite(value) for row in run.rows for value in row.values.values())
    assert [row.constants for row in run.rows] == [{}, {"rk4": (0.5,)}, {}]
    assert {row.phase for row in run.rows} == {"pixel"}


def test_a_folder_without_a_log_is_no_run(tmp_path):
    with pytest.raises(NoInput, match="not the folder of a training run"):
        read_run(tmp_path)


@pytest.mark.slow
def test_a_run_of_two_phases_writes_down_how_it_began_went_on_and_ended(pictures, tmp_path):
    for stop in (2, None):
        asked = iter(range(100))
        steps = train(
            CONFIG,
            [pictures],
            tmp_path,
            val=pictures,
            should_stop=lambda asked=asked, stop=stop: stop is not None and next(asked) >= stop,
            report_every=0.0,
        )
        list(steps)
    run = read_run(tmp_path)
    told = [(event["event"], event["step"]) for event in run.events]
    assert told == [("started", 0), ("stopped", 2), ("resumed", 2), ("the pixel phase ended", 4), ("done", 7)]
    assert run.events[0]["data"] == [str(pictures)]
    assert run.events[0]["val"] == str(pictures)
    assert [row.step for row in run.rows if "psnr_y" in row.values] == [3, 4, 6, 7]
    assert [(name, rows[-1].step) for name, rows in run.phases] == [("pixel", 4), ("adversarial", 7)]
    assert read_config(tmp_path / "config.toml") == CONFIG
    assert run.model["provenance"]["parameters"] > 1000
    assert "finished" in (tmp_path / "report.html").read_text()
    assert [step for step, _ in run.samples] == [3, 4, 6, 7]


def test_a_page_that_cannot_be_written_is_told_and_stops_nothing(pictures, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.warns(RuntimeWarning, match=r"report\.html was not written"):
        last = list(train(replace(CONFIG, gan=None), [pictures], tmp_path))[-1]
    assert last.message == "done"


def test_a_page_is_not_written_at_every_save(tmp_path):
    journal = Journal(tmp_path)
    journal.log({"step": 1})
    journal.report()
    (tmp_path / "report.html").unlink()
    journal.report()
    assert not (tmp_path / "report.html").exists()
    journal.report(last=True)
    assert (tmp_path / "report.html").exists()


def test_a_process_that_only_helps_writes_nothing(tmp_path):
    journal = Journal(None)
    journal.begin("started", CONFIG, 0)
    journal.log({"step": 1})
    journal.note("done", 1)
    journal.report(last=True)
    assert list(tmp_path.iterdir()) == []


class _Broken:
    def __init__(self, *_: object, **__: object) -> None: ...

    def add_scalar(self, *_: object) -> None:
        raise OSError("no space left")


def test_tensorboard_that_fails_is_left_out_and_stops_nothing(pictures, tmp_path, monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = _Broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with pytest.warns(RuntimeWarning, match="TensorBoard logging is disabled") as warned:
        last = list(train(replace(CONFIG, gan=None), [pictures], tmp_path, report_every=0.0))[-1]
    assert last.message == "done"
    assert len(warned) == 1
    assert len(read_run(tmp_path).rows) == 4


def test_a_run_needs_no_tensorboard(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert list(train(replace(CONFIG, gan=None), [pictures], tmp_path))[-1].message == "done"
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_gets_scalars_and_samples_where_it_is_installed(pictures, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(train(CONFIG, [pictures], tmp_path, val=pictures, report_every=0.0))
    found = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    logged = {row.step: row.values for row in read_run(tmp_path).rows}
    assert {"pixel/loss", "adversarial/loss_d", "validation/psnr_y"} <= set(found.Tags()["scalars"])
    assert len(found.Tags()["images"]) == 1
    for scalar in found.Scalars("adversarial/loss_d"):
        assert scalar.value == pytest.approx(logged[scalar.step]["loss_d"], rel=1e-6)
