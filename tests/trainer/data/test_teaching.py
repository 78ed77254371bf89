"""Targets and pairs go with their originals through every crop and turn, and are checked before training starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dagan_cli.errors import BadOption
from dagan_cli.model.checkpoint import load_generator
from tests.support.irregular import KINDS, at_once, irregular
from tests.trainer.data.test_samples import batch_of, levels, noise, places, write
from tests.trainer.test_adversarial_phase import log
from tests.trainer.test_loop import CONFIG, equal, run
from trainer.config import value_at
from trainer.data.samples import load_pictures
from trainer.data.teaching import TEACHER, load_pairs, read_teacher, with_targets
from trainer.state import load_state

SAID = 'name = "SPAN"\nsource = "its authors"\nlicence = "Apache-2.0"\nsha256 = "12ab"\n'


def taught(folder: Path, *originals: np.ndarray) -> Path:
    """A folder of originals, and one of targets that are their negatives."""
    for i, pixels in enumerate(originals):
        write(folder / "data" / "deep" / f"{i}.png", pixels)
        write(folder / "targets" / "deep" / f"{i}.webp.png", pixels)  # another name
        (folder / "targets" / "deep" / f"{i}.webp.png").rename(folder / "targets" / "deep" / f"{i}.bmp")
        write(folder / "targets" / "deep" / f"{i}.bmp", 255 - pixels)
    (folder / "targets" / TEACHER).write_text(SAID)
    return folder


def pool(folder: Path, *low: np.ndarray, scale: int = 2, target: bool = True) -> Path:
    """A folder of pairs: hr repeats the pixels of lr, target is its negative."""
    for i, pixels in enumerate(low):
        large = pixels.repeat(scale, 0).repeat(scale, 1)
        write(folder / "lr" / f"{i}.png", pixels)
        write(folder / "hr" / f"{i}.png", large)
        if target:
            write(folder / "target" / f"{i}.png", 255 - large)
    if target:
        (folder / "target" / TEACHER).write_text(SAID)
    return folder


def test_a_target_is_cut_and_turned_as_its_original_is(tmp_path):
    taught(tmp_path, noise(50, 40), noise(48, 60, seed=1))
    pictures = with_targets(load_pictures([tmp_path / "data"], 16), tmp_path / "targets")
    lr, both = batch_of(pictures, augment=True, batch=20)
    assert both.shape == (20, 6, 16, 16)
    assert torch.allclose(both[:, :3], 1 - both[:, 3:])
    alone = batch_of(load_pictures([tmp_path / "data"], 16), augment=True, batch=20)
    assert torch.equal(alone[0], lr)
    assert torch.equal(alone[1], both[:, :3])


@pytest.mark.parametrize("kind", [*KINDS, "deep"])
def test_a_teacher_s_file_that_is_none_is_refused_and_never_waited_for(kind, tmp_path):
    path = tmp_path / TEACHER
    if kind in KINDS:
        irregular(path, kind)
    else:
        path.write_text(f"name = {'[' * 100_000}")
    with pytest.raises(BadOption, match="cannot read") as refused:
        at_once(read_teacher, tmp_path)
    assert "string" in refused.value.hint


def test_low_resolution_images_that_are_given_are_cut_where_their_originals_are(tmp_path):
    low = noise(20, 24)
    pairs = load_pairs(pool(tmp_path, low), 2, 16)
    lr, hr = batch_of(pairs, augment=False, batch=30)
    found = set()
    for small, large in zip(levels(lr), levels(hr[:, :3]), strict=True):
        assert np.array_equal(small.repeat(2, 0).repeat(2, 1), large)
        found |= set(places(low, small, 1))
    assert len(found) > 10
    turned_lr, turned = batch_of(pairs, augment=True, batch=30)
    repeated = turned_lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(repeated, turned[:, :3])
    assert torch.allclose(turned[:, 3:], 1 - turned[:, :3])


def test_pairs_need_no_target(tmp_path):
    pairs = load_pairs(pool(tmp_path, noise(20, 24), target=False), 2, 16)
    assert pairs.targets is None
    assert batch_of(pairs)[1].shape[1] == 3


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "targets" / "deep" / "0.bmp").unlink(), "no readable target .* for 1 image: deep/0"),
        (
            lambda f: write(f / "targets" / "deep" / "0.bmp", noise(48, 40)),
            "target of another size for 1 image: deep/0 .40x48 for 40x50.",
        ),
        (lambda f: (f / "targets" / TEACHER).unlink(), "has no teacher.toml"),
        (lambda f: (f / "targets" / TEACHER).write_text('name = "SPAN"'), "lacks source, licence, sha256"),
        (lambda f: (f / "targets" / TEACHER).write_text("name = "), "cannot read"),
        (lambda f: (f / "targets" / TEACHER).write_bytes(b"\xff\xfe"), "cannot read"),
        (lambda f: (f / "targets").rename(f / "other"), "is not a folder"),
        (lambda f: (f / "targets" / "deep" / "0.bmp").write_bytes(b"no image"), "no readable target"),
        (lambda f: write(f / "targets" / "deep" / "0.png", noise(50, 40)), "the same name twice in .*targets"),
        (
            lambda f: write(f / "data" / "deep" / "0.bmp", noise(50, 40)),
            "the same name twice in the training images",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_training(tmp_path, harm, message):
    harm(taught(tmp_path, noise(50, 40)))
    with pytest.raises(BadOption, match=message):
        run(CONFIG, tmp_path / "data", tmp_path / "run", targets=tmp_path / "targets")
    assert not (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda f: (f / "lr" / "0.png").rename(f / "lr" / "other.png"),
            "no readable low-resolution image in .* for 1 image: 0",
        ),
        (lambda f: write(f / "lr" / "0.png", noise(20, 23)), "image of another size for 1 image: 0 .23x20 for 48x40."),
        (lambda f: (f / "target" / "0.png").unlink(), "no readable target"),
        (lambda f: (f / "lr").rename(f / "small"), "has no folder lr"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_before_training(tmp_path, harm, message):
    harm(pool(tmp_path, noise(20, 24), noise(20, 24, seed=1)))
    with pytest.raises(BadOption, match=message):
        load_pairs(tmp_path, 2, 16)


@pytest.mark.slow
def test_pairs_are_trained_on_alone_and_as_they_are(tmp_path):
    folder = pool(tmp_path / "pool", noise(20, 24))
    write(tmp_path / "data" / "a.png", noise(50, 40))
    with pytest.raises(BadOption, match="cannot be combined"):
        run(CONFIG, tmp_path / "data", tmp_path / "run", pairs=folder)
    from trainer.loop import train

    with pytest.raises(BadOption, match="--pairs with degradation = 'mild'"):
        list(train(replace(CONFIG, degradation="mild"), [], tmp_path / "run", pairs=folder))
    with pytest.raises(BadOption, match="belong to clean inputs"):
        run(replace(CONFIG, degradation="mild"), tmp_path / "data", tmp_path / "run", targets=folder / "target")
    list(train(CONFIG, [], tmp_path / "run", pairs=folder))
    facts = load_generator(tmp_path / "run" / "model.safetensors").provenance
    again = (tmp_path / "run" / "report.html").read_text().partition("Resume the run")[2].partition("</pre>")[0]
    assert f"--pairs {folder}" in again
    assert "--data" not in again
    assert facts["pairs"] is True
    assert facts["teacher"]["licence"] == "Apache-2.0"


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "to_target"), [(0.0, False), (1.0, True)])
def test_the_weight_says_whom_the_network_follows(tmp_path, weight, to_target):
    grey = np.full((64, 64, 3), 128, np.uint8)
    taught(tmp_path, grey)
    write(tmp_path / "targets" / "deep" / "0.bmp", np.full((64, 64, 3), 160, np.uint8))
    config = replace(CONFIG, iterations=60, lr=3e-3, target_weight=((0.0, weight),))
    run(config, tmp_path / "data", tmp_path / "run", targets=tmp_path / "targets")
    network = load_generator(tmp_path / "run" / "model.safetensors").generator
    level = network(torch.full((1, 3, 8, 8), 128 / 255)).mean().item() * 255
    assert (level > 140) == to_target
    assert to_target or level == pytest.approx(128, abs=6)


@pytest.mark.slow
def test_a_run_with_a_teacher_and_muon_goes_on_to_the_bit_and_only_with_that_teacher(tmp_path):
    taught(tmp_path, noise(80, 90))
    config = replace(CONFIG, optimiser="muon", iterations=6, target_weight=((0.0, 0.75), (1.0, 0.0)))
    given = {"targets": tmp_path / "targets"}
    run(config, tmp_path / "data", tmp_path / "whole", **given)
    for line, share in zip(log(tmp_path / "whole"), (0.75, 0.625, 0.5, 0.375, 0.25, 0.125), strict=True):
        assert line["loss"] == pytest.approx(share * line["target"] + (1 - share) * line["original"], rel=1e-5)
    run(config, tmp_path / "data", tmp_path / "parts", steps=3, **given)
    run(config, tmp_path / "data", tmp_path / "parts", **given)
    assert equal(load_state(tmp_path / "whole"), load_state(tmp_path / "parts"))
    (tmp_path / "targets" / TEACHER).write_text(SAID.replace("12ab", "34cd"))
    with pytest.raises(BadOption, match="not those of"):
        run(replace(config, iterations=9), tmp_path / "data", tmp_path / "parts", **given)


def test_a_ramp_is_straight_between_its_points_and_level_beyond_them():
    ramp = ((0.2, 0.8), (0.6, 0.4), (0.6, 0.1), (1.0, 0.0))
    assert [round(value_at(ramp, x), 6) for x in (0, 0.2, 0.4, 0.5999999, 0.6, 0.8, 1)] == [
        0.8,
        0.8,
        0.6,
        0.4,
        0.1,
        0.05,
        0,
    ]
    assert value_at(((0.0, 0.75),), 0.5) == 0.75
