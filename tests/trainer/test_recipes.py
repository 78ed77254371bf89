"""The recipes of the baselines train as a plain loop does that is written from the papers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.support.training import run
from trainer.config import TrainConfig
from trainer.data.samples import load_pictures, sample_batch
from trainer.ema import Average
from trainer.networks import new_network
from trainer.phases import PixelPhase
from trainer.presets import preset
from trainer.state import load_state

STEPS = 50


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        small = np.random.default_rng(i).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(small).resize((72, 72), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def short(name: str, patch: int = 8, **changes: Any) -> TrainConfig:
    """The preset with small crops and batches, and as many steps as the loop takes."""
    config = preset(name)
    generator = replace(config.generator, patch=patch)
    return replace(config, generator=generator, batch=2, iterations=STEPS, precision="fp32", seed=3, **changes)


def batch(config: TrainConfig, folder: Path, step: int) -> tuple[Tensor, Tensor]:
    found = load_pictures([folder], 32)
    given = {"scale": 2, "patch": config.generator.patch, "batch": 2, "augment": config.augment, "seed": config.seed}
    lr, hr = sample_batch(found, step=step, **given)  # type: ignore[arg-type]
    return lr.to(memory_format=torch.channels_last), hr.to(memory_format=torch.channels_last)


def trained(config: TrainConfig, folder: Path, target: Path) -> dict[str, Tensor]:
    run(config, folder, target)
    return load_state(target)["generator"]


def start(config: TrainConfig) -> nn.Module:
    torch.manual_seed(config.seed)
    return new_network(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def assert_equal(found: dict[str, Tensor], network: nn.Module) -> None:
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vdsr-x2", "srcnn-915-x2"])
def test_sgd_with_its_limits_is_that_of_the_papers(name, pictures, tmp_path):
    """Momentum 0.9; VDSR: decay of the weights, each gradient within limit / rate, a tenth of the rate in steps.

    SRCNN: the last layer learns at a tenth of the rate.
    """
    is_vdsr = name == "vdsr-x2"
    drops = ((20, 0.1), (40, 0.1)) if is_vdsr else ()
    # A rate and a limit at which training is stable, and rounding does not grow, within these steps.
    limit = 1e-5 if is_vdsr else None
    config = short(name, drops=drops, lr=1e-5, clip_value=limit)
    network, clipped = start(config), 0
    last = list(network.parameters())[-2:]  # weight and bias
    speed = [torch.zeros_like(p) for p in network.parameters()]
    for step in range(STEPS):
        rate = 1e-5 * 0.1 ** sum(step >= at for at, _ in drops)
        lr, hr = batch(config, pictures, step)
        network.zero_grad()
        fake = network(lr, None)
        (0.5 * (fake - hr).square().sum() / len(fake)).backward()
        with torch.no_grad():
            for v, p in zip(speed, network.parameters(), strict=True):
                assert p.grad is not None
                g, share = p.grad, 1.0
                if limit is not None:
                    clipped += int((g.abs() > limit / rate).sum())
                    g = g.clamp(-limit / rate, limit / rate).add(p, alpha=1e-4)
                elif any(p is own for own in last):
                    share = 0.1
                v.mul_(0.9).add_(g)
                p.add_(v, alpha=-share * rate)
    found = trained(config, pictures, tmp_path)
    assert_equal(found, network)
    assert (clipped > 100) == is_vdsr
    assert any((found[own] - value).abs().max() > 1e-4 for own, value in start(config).state_dict().items())


@pytest.mark.slow
def test_rdn_halves_its_rate_and_uses_adam_as_it_comes(pictures, tmp_path):
    assert preset("rdn-x2").drops == tuple((step, 0.5) for step in (200_000, 400_000, 600_000, 800_000))
    config = short("rdn-x2", patch=4, baseline="rdn-a", drops=((15, 0.5), (30, 0.5)))
    network = start(config)
    adam = torch.optim.Adam(network.parameters(), lr=1e-4)
    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = 1e-4 / (4 if step >= 30 else 2 if step >= 15 else 1)
        lr, hr = batch(config, pictures, step)
        adam.zero_grad()
        (network(lr, None) - hr).abs().mean().backward()
        adam.step()
    assert_equal(trained(config, pictures, tmp_path), network)


@pytest.mark.slow
def test_a_run_with_sgd_goes_on_to_the_bit(pictures, tmp_path):
    config = replace(short("vdsr-x2", lr=1e-3), iterations=6)
    run(config, pictures, tmp_path / "whole")
    run(config, pictures, tmp_path / "parts", 3)
    run(config, pictures, tmp_path / "parts")
    whole, parts = (load_state(tmp_path / name) for name in ("whole", "parts"))
    assert whole["optimiser"]["state"][0].keys() == {"momentum_buffer"}
    for name, value in whole["generator"].items():
        assert torch.equal(value, parts["generator"][name])


def test_a_warm_up_takes_a_tenth_of_a_phase_at_most_and_drops_multiply():
    config = short("rdn-x2", warmup=1000, drops=((20, 0.5), (30, 0.1)), schedule="constant")
    phase = PixelPhase(nn.Conv2d(3, 3, 1), Average(nn.Conv2d(3, 3, 1), 0.9), config, half=False)  # type: ignore[arg-type]
    rates = [phase.set_rate(step, step / STEPS, 1.0) / 1e-4 for step in range(STEPS)]
    assert rates[:6] == pytest.approx([1e-3, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[19:21] == pytest.approx([1.0, 0.5])
    assert rates[30:] == pytest.approx([0.05] * 20)


@pytest.mark.parametrize(("loss", "expected"), [("l1", 0.1 * 2**2), ("mse", 0.01 * 5**2)])
def test_the_border_of_a_crop_counts_as_much_as_is_asked_for(loss, expected):
    """Half of a line of 16 pixels is border: the mean of 1 and 3 is 2, that of their squares 5."""

    class Brighter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.tensor(0.1))

        def forward(self, x: Tensor, _: int | None) -> Tensor:
            return nn.functional.interpolate(x, scale_factor=2) + self.bias

    config = short("rdn-x2", loss=loss, border_weight=3.0)
    phase = PixelPhase(network := Brighter(), Average(network, 0.9), config, half=False)  # type: ignore[arg-type]
    terms = phase.step(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 16, 16), None, 0, 1)
    assert terms is not None
    assert terms["loss"].item() == pytest.approx(expected)
