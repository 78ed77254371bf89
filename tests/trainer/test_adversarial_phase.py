"""The adversarial phase: it follows the pixel phase, goes on bit for bit, and a run that breaks goes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dagan_cli.errors import BadOption
from dagan_cli.model.checkpoint import load_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from tests.support.training import equal, run, tensors
from trainer import loop
from trainer.config import GanConfig, TrainConfig
from trainer.ema import Average
from trainer.loop import Diverged
from trainer.losses.perceptual import Features, PerceptualLoss
from trainer.phases import AdversarialPhase, PixelPhase
from trainer.state import load_state

SMALL = GeneratorConfig(
    scale=2, blocks=1, channels=8, block="residual", reduction=4, image_skip=True, upsampler="direct", patch=8
)
GAN = GanConfig(
    width=4,
    iterations=5,
    warmup=1,
    perceptual="none",
    tv_weight=0.1,
    fft_weight=1e-3,
    colour_weight=0.1,
    grid_weight=0.1,
)
CONFIG = TrainConfig(generator=SMALL, batch=2, iterations=3, warmup=0, ema=0.9, precision="fp32", gan=GAN)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(3):
        small = random.integers(0, 256, (9, 10, 3), np.uint8)
        Image.fromarray(small).resize((80, 72), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_adversarial_phase_follows_the_pixel_phase_and_starts_from_its_average(pictures, tmp_path):
    seen = run(CONFIG, pictures, tmp_path)
    assert [p.phase for p in seen] == ["pixel"] * 3 + ["adversarial"] * 6
    assert seen[-1].step == 8
    pixel, last = (load_model(tmp_path / name).generator.state_dict() for name in ("pixel.safetensors", loop.MODEL))
    alone = run(replace(CONFIG, gan=None), pictures, tmp_path / "alone")
    assert alone[-1].step == 3
    assert equal(pixel, load_model(tmp_path / "alone" / loop.MODEL).generator.state_dict())
    assert not equal(pixel, last)


@pytest.mark.slow
def test_every_term_is_logged_apart(pictures, tmp_path):
    run(CONFIG, pictures, tmp_path)
    alone, together = log(tmp_path)[3], log(tmp_path)[-1]
    assert "pixel" not in alone  # the discriminator learns alone first
    assert {"loss_d", "d_real", "d_fake", "d_accuracy", "norm_d"} <= alone.keys()
    terms = ("pixel", "adversarial", "tv", "fft", "colour", "grid")
    assert {*terms, "loss", "norm", "rgb_offset"} <= together.keys()
    assert sum(together[name] for name in terms) == pytest.approx(together["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("discriminator", ["unet", "leftthomas"])
def test_a_run_stopped_in_either_phase_goes_on_bit_for_bit(pictures, tmp_path, discriminator):
    config = replace(CONFIG, gan=replace(GAN, discriminator=discriminator, iterations=4))
    run(config, pictures, tmp_path / "whole")
    for steps in (2, 0, 2, 1, None):
        torch.manual_seed(123)  # whatever happened before must not matter
        run(config, pictures, tmp_path / "parts", steps)
    whole, parts = load_state(tmp_path / "whole"), load_state(tmp_path / "parts")
    assert (whole["step"], whole["phase"]) == (7, "adversarial") == (parts["step"], parts["phase"])
    for part in ("generator", "average", "discriminator", "optimiser", "optimiser_d"):
        assert equal(whole[part], parts[part]), part
    losses = [
        [(line["step"], line.get("loss"), line.get("loss_d")) for line in log(tmp_path / p)] for p in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_run_can_leave_the_pixel_phase_out(pictures, tmp_path):
    run(replace(CONFIG, gan=None), pictures, tmp_path / "pixel")
    start = tmp_path / "pixel" / loop.MODEL
    seen = run(replace(CONFIG, iterations=0), pictures, tmp_path / "gan", start=start)
    assert {p.phase for p in seen} == {"adversarial"}
    assert equal(
        load_model(tmp_path / "gan" / loop.PIXEL).generator.state_dict(), load_model(start).generator.state_dict()
    )


@pytest.mark.slow
def test_another_discriminator_is_refused(pictures, tmp_path):
    run(CONFIG, pictures, tmp_path, steps=5)
    with pytest.raises(BadOption, match="another discriminator"):
        run(replace(CONFIG, gan=replace(GAN, width=8)), pictures, tmp_path)


@pytest.mark.slow
def test_the_perceptual_network_sees_both_pictures_from_the_same_place_another_each_step():
    """A network with strides cannot be pleased by a pattern in step with them, if it never stands in the same place."""
    seen: list[tuple[Tensor, Tensor]] = []

    def eyes(fake: Tensor, real: Tensor) -> Tensor:
        seen.append((fake, real))
        return (fake - real).abs().mean()

    generator, gan = Generator(SMALL), replace(GAN, warmup=0, perceptual_shift=5)
    phase = AdversarialPhase(generator, Average(generator, 0.9), CONFIG, gan, eyes, half=False)
    hr = torch.arange(16.0 * 16).view(1, 1, 16, 16).expand(2, 3, 16, 16) / 256
    for number in (*range(1, 41), 1):
        phase.step(torch.rand(2, 3, 8, 8), hr, None, 0, number)
    assert {fake.shape for fake, _ in seen} == {real.shape for _, real in seen} == {(2, 3, 11, 11)}
    firsts = [round(real[0, 0, 0, 0].item() * 256) for _, real in seen]
    assert {first // 16 for first in firsts} == {first % 16 for first in firsts} == set(range(6))
    assert firsts[-1] == firsts[0]  # a step's place follows from its number: what was stopped goes on the same


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["pixel", "adversarial"])
def test_parts_of_a_batch_have_the_gradients_of_the_whole(phase):
    torch.manual_seed(0)
    lr, hr = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 16, 16)
    results = []
    for parts in (1, 2, 4):
        torch.manual_seed(1)
        generator = Generator(SMALL)
        average = Average(generator, 0.9)
        config = replace(CONFIG, batch=4, accumulate=parts, lr=1e-3)
        gan = replace(GAN, warmup=0)
        eyes = PerceptualLoss(Features("vgg19-distilled", ["conv1_2"]), {"conv1_2": 1.0})
        made = AdversarialPhase(generator, average, config, gan, eyes, half=False)
        step = PixelPhase(generator, average, config, half=False) if phase == "pixel" else made
        step.set_rate(0, 0.0, 1.0)
        terms = step.step(lr, hr, None, 0, 1)
        assert terms is not None
        results.append([float(terms[name]) for name in ("loss", "norm", "norm_d") if name in terms])
    close = 1e-4 if phase == "pixel" else 0.05  # spectral norm comes nearer to its value with each look
    assert results[1] == pytest.approx(results[0], rel=close)
    assert results[2] == pytest.approx(results[0], rel=close)


@pytest.mark.slow
def test_a_run_that_stops_being_finite_goes_back_to_its_last_state_at_half_the_rate(pictures, tmp_path, monkeypatch):
    config = replace(CONFIG, gan=None, iterations=None, schedule="constant", lr=1e-3)
    run(config, pictures, tmp_path, steps=4)
    before = load_state(tmp_path)
    step, calls = PixelPhase.step, [0]

    def broken(self: PixelPhase, *args: Any) -> Any:
        calls[0] += 1
        return None if 3 <= calls[0] < 3 + loop.BAD_STEPS else step(self, *args)

    monkeypatch.setattr(PixelPhase, "step", broken)
    seen = run(config, pictures, tmp_path, steps=2 + loop.BAD_STEPS)
    assert any("rolled back" in p.message for p in seen)
    state = load_state(tmp_path)
    assert (state["skipped"], state["roll_backs"], state["scale"]) == (loop.BAD_STEPS, 1, 0.5)
    assert equal(state["generator"], before["generator"])
    run(config, pictures, tmp_path, steps=1)
    assert log(tmp_path)[-1]["lr"] == pytest.approx(0.5e-3)


@pytest.mark.slow
def test_a_run_that_never_is_finite_ends_with_advice_and_its_last_state_whole(pictures, tmp_path, monkeypatch):
    config = replace(CONFIG, gan=None, iterations=None, schedule="constant")
    run(config, pictures, tmp_path, steps=2)
    monkeypatch.setattr(PixelPhase, "step", lambda *_: None)
    with pytest.raises(Diverged) as ended:
        run(config, pictures, tmp_path)
    assert "lower lr" in ended.value.hint
    assert load_state(tmp_path)["step"] == 2
    assert json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])["event"] == "diverged"


@pytest.mark.slow
def test_the_last_few_and_the_best_are_kept_and_a_run_that_gains_nothing_stops(pictures, tmp_path):
    config = replace(CONFIG, gan=None, iterations=50, lr=1e-9, validate_every=1, keep=2, patience=4)
    seen = run(config, pictures, tmp_path, val=pictures)
    assert seen[-1].message == "done"
    assert seen[-1].step < 50
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert (tmp_path / loop.BEST).exists()
    with Image.open(sorted((tmp_path / "samples").iterdir())[0]) as strip:
        assert strip.size[0] == 4 * 196  # LR, bicubic, SR, HR
    assert {"constants", "attention_entropy", "psnr_y"} <= log(tmp_path)[-1].keys()


PROCESS = """
import sys, torch
from pathlib import Path
from tests.trainer.test_adversarial_phase import CONFIG, GAN
from dataclasses import replace
from trainer.loop import train
torch.set_num_threads(1)
config = replace(CONFIG, batch=4, gan=replace(GAN, iterations=2, warmup=0))
list(train(config, [Path(sys.argv[1])], Path(sys.argv[2]), report_every=0.0))
threads = Path("/proc/self/task")
names = [(thread / "comm").read_text() for thread in threads.iterdir()] if threads.is_dir() else []
assert not any("gloo" in name for name in names), f"threads of the process group are left: {names}"
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_whole_batch(pictures, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(PROCESS)
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    alone = [sys.executable, str(script), str(pictures), str(tmp_path / "one")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together = [*launcher, str(script), str(pictures), str(tmp_path / "two")]
    for command in (alone, together):
        done = subprocess.run(
            command, env=environment, cwd=root, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = load_state(tmp_path / "one"), load_state(tmp_path / "two")
    for part in ("generator", "discriminator", "average"):
        for a, b in zip(tensors(one[part]), tensors(two[part]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)
    assert log(tmp_path / "two")[-1]["step"] == 5
    losses = [[row["loss"] for row in log(tmp_path / name) if "loss" in row] for name in ("one", "two")]
    assert len(losses[0]) == 5
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)  # of the whole batch, not of the first half


def test_a_batch_that_has_no_equal_parts_is_refused(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.machine.distributed.join", lambda: (0, 3))
    with pytest.raises(BadOption, match="not divisible"):
        run(CONFIG, pictures, tmp_path)


@pytest.mark.slow
def test_of_an_original_and_a_target_a_crop_is_compared_with_one_drawn_by_the_weight():
    def pixel(weight: float) -> float:
        gan = replace(GAN, warmup=0, tv_weight=0, fft_weight=0, colour_weight=0, grid_weight=0, pixel_weight=1.0)
        gan = replace(gan, target_weight=((0.0, weight),))
        config = replace(CONFIG, batch=64, gan=gan)
        torch.manual_seed(0)
        generator = Generator(SMALL)
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.zero_()  # what is left is the enlarged input
        phase = AdversarialPhase(generator, Average(generator, 0.9), config, gan, None, half=False)
        phase.set_rate(0, 0.0, 1.0)
        grey = torch.full((64, 3, 8, 8), 0.5)
        original, target = torch.full((64, 3, 16, 16), 0.5), torch.full((64, 3, 16, 16), 0.75)
        terms = phase.step(grey, torch.cat((original, target), 1), None, 0, 1)
        assert terms is not None
        return terms["pixel"].item()

    assert pixel(0.0) == 0
    assert pixel(1.0) == pytest.approx(0.25)
    assert pixel(0.7) == pytest.approx(0.7 * 0.25, abs=0.05)  # a draw of 64


def test_processes_share_one_draw_of_references(monkeypatch):
    config = replace(CONFIG, gan=replace(GAN, target_weight=((0.0, 0.5),)))
    assert config.gan is not None
    phase = AdversarialPhase(g := Generator(SMALL), Average(g, 0.9), config, config.gan, None, half=False)
    phase.set_rate(0, 0.0, 1.0)
    images = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 6, 2, 2).clone()
    images[:, 3:] += 100
    whole = phase._reference(images, 5)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr("trainer.phases.place", lambda rank=rank: (rank, 2))
        parts.append(phase._reference(images.chunk(2)[rank], 5))
    assert torch.equal(torch.cat(parts), whole)
    assert set((whole[:, 0, 0, 0] // 100).tolist()) == {0.0, 1.0}


@pytest.mark.slow
def test_without_an_adversarial_weight_the_discriminator_is_left_alone(pictures, tmp_path):
    run(replace(CONFIG, gan=replace(GAN, adversarial_weight=0.0)), pictures, tmp_path)
    assert not {"loss_d", "adversarial", "d_real"} & set().union(*log(tmp_path))
    assert "pixel" in log(tmp_path)[3]  # no step is left to a discriminator that learns nothing
    torch.manual_seed(CONFIG.seed + 1)
    fresh = AdversarialPhase(
        generator := Generator(SMALL), Average(generator, 0.9), CONFIG, GAN, None, half=False
    ).discriminator
    assert load_state(tmp_path)["discriminator"].keys() == fresh.state_dict().keys()
    assert not load_state(tmp_path)["optimiser_d"]["state"]


def test_each_phase_has_its_own_odds_of_the_orders():
    generator = replace(SMALL, solver="rk4", orders=(1, 2, 4))
    config = replace(CONFIG, generator=generator, order_odds=(1, 0, 0), gan=replace(GAN, order_odds=(0, 0, 1)))
    assert {loop._order(config, "pixel", step) for step in range(20)} == {1}
    assert {loop._order(config, "adversarial", step) for step in range(20)} == {4}
    same = replace(config, gan=GAN)
    assert {loop._order(same, "adversarial", step) for step in range(20)} == {1}
