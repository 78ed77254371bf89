"""Named training configurations; each command-line flag replaces one value.

Presets such as `edsr-baseline-x2` train a baseline as its authors did; `Recipe` states where they differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig
from trainer.config import GanConfig, Loss, TrainConfig


def _light(scale: int) -> GeneratorConfig:
    """Return the network of the embedded weights, small enough to train and use on two CPU cores."""
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


def _wide(scale: int) -> GeneratorConfig:
    """Return a network with fewer, wider blocks than `_light`, two of them with attention."""
    return replace(_light(scale), blocks=10, channels=48, attended=(5, 10), patch=48)


def _fast(scale: int) -> GeneratorConfig:
    """Return a network for videos on a CPU; it takes about a quarter of the time of `_wide`."""
    return replace(_light(scale), blocks=6, channels=24, attended=(6,), patch=48)


def _smoke() -> GeneratorConfig:
    return replace(_light(2), blocks=2, channels=16, patch=16)


def _tiny() -> GeneratorConfig:
    return replace(_light(4), blocks=4, channels=16, reduction=4, window=8, pool=2, patch=24)


PARITY = GanConfig(  # SRGAN as in its common PyTorch port, the source of the paper's curves
    discriminator="leftthomas",
    loss="sigmoid",
    iterations=26_100,  # 100 epochs of VOC2012 at batch 64
    lr=1e-3,
    lr_discriminator=1e-3,
    beta2=0.999,  # PyTorch's default
    halve_at=(),
    warmup=0,
    pixel="mse",
    pixel_weight=1.0,
    adversarial_weight=1e-3,
    perceptual="vgg16",
    perceptual_weight=6e-3,
    tv_weight=2e-8,
    clip=1e6,  # no clipping
)
_REAL = GanConfig(  # weights of the loss terms as in Real-ESRGAN
    budget=10_800.0,
    pixel_weight=1.0,
    perceptual_weight=1.0,
    adversarial_weight=0.1,
    colour_weight=1.0,
    grid_weight=1.0,
)


def _paper(scale: int) -> TrainConfig:
    """Return the paper's run: crops of 88 pixels in batches of 64, adversarial from the first step."""
    generator = GeneratorConfig(scale=scale, patch=88 // scale)
    return TrainConfig(
        generator=generator, batch=64, augment=False, sampling="uniform", kernel="pil", iterations=0, gan=PARITY
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the authors of a baseline trained it; comments state what differs here."""

    loss: Loss
    lr: float
    sides: tuple[int, int, int]  # side of the HR patches at x2, x3 and x4
    batch: int
    iterations: int
    augment: bool = True
    gan: GanConfig | None = None
    drops: tuple[tuple[int, float], ...] = ()
    sgd: dict[str, float] = field(default_factory=dict)  # settings of SGD; {} = Adam


def _every(steps: int, end: int, factor: float) -> tuple[tuple[int, float], ...]:
    return tuple((step, factor) for step in range(steps, end, steps))


_EDSR = Recipe("l1", 1e-4, (96, 144, 192), 16, 300_000, drops=((200_000, 0.5),))  # x3 and x4 start from x2
RECIPES: dict[str, Recipe] = {
    # Caffe's rates belong to its loss, which is a sum over the pixels.
    "srcnn-915": Recipe("euclidean", 1e-4, (32, 33, 32), 16, 1_000_000, augment=False, sgd={"last_layer": 0.1}),
    # All scales together in the original, whose limit of the gradients is not published.
    "vdsr": Recipe(
        "euclidean",
        0.1,
        (42, 42, 44),
        64,
        100_000,
        drops=_every(25_000, 100_000, 0.1),
        sgd={"weight_decay": 1e-4, "clip_value": 1e-2},
    ),
    "srresnet": Recipe("mse", 1e-4, (96, 96, 96), 16, 1_000_000),
    "srgan-lt": Recipe("mse", 1e-3, (88, 87, 88), 64, 0, augment=False, gan=PARITY),
    "edsr-baseline": _EDSR,
    "mdsr-baseline": _EDSR,  # all scales together
    "rdn": Recipe("l1", 1e-4, (96, 96, 128), 16, 1_000_000, drops=_every(200_000, 1_000_000, 0.5)),
    "rcan": Recipe("l1", 1e-4, (96, 144, 192), 16, 1_000_000, drops=_every(200_000, 1_000_000, 0.5)),
    "oisr-rk2-s": replace(_EDSR, iterations=800_000, drops=_every(250_000, 800_000, 0.5)),  # 800 epochs of 1,000 steps
}


PRESETS: dict[str, TrainConfig] = {
    "psnr-x4": TrainConfig(generator=_light(4), budget=10_800.0, order_odds=(0.86, 0.07, 0.07)),
    "psnr-x2": TrainConfig(generator=_light(2), budget=10_800.0, order_odds=(0.86, 0.07, 0.07)),
    "gan-x4": TrainConfig(
        generator=_light(4),
        budget=10_800.0,
        order_odds=(0.86, 0.07, 0.07),
        gan=GanConfig(budget=3_000.0, grid_weight=1.0),
    ),
    "gan-x2": TrainConfig(
        generator=_light(2),
        budget=10_800.0,
        order_odds=(0.86, 0.07, 0.07),
        gan=GanConfig(budget=3_000.0, grid_weight=1.0),
    ),
    "real-x4": TrainConfig(
        generator=_light(4), budget=10_800.0, order_odds=(0.86, 0.07, 0.07), degradation="medium", gan=_REAL
    ),
    "real-x2": TrainConfig(
        generator=_light(2), budget=10_800.0, order_odds=(0.86, 0.07, 0.07), degradation="medium", gan=_REAL
    ),
    "wide-x4": TrainConfig(generator=_wide(4), budget=10_800.0, batch=4, order_odds=(0.86, 0.07, 0.07)),
    "wide-x2": TrainConfig(generator=_wide(2), budget=10_800.0, batch=4, order_odds=(0.86, 0.07, 0.07)),
    "fast-x4": TrainConfig(generator=_fast(4), budget=10_800.0, batch=4, order_odds=(0.86, 0.07, 0.07)),
    "fast-x2": TrainConfig(generator=_fast(2), budget=10_800.0, batch=4, order_odds=(0.86, 0.07, 0.07)),
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
    """Return the named configuration. Raises BadOption, listing the presets, for an unknown name."""
    network, _, scale = name.rpartition("-x")
    if network in RECIPES and scale in ("2", "3", "4"):
        return _original(network, int(scale))
    if name not in PRESETS:
        known = f"{', '.join(PRESETS)}, or srgan-lt-x2, rcan-x4 ..."
        raise BadOption(f"unknown preset {name!r}", hint=f"choose one of {known}")
    return PRESETS[name]


def _original(network: str, scale: int) -> TrainConfig:
    recipe = RECIPES[network]
    return TrainConfig(
        generator=GeneratorConfig(scale=scale, patch=recipe.sides[scale - 2] // scale),
        baseline=network,
        batch=recipe.batch,
        loss=recipe.loss,
        optimiser="sgd" if recipe.sgd else "adam",
        **recipe.sgd,  # type: ignore[arg-type]
        lr=recipe.lr,
        beta2=0.999,  # PyTorch's default
        drops=recipe.drops,
        warmup=0,
        schedule="constant",
        iterations=recipe.iterations,
        clip=1e6,  # no clipping
        augment=recipe.augment,
        sampling="uniform" if recipe.gan else "detailed",
        kernel="pil" if recipe.gan else "matlab",
        gan=recipe.gan,
    )
