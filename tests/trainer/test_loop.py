"""A training run learns, follows its schedule, keeps what it has, and refuses to go on from what does not fit."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from math import cos, pi, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.errors import BadModel, BadOption, CannotWrite, NoInput
from dagan_cli.files import Folder
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from tests.support.training import equal, run
from trainer import budget, loop
from trainer.config import GanConfig, TrainConfig
from trainer.data.samples import load_pictures, validation_pairs
from trainer.loop import Diverged, train
from trainer.losses import terms
from trainer.networks import start_from
from trainer.phases import AdversarialPhase, PixelPhase
from trainer.presets import preset
from trainer.state import BEFORE, NAME, load_state
from trainer.validate import validate

SMALL = GeneratorConfig(
    scale=2, blocks=1, channels=8, block="residual", reduction=4, image_skip=True, upsampler="direct", patch=8
)
CONFIG = TrainConfig(generator=SMALL, batch=2, iterations=6, warmup=0, ema=0.9, precision="fp32")
ENDLESS = replace(CONFIG, iterations=None, schedule="constant")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    ramp = np.indices((72, 80)).sum(0)
    for i in range(2):
        waves = 128 + 100 * np.sin(ramp[..., None] / (2 + i) + np.arange(3))
        Image.fromarray(waves.astype(np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.mark.slow
def test_a_run_cannot_go_on_with_another_optimiser(pictures, tmp_path):
    run(replace(CONFIG, optimiser="muon"), pictures, tmp_path, steps=2)
    with pytest.raises(BadOption, match="trained with muon, not with adam"):
        run(CONFIG, pictures, tmp_path)
    with pytest.raises(BadOption, match="trained with muon, not with adam"):
        run(CONFIG, pictures, tmp_path / "branch", branch=tmp_path)


def logged(folder: Path, key: str) -> list[float]:
    return [json.loads(line)[key] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_loss_falls_on_a_tiny_set_and_so_does_that_of_the_saved_average(pictures, tmp_path):
    config = replace(CONFIG, iterations=80, lr=3e-3)
    run(config, pictures, tmp_path, val=pictures)
    loss = logged(tmp_path, "loss")
    assert len(loss) == 80
    assert np.mean(loss[-10:]) < 0.7 * np.mean(loss[:10])
    pairs = list(validation_pairs(load_pictures([pictures], 16), 2))
    torch.manual_seed(config.seed)
    start = validate(Generator(SMALL), pairs)
    assert validate(load_generator(tmp_path / "model.safetensors").generator, pairs) > start + 2


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(pictures, tmp_path):
    dial = replace(SMALL, solver="rk4", orders=(1, 2, 4))
    config = replace(CONFIG, generator=dial, order_odds=(2, 1, 1), iterations=9)
    run(config, pictures, tmp_path / "whole")
    for steps in (2, 0, 3, None):
        torch.manual_seed(123)  # whatever happened before must not matter
        last = run(config, pictures, tmp_path / "parts", steps)[-1]
        assert last.message == ("done" if steps is None else "stopped")
    whole, parts = load_state(tmp_path / "whole"), load_state(tmp_path / "parts")
    assert whole["step"] == 9
    assert equal(whole, parts)
    assert logged(tmp_path / "whole", "loss") == logged(tmp_path / "parts", "loss")
    averages = [load_generator(tmp_path / part / "model.safetensors").generator for part in ("whole", "parts")]
    assert equal(*({"step": 0, **average.state_dict()} for average in averages))


@pytest.mark.slow
def test_a_run_without_an_end_is_saved_while_it_goes_on_even_if_every_step_is_reported(pictures, tmp_path):
    config = replace(ENDLESS, save_every=1e-6)
    for progress in train(config, [pictures], tmp_path, report_every=0.0):
        if progress.step == 4:
            break  # as a crash would end it
    assert load_state(tmp_path)["step"] == 3


@pytest.mark.slow
def test_a_finished_run_stays_finished(pictures, tmp_path):
    run(CONFIG, pictures, tmp_path)
    before = load_state(tmp_path)
    (again,) = run(CONFIG, pictures, tmp_path)
    assert (again.step, again.fraction, again.message) == (6, 1.0, "done")
    assert equal(load_state(tmp_path), before)


@pytest.mark.slow
def test_the_cosine_starts_at_the_full_rate_and_ends_near_zero(pictures, tmp_path):
    run(replace(CONFIG, iterations=20), pictures, tmp_path)
    rates = logged(tmp_path, "lr")
    assert rates == pytest.approx([1e-3 * 0.5 * (1 + cos(pi * k / 20)) for k in range(20)])
    assert rates[-1] < 0.01 * rates[0]


def test_the_warm_up_rises_in_a_line(pictures, tmp_path):
    run(replace(ENDLESS, warmup=4), pictures, tmp_path, steps=6)
    assert logged(tmp_path, "lr") == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])


@pytest.mark.slow
def test_a_branch_cools_down_from_a_trunk_and_leaves_it_alone(pictures, tmp_path):
    trunk, branch = tmp_path / "trunk", tmp_path / "branch"
    run(ENDLESS, pictures, trunk, steps=5)
    before = (trunk / NAME).read_bytes()
    cooling = replace(CONFIG, schedule="cooldown", iterations=4, warmup=300)
    run(cooling, pictures, branch, steps=2, branch=trunk)
    run(cooling, pictures, branch, branch=trunk)  # the second time it goes on from itself
    assert logged(branch, "lr") == pytest.approx([1e-3 * (1 - sqrt(k / 4)) for k in range(4)])
    assert logged(branch, "step") == [6, 7, 8, 9]
    assert (trunk / NAME).read_bytes() == before
    run(cooling, pictures, tmp_path / "at-once", branch=trunk)
    assert equal(load_state(tmp_path / "at-once"), load_state(branch))


@pytest.mark.slow
def test_a_branch_sees_the_pictures_the_trunk_would_have_seen(pictures, tmp_path):
    run(ENDLESS, pictures, tmp_path / "trunk", steps=3)
    run(ENDLESS, pictures, tmp_path / "branch", steps=2, branch=tmp_path / "trunk")
    run(ENDLESS, pictures, tmp_path / "trunk", steps=2)
    assert equal(load_state(tmp_path / "branch"), load_state(tmp_path / "trunk"))


@pytest.mark.slow
def test_a_branch_takes_optimiser_and_average_too(pictures, tmp_path):
    run(ENDLESS, pictures, tmp_path / "trunk", steps=3)
    run(replace(CONFIG, schedule="cooldown"), pictures, tmp_path / "branch", steps=0, branch=tmp_path / "trunk")
    assert equal(load_state(tmp_path / "branch"), load_state(tmp_path / "trunk"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which a step takes 0.1 s, a validation 0.5 s, loading a folder 0.3 s, and nothing else takes time."""
    now = [0.0]

    def takes(seconds: float, action: Any) -> Any:
        def timed(*arguments: Any, **given: Any) -> Any:
            now[0] += seconds
            return action(*arguments, **given)

        return timed

    for module in (loop, budget):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(loop, "scores", takes(0.5, loop.scores))
    monkeypatch.setattr(loop, "load_pictures", takes(0.3, loop.load_pictures))
    monkeypatch.setattr(loop, "training_set", takes(0.3, loop.training_set))
    monkeypatch.setattr(PixelPhase, "step", takes(0.1, PixelPhase.step))


def test_a_budget_ends_the_run_by_the_clock(pictures, tmp_path, clock):
    config = replace(CONFIG, iterations=None, budget=3.0)
    last = run(config, pictures, tmp_path)[-1]
    assert (last.message, last.fraction) == ("done", 1.0)
    assert 3.0 <= load_state(tmp_path)["spent"] < 3.2
    rates = logged(tmp_path, "lr")
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]


@pytest.mark.slow
def test_a_step_that_is_not_finite_changes_nothing(pictures, tmp_path, monkeypatch):
    run(ENDLESS, pictures, tmp_path / "good", steps=2)
    run(ENDLESS, pictures, tmp_path / "bad", steps=2)
    monkeypatch.setitem(terms.PIXEL, "l1", lambda fake, real: (fake - real).mean() * float("nan"))
    run(ENDLESS, pictures, tmp_path / "bad", steps=1)
    good, bad = load_state(tmp_path / "good"), load_state(tmp_path / "bad")
    assert (good["step"], bad["step"]) == (2, 3)
    assert equal(good | {"step": 3}, bad)


@pytest.mark.slow
def test_a_run_that_is_resumed_with_other_settings_says_so(pictures, tmp_path, caplog):
    run(ENDLESS, pictures, tmp_path, steps=1)
    run(ENDLESS, pictures, tmp_path, steps=1)
    assert "resumed" not in caplog.text
    run(replace(ENDLESS, lr=5e-4, gan=None, seed=3), pictures, tmp_path, steps=1)
    assert "resumed with lr = 0.0005 instead of 0.001, seed = 3 instead of 0" in caplog.text


def broken(monkeypatch: pytest.MonkeyPatch, lost: set[int], phase: type = PixelPhase) -> None:
    """Steps of these numbers, from 1, have gradients that are not finite."""
    step = phase.step

    def stepped(self: Any, *given: Any) -> Any:
        return None if given[-1] in lost else step(self, *given)

    monkeypatch.setattr(phase, "step", stepped)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [2, 3])
def test_a_run_with_more_than_a_tenth_of_its_steps_lost_has_diverged_and_is_saved_all_the_same(
    lost, pictures, tmp_path, monkeypatch
):
    config = replace(CONFIG, iterations=20)
    broken(monkeypatch, {5, 11, 17} - ({17} if lost == 2 else set()))
    if lost == 2:  # a tenth of the steps
        assert run(config, pictures, tmp_path)[-1].message == "done"
    for _ in range(2 * (lost == 3)):  # resumed, it is not "done" either
        with pytest.raises(Diverged, match=r"pixel phase in .* diverged: 3 of its 20 steps were not finite") as ended:
            run(config, pictures, tmp_path)
        assert ended.value.exit_code == 1
        assert "lower lr" in ended.value.hint
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events[-1] == ("done" if lost == 2 else "diverged")
    assert "done" not in events[:-1]
    state = load_state(tmp_path)
    assert (state["step"], state["skipped"], state["skipped_in_phase"]) == (20, lost, lost)
    assert load_generator(tmp_path / "model.safetensors").provenance["iterations"] == 20
    assert ("it diverged" in (tmp_path / "report.html").read_text()) == (lost == 3)


@pytest.mark.slow
def test_lost_steps_count_for_their_phase_alone(pictures, tmp_path, monkeypatch):
    gan = GanConfig(width=4, iterations=5, warmup=1, perceptual="none")
    config = replace(CONFIG, iterations=20, gan=gan)
    broken(monkeypatch, {5, 6})
    assert run(config, pictures, tmp_path / "pixel")[-1].message == "done"  # 2 of 25, and none of the second phase
    state = load_state(tmp_path / "pixel")
    assert (state["skipped"], state["skipped_in_phase"], state["phase"]) == (2, 0, "adversarial")
    broken(monkeypatch, {22}, AdversarialPhase)
    with pytest.raises(Diverged, match=r"adversarial phase in .*: 1 of its 5 steps"):  # and 3 of 25
        run(config, pictures, tmp_path / "adversarial")
    broken(monkeypatch, {7})
    with pytest.raises(Diverged, match=r"pixel phase in .*: 3 of its 20 steps"):
        run(config, pictures, tmp_path / "early")
    assert load_state(tmp_path / "early")["phase"] == "pixel"
    assert not (tmp_path / "early" / loop.PIXEL).exists()


@pytest.mark.slow
def test_a_run_that_is_stopped_has_not_diverged(pictures, tmp_path, monkeypatch):
    broken(monkeypatch, {1, 2})
    assert run(CONFIG, pictures, tmp_path, steps=3)[-1].message == "stopped"
    with pytest.raises(Diverged, match="2 of its 6"):  # what was lost before a stop counts
        run(CONFIG, pictures, tmp_path)


@pytest.mark.slow
def test_a_roll_back_reads_the_state_that_is_there(pictures, tmp_path, monkeypatch):
    """Also the one before it, if a kill left no other; a damaged one ends the run, and is left alone."""
    config = replace(ENDLESS, save_every=1e-6)
    run(config, pictures, tmp_path, steps=3)
    good = load_state(tmp_path)
    (tmp_path / NAME).rename(tmp_path / BEFORE)
    broken(monkeypatch, set(range(4, 14)))
    with monkeypatch.context() as context:
        context.setattr(loop._Run, "_save", lambda *_: None)
        seen = run(config, pictures, tmp_path, steps=10)
        assert any("rolled back" in p.message for p in seen)
        (tmp_path / BEFORE).rename(tmp_path / NAME)
        damaged = (tmp_path / NAME).read_bytes()[:-50]

        def spoil(*_: Any) -> Any:
            (tmp_path / NAME).write_bytes(damaged)

        context.setattr(PixelPhase, "step", spoil)
        with pytest.raises(BadModel, match="damaged"):
            run(config, pictures, tmp_path)
    assert (tmp_path / NAME).read_bytes() == damaged
    assert good["step"] == 3


@pytest.mark.slow
def test_the_best_average_is_kept_beside_the_last(pictures, tmp_path):
    config = replace(CONFIG, validate_every=2)
    progress = run(config, pictures, tmp_path, val=pictures)
    scores = [p.psnr for p in progress if p.psnr is not None]
    assert [p.step for p in progress if p.psnr is not None] == [2, 4, 6, 6]
    best = load_generator(tmp_path / "best.safetensors")
    assert best.provenance["val_psnr_y"] == max(scores)
    pairs = list(validation_pairs(load_pictures([pictures], 16), 2))
    assert validate(best.generator, pairs) == pytest.approx(max(scores), abs=1e-3)
    facts = load_generator(tmp_path / "model.safetensors").provenance
    assert (facts["iterations"], facts["pictures"], facts["training"]["lr"]) == (6, 2, 1e-3)
    assert str(pictures) not in json.dumps(facts)


@pytest.mark.slow
def test_four_times_starts_from_the_body_of_two_times(pictures, tmp_path):
    run(CONFIG, pictures, tmp_path / "x2")
    file = tmp_path / "x2" / "model.safetensors"
    larger = replace(CONFIG, generator=replace(SMALL, scale=4, patch=4))
    run(larger, pictures, tmp_path / "x4", steps=0, start=file)
    run(larger, pictures, tmp_path / "alone", steps=0)
    body, state = load_generator(file).generator.state_dict(), load_state(tmp_path / "x4")
    for name, tensor in state["generator"].items():
        if not name.startswith("upsampler"):
            assert torch.equal(tensor, body[name]), name
            assert torch.equal(state["average"][name], body[name]), name
    assert not equal(state, load_state(tmp_path / "alone"))


@pytest.mark.slow
def test_a_file_names_every_phase_that_its_weights_have_been_through(pictures, tmp_path):
    files = [tmp_path / name / "model.safetensors" for name in ("a", "b", "c")]
    run(CONFIG, pictures, tmp_path / "a", steps=2)
    run(CONFIG, pictures, tmp_path / "b", steps=3, start=files[0])
    run(replace(CONFIG, degradation="mild"), pictures, tmp_path / "c", steps=1, start=files[1])
    run(replace(CONFIG, degradation="mild"), pictures, tmp_path / "c", steps=1)  # resumed without saying it again
    for file, phases in zip(files, ([], [2], [2, 3]), strict=True):
        earlier = load_generator(file).provenance.get("earlier", [])
        assert [(one["scale"], one["phase"], one["iterations"]) for one in earlier] == [(2, "pixel", n) for n in phases]
    assert load_generator(files[2]).provenance["iterations"] == 2


def test_a_start_that_shares_nothing_is_refused(pictures, tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(save_model(Generator(replace(SMALL, channels=16, scale=4, solver="euler")), {}))
    with pytest.raises(BadOption, match="shares no weights"):
        run(CONFIG, pictures, tmp_path / "run", start=path)
    path.write_bytes(b"damaged")
    with pytest.raises(BadModel):
        run(CONFIG, pictures, tmp_path / "run", start=path)


@pytest.mark.slow
def test_another_architecture_or_other_pictures_are_refused_and_the_state_left_alone(pictures, tmp_path):
    folder, other = tmp_path / "run", tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(other / "0.png")
    run(CONFIG, pictures, folder, steps=2)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for change in ({"blocks": 2}, {"solver": "rk4"}, {"temperature": 2.0}):
        with pytest.raises(BadOption, match="another generator"):
            run(replace(CONFIG, generator=replace(SMALL, **change)), pictures, folder)
    with pytest.raises(BadOption, match="the images, or their teacher, are not those"):
        run(CONFIG, other, folder)
    with pytest.raises(NoInput):
        run(CONFIG, tmp_path / "none", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    larger = replace(CONFIG, generator=replace(SMALL, patch=10))
    assert run(larger, pictures, folder)[-1].step == 6  # another patch size is the same network


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "foreign", "keys"])
def test_a_damaged_or_foreign_state_is_a_bad_model(damage, pictures, tmp_path):
    run(CONFIG, pictures, tmp_path, steps=1)
    path, whole = tmp_path / NAME, (tmp_path / NAME).read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"\x80\x02]q\x00."}.get(damage, b""))
    if damage == "foreign":
        torch.save([1, 2, 3], path)
    if damage == "keys":
        torch.save({"step": 3}, path)
    with pytest.raises(BadModel) as caught:
        run(CONFIG, pictures, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["state", "model", "log"])
def test_a_full_disk_ends_the_run_and_leaves_the_last_state_whole(where, pictures, tmp_path, monkeypatch):
    run(CONFIG, pictures, tmp_path, steps=2)
    good = load_state(tmp_path)
    target = {"state": NAME, "model": "model.safetensors", "log": "log.jsonl"}[where]
    rename, append = Folder.rename, Folder.append

    def full(name: str) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr(Folder, "append", lambda f, name: full(name) if name == target else append(f, name))
    monkeypatch.setattr(
        Folder, "rename", lambda f, old, new, **how: full(new) if new == target else rename(f, old, new, **how)
    )
    with pytest.raises(CannotWrite) as caught:
        run(CONFIG, pictures, tmp_path)
    assert caught.value.exit_code == 6
    monkeypatch.undo()
    assert equal(load_state(tmp_path), good)
    assert not list(tmp_path.glob(".*"))
    assert run(CONFIG, pictures, tmp_path)[-1].step == 6


def test_a_run_folder_that_cannot_be_made_is_told_before_training(pictures, tmp_path):
    (tmp_path / "file").touch()
    steps = train(CONFIG, [pictures], tmp_path / "file" / "run")
    with pytest.raises(CannotWrite):
        next(steps)


def test_adam_is_told_how_long_to_remember(pictures, tmp_path):
    run(replace(CONFIG, beta2=0.75), pictures, tmp_path, steps=1)
    assert load_state(tmp_path)["optimiser"]["param_groups"][0]["betas"] == (0.9, 0.75)
    paper = preset("paper-x2").gan
    assert paper is not None
    assert paper.beta2 == 0.999


def test_a_budget_counts_all_that_a_run_does_and_says_so(pictures, tmp_path, clock, monkeypatch):
    config = replace(CONFIG, iterations=None, budget=4.0, validate_every=10)
    last = run(config, pictures, tmp_path, val=pictures)[-1]
    at = load_state(tmp_path)
    # Two loads of 0.3 s, a validation every ten steps, and the last one, which must fit as well.
    validations = at["step"] // 10 + (at["step"] % 10 > 0)
    assert at["validating"] == pytest.approx(0.5 * validations)
    assert at["elapsed"] == pytest.approx(0.1 * at["step"])
    assert at["spent"] == pytest.approx(0.6 + at["elapsed"] + at["validating"])
    assert at["spent"] == pytest.approx(4.0, rel=0.1)
    words = f"{at['elapsed']:.0f} s of steps, {at['validating']:.0f} s of validations, 1 s of loading and saving"
    assert last.note == f"{at['spent']:.0f} s of 4: {words}; {at['step']} steps are too few to mean anything"


def test_a_budget_that_loading_takes_gets_one_step(pictures, tmp_path, clock):
    assert run(replace(CONFIG, iterations=None, budget=0.1), pictures, tmp_path)[-1].step == 1


def test_a_run_of_few_steps_says_that_they_mean_nothing(pictures, tmp_path):
    assert run(CONFIG, pictures, tmp_path / "few")[-1].note == "6 steps are too few to mean anything"
    assert run(replace(CONFIG, iterations=50), pictures, tmp_path / "more")[-1].note == ""


@pytest.mark.parametrize(("weight", "name"), [(0, "perceptual"), (0.01, "adversarial")])
def test_a_phase_without_a_discriminator_is_remembered_as_perceptual(tmp_path, weight, name):
    path = tmp_path / "before.safetensors"
    facts = {"phase": "adversarial", "iterations": 7, "training": {"gan": {"adversarial_weight": weight}}}
    path.write_bytes(save_model(Generator(SMALL), facts))
    assert start_from(Generator(SMALL), path)[-1]["phase"] == name
