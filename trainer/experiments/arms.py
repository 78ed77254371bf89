"""Name of an arm -> its training configuration. All arms of a seed get the same batches in the same order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.tensors import read_weights
from trainer.baselines import names
from trainer.config import Backbone, GanConfig, TrainConfig
from trainer.experiments.table import ATTENTION, BLOCKS, SOLVER, VARIANT, Protocol, Size
from trainer.presets import PARITY


@dataclass(frozen=True, slots=True)
class Perceptual:
    """Network, weights and layers of the perceptual term."""

    backbone: Backbone
    path: Path | None
    weight: float
    layers: dict[str, float]
    label: str  # description for reports


VGG16 = Perceptual("vgg16", None, 6e-3, {}, "VGG16 up to pool5, as in the paper's baseline")
# The encoder's features are larger than VGG16's pool5: with this weight, their term is about as large.
DISTILLED = Perceptual(
    "vgg19-distilled",
    None,
    1e-3,
    {"relu5_1": 1.0},
    "a 16 times smaller encoder distilled from VGG19, relu5_1, L1, weight 1e-3: not the paper's VGG16",
)
NO_PERCEPTUAL = Perceptual("none", None, 0.0, {}, "none, as no weights were given")


def perceptual_of(path: Path | None) -> Perceptual:
    """Identify a weights file by its tensor names; without a file, use VGG16 from torch's cache, if any."""
    if path is None:
        cached = sorted(Path(torch.hub.get_dir(), "checkpoints").glob("vgg16-*.pth"))
        return replace(VGG16, path=cached[0]) if cached else NO_PERCEPTUAL
    distilled = "conv11.weight" in read_weights(path, "give weights of VGG16 or of the distilled encoder")
    return replace(DISTILLED if distilled else VGG16, path=path)


def generator_of(arm: str, size: Size, scale: int) -> GeneratorConfig:
    """Return the generator of an arm; for a baseline, only its scale and patch are used."""
    base: dict[str, Any] = {"scale": scale, "patch": size.crop // scale, **size.generator}
    if arm in names():
        return GeneratorConfig(**base)
    attention, solver, variant = [*arm.split("-"), ""][:3]
    changes = {"attention": ATTENTION[attention], **SOLVER[solver], **VARIANT[variant]}
    if variant == "temperature":
        changes["temperature"] = sqrt(size.generator["channels"])
    if variant in ("matched", "costly"):
        changes |= {"matched": size.matched, "costly": size.costly}[variant][scale]
    if variant in BLOCKS:
        changes["blocks"] = int(BLOCKS[variant] * size.generator["blocks"])
    return GeneratorConfig(**base | changes)


def config_of(
    arm: str, size: Size, scale: int, protocol: Protocol, *, seed: int, iterations: int, perceptual: Perceptual
) -> TrainConfig:
    """Return the configuration. gan: the paper's baseline protocol, from scratch; pixel: only L1, as for RCAN."""
    _, _, variant = [*arm.split("-"), "", ""][:3]
    rate = float(variant.removeprefix("lr")) if variant.startswith("lr") else 1e-3
    common: dict[str, Any] = {
        "generator": generator_of(arm, size, scale),
        "baseline": arm if arm in names() else None,
        "batch": size.batch,
        "augment": False,
        "seed": seed,
        "precision": size.precision,
        "validate_every": max(1, iterations // size.intervals),
        "validate_side": size.validate_side,
        "keep": 1,
    }
    if protocol == "pixel":
        common |= {"lr": 1e-4, "beta2": 0.999, "warmup": 0, "schedule": "constant", "clip": 1e6}
        return TrainConfig(**common, iterations=iterations)
    gan: GanConfig = replace(
        PARITY,
        width=size.discriminator,
        lr=rate,
        lr_discriminator=rate,
        iterations=iterations,
        perceptual=perceptual.backbone,
        perceptual_weight=perceptual.weight,
        layers=perceptual.layers,
    )
    return TrainConfig(**common, sampling="uniform", kernel="pil", iterations=0, gan=gan)


def multiply_adds(network: nn.Module, patch: int) -> int:
    """Count multiply-adds of a forward pass on patch x patch pixels in convolutions, matrix products and attention."""
    device = next(network.parameters()).device
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, patch, patch, device=device))
    return counter.get_total_flops() // 2
