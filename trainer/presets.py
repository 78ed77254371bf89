"""Complete runs by name; each flag of the command line replaces one value."""

from __future__ import annotations

from dataclasses import replace

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig
from trainer.config import TrainConfig


def _light(scale: int) -> GeneratorConfig:
    """Small enough for two CPU cores, in training and in use: the network of the embedded weights."""
    return GeneratorConfig(
        scale=scale,
        blocks=16,
        channels=32,
        block="residual",
        attention="spatial-channel",
        pairwise="embedded",
        temperature=4.0,  # the square root of the 16 channels compared
        window=16,
        pool=4,
        reduction=8,
        solver="rk4",
        orders=(1, 2, 4),
        upsampler="direct",
        image_skip=True,
        identity_start=True,
        patch=32,
    )


def _smoke() -> GeneratorConfig:
    return replace(_light(2), blocks=2, channels=16, patch=16)


PRESETS: dict[str, TrainConfig] = {
    "psnr-x4": TrainConfig(generator=_light(4), budget=10_800.0, order_odds=(0.86, 0.07, 0.07)),
    "psnr-x2": TrainConfig(generator=_light(2), budget=10_800.0, order_odds=(0.86, 0.07, 0.07)),
    "paper-x4": TrainConfig(generator=GeneratorConfig(scale=4), iterations=300_000, lr=1e-4),
    "paper-x2": TrainConfig(generator=GeneratorConfig(scale=2), iterations=300_000, lr=1e-4),
    "smoke": TrainConfig(generator=_smoke(), iterations=20, batch=2, warmup=2, validate_every=10),
}


def preset(name: str) -> TrainConfig:
    """Raises BadOption, naming the presets, for a name that is none."""
    if name not in PRESETS:
        raise BadOption(f"no preset {name!r}", hint=f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
