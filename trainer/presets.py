"""Complete runs by name; each flag of the command line replaces one value."""

from __future__ import annotations

from dataclasses import replace

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig
from trainer.config import GanConfig, TrainConfig


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


def _tiny() -> GeneratorConfig:
    return replace(_light(4), blocks=4, channels=16, reduction=4, window=8, pool=2, patch=24)


_PARITY = GanConfig(  # SRGAN as its common PyTorch port trains it, which the paper's curves come from
    discriminator="leftthomas",
    loss="sigmoid",
    iterations=26_100,  # 100 epochs of VOC2012 at batch 64
    lr=1e-3,
    lr_discriminator=1e-3,
    halve_at=(),
    warmup=0,
    pixel="mse",
    pixel_weight=1.0,
    adversarial_weight=1e-3,
    perceptual="vgg16",
    perceptual_weight=6e-3,
    tv_weight=2e-8,
)
_REAL = GanConfig(  # Real-ESRGAN's weights of the terms
    budget=10_800.0, pixel_weight=1.0, perceptual_weight=1.0, adversarial_weight=0.1, colour_weight=1.0
)


def _paper(scale: int) -> TrainConfig:
    """Crops of 88 pixels in batches of 64, adversarial from the first step; the generator is the paper's."""
    generator = GeneratorConfig(scale=scale, patch=88 // scale)
    return TrainConfig(generator=generator, batch=64, augment=False, iterations=0, gan=_PARITY)


PRESETS: dict[str, TrainConfig] = {
    "psnr-x4": TrainConfig(generator=_light(4), budget=10_800.0, order_odds=(0.86, 0.07, 0.07)),
    "psnr-x2": TrainConfig(generator=_light(2), budget=10_800.0, order_odds=(0.86, 0.07, 0.07)),
    "gan-x4": TrainConfig(
        generator=_light(4), budget=10_800.0, order_odds=(0.86, 0.07, 0.07), gan=GanConfig(budget=3_000.0)
    ),
    "gan-x2": TrainConfig(
        generator=_light(2), budget=10_800.0, order_odds=(0.86, 0.07, 0.07), gan=GanConfig(budget=3_000.0)
    ),
    "real-x4": TrainConfig(
        generator=_light(4), budget=10_800.0, order_odds=(0.86, 0.07, 0.07), degradation="medium", gan=_REAL
    ),
    "real-x2": TrainConfig(
        generator=_light(2), budget=10_800.0, order_odds=(0.86, 0.07, 0.07), degradation="medium", gan=_REAL
    ),
    "paper-x4": _paper(4),
    "paper-x2": _paper(2),
    "tiny": TrainConfig(
        generator=_tiny(),
        batch=8,
        iterations=600,
        validate_every=200,
        gan=GanConfig(width=16, iterations=300, warmup=50),
    ),
    "smoke": TrainConfig(generator=_smoke(), iterations=20, batch=2, warmup=2, validate_every=10),
}


def preset(name: str) -> TrainConfig:
    """Raises BadOption, naming the presets, for a name that is none."""
    if name not in PRESETS:
        raise BadOption(f"no preset {name!r}", hint=f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
