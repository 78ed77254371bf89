"""A step recorded as a CUDA graph is the step itself; elsewhere it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.config import GanConfig, TrainConfig
from trainer.ema import Average
from trainer.phases import AdversarialPhase, PixelPhase

SMALL = GeneratorConfig(scale=2, blocks=2, channels=16, block="residual", solver="rk4", orders=(1, 2, 4), patch=16)
GAN = GanConfig(width=8, iterations=9, perceptual="none", warmup=2)
CONFIG = TrainConfig(generator=SMALL, batch=2, iterations=9, precision="fp32")


def phase_of(config: TrainConfig, gan: GanConfig | None, device: str) -> tuple[Any, Generator]:
    torch.manual_seed(0)
    generator = Generator(config.generator).to(device)
    average = Average(generator, config.ema)
    if gan is None:
        return PixelPhase(generator, average, config, half=False), generator
    return AdversarialPhase(generator, average, config, gan, None, half=False), generator


@pytest.mark.parametrize("gan", [None, GAN])
def test_without_cuda_it_is_refused(gan):
    with pytest.raises(BadOption, match="CUDA"):
        phase_of(replace(CONFIG, cuda_graph=True), gan, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("gan", [None, GAN])
def test_recorded_steps_lead_to_the_weights_of_plain_ones(gan):
    """Seven steps over both kinds of an adversarial phase, three orders, and one batch that is not finite."""
    random = torch.Generator().manual_seed(1)
    batches = [
        (torch.rand(2, 3, 16, 16, generator=random), torch.rand(2, 3, 32, 32, generator=random)) for _ in range(7)
    ]
    batches[4][0][:] = float("nan")
    ends = []
    for recorded in (False, True):
        phase, generator = phase_of(replace(CONFIG, cuda_graph=recorded), gan, "cuda")
        told = []
        for step, (lr, hr) in enumerate(batches):
            phase.set_rate(step, step / 9, 1.0)
            terms = phase.step(lr.cuda(), hr.cuda(), (1, 2, 4)[step % 3], step, step + 1)
            told.append(None if terms is None else {name: term.item() for name, term in terms.items()})
        ends.append((told, {name: tensor.cpu() for name, tensor in generator.state_dict().items()}))
    (plain, weights), (graph, same) = ends
    assert plain[4] is None
    assert [terms is None for terms in plain] == [terms is None for terms in graph]
    # Warming up before a recording moves the spectral norm's estimates on, though no weight.
    close = 1e-3 if gan is None else 5e-2
    for one, other in zip(plain, graph, strict=True):
        assert one is None or other is not None
        if one is not None and other is not None:
            assert other == pytest.approx(one, rel=close, abs=1e-3 * close)
    for name, tensor in weights.items():
        torch.testing.assert_close(same[name], tensor, rtol=close, atol=0.1 * close)
