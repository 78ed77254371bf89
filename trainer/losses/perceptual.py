"""Perceptual losses: distances of features of VGG16, VGG19 or a small encoder distilled from VGG19.

The user provides the weights: the file given with `--vgg-weights`, or the one in torchvision's cache. Without weights
an error is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import file_digest
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.files import open_regular
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.tensors import fill, read_weights
from trainer.config import GanConfig
from trainer.losses.terms import full

Net = Literal["vgg19", "vgg16", "vgg19-distilled"]
HINT = "give {net} weights, .safetensors or torchvision's .pth, with --vgg-weights"


USUAL_LAYERS = {  # as in SRGAN and ESRGAN, in the paper's baseline, and for the distilled encoder
    "vgg19": {"conv5_4": 1.0},
    "vgg16": {"pool5": 1.0},
    "vgg19-distilled": {"conv3_4": 1.0},
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """Architecture: blocks of 3x3 convolutions with ReLU, with pooling after each block."""

    convs: tuple[int, ...]  # number in each block
    widths: tuple[int, ...]  # channels of each block
    distilled: bool = False  # own input layer and tensor names, mirrored edges, no pooling at the end

    @property
    def layers(self) -> tuple[str, ...]:
        """Names in order; the index of a VGG's layer is its number in torchvision's `features`."""
        names = []
        for block, count in enumerate(self.convs, start=1):
            for i in range(1, count + 1):
                names += [f"conv{block}_{i}", f"relu{block}_{i}"]
            names.append(f"pool{block}")
        return tuple(names[:-1]) if self.distilled else tuple(names)


_SHAPES: dict[Net, _Shape] = {
    "vgg19": _Shape((2, 2, 4, 4, 4), (64, 128, 256, 512, 512)),
    "vgg16": _Shape((2, 2, 3, 3, 3), (64, 128, 256, 512, 512)),
    "vgg19-distilled": _Shape((2, 2, 4, 4, 1), (16, 32, 64, 128, 128), distilled=True),
}
LAYERS: dict[Net, tuple[str, ...]] = {net: shape.layers for net, shape in _SHAPES.items()}


class Features(nn.Module):
    """Frozen network that returns activations by layer: RGB (N, 3, H, W) in [0, 1] -> {"conv5_4": (N, C, h, w), ...}.

    "conv" is before the ReLU, "relu" after it. The network ends at the deepest requested layer and has random weights;
    `load_features` loads trained ones. normalise: subtract ImageNet's mean and divide by its deviation, as in the
    training of the VGGs; the distilled encoder does so itself. Raises BadOption for an unknown layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: Net, layers: Iterable[str], *, normalise: bool = True) -> None:
        super().__init__()
        self.net, self.wanted, self.source = net, frozenset(layers), f"{net}, random"
        names = LAYERS[net]
        for name in sorted(self.wanted - set(names)):
            near = get_close_matches(name, names, 1, 0)[0]
            raise BadOption(f"{net} has no layer {name!r}", hint=f"did you mean {near}?")
        if not self.wanted:
            raise BadOption(f"gan.layers names no layer of {net}", hint="name at least one, such as relu4_1")
        shape = _SHAPES[net]
        plain = shape.distilled or not normalise
        self.register_buffer("mean", _rgb(0, 0, 0) if plain else _rgb(0.485, 0.456, 0.406), persistent=False)
        self.register_buffer("deviation", _rgb(1, 1, 1) if plain else _rgb(0.229, 0.224, 0.225), persistent=False)
        self.layers = nn.ModuleDict({"conv0": nn.Conv2d(3, 3, 1)} if shape.distilled else {})
        width = 3
        for name in names[: max(map(names.index, self.wanted)) + 1]:
            kind, block = name[:4], int(name[4])
            if kind == "conv":
                out = shape.widths[block - 1]
                mode = "reflect" if shape.distilled else "zeros"
                self.layers[name] = nn.Conv2d(width, out, 3, padding=1, padding_mode=mode)
                width = out
            else:
                self.layers[name] = nn.ReLU() if kind == "relu" else nn.MaxPool2d(2)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = (full(images) - self.mean) / self.deviation
        found = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in self.wanted:
                found[name] = x
        return found


class PerceptualLoss(nn.Module):
    """Weighted distances of features: fake and real (N, 3, H, W) in [0, 1] -> scalar in fp32.

    weights: weight by layer; `features` must return these layers. SRGAN and ESRGAN: {"conv5_4": 1.0}.
    """

    def __init__(self, features: Features, weights: Mapping[str, float], distance: Literal["l1", "mse"] = "l1") -> None:
        super().__init__()
        self.features, self.weights = features, dict(weights)
        self.distance = {"l1": F.l1_loss, "mse": F.mse_loss}[distance]

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(real)
        found = self.features(fake)
        terms = [w * self.distance(full(found[name]), full(wanted[name])) for name, w in self.weights.items()]
        return torch.stack(terms).sum()


def load_features(net: Net, layers: Iterable[str], path: Path | None = None, *, normalise: bool = True) -> Features:
    """Load features with the weights of a file, or without a path from torchvision's file in torch's cache.

    The file is .safetensors or a .pth state dict with torchvision's names (`features.N.weight`), or for the distilled
    encoder its own (`conv11.weight`); weights after the deepest layer may be missing. `source` identifies the file in
    logs. Raises BadModel for a missing, damaged or foreign file, BadOption for an unknown layer.
    """
    features = Features(net, layers, normalise=normalise)
    hint = HINT.format(net=net)
    if path is None:
        folder = Path(torch.hub.get_dir(), "checkpoints")
        cached = sorted(folder.glob(f"{net}-*.pth"))
        if not cached:
            raise BadModel(f"no {net} weights for the perceptual loss: none given, none in {folder}", hint=hint)
        path = cached[0]
    tensors = read_weights(path, hint)
    names = LAYERS[net]
    for layer, module in features.layers.items():
        if isinstance(module, nn.Conv2d):
            key = layer.replace("_", "") if net == "vgg19-distilled" else f"features.{names.index(layer)}"
            fill(module, tensors, path, hint, prefix=f"{key}.")
    with open_regular(path) as file:
        features.source = f"{net}, {path.name}, sha256 {file_digest(file, 'sha256').hexdigest()}"
    return features


def _rgb(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def perceptual_loss(
    gan: GanConfig | None, path: Path | None, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Create the perceptual term of an adversarial phase with the weights in `path`; None if it has no such term.

    (SR, HR), each (N, 3, H, W) in [0, 1] -> a scalar. Raises BadOption, BadModel.
    """
    if gan is None or gan.perceptual == "none" or not gan.perceptual_weight:
        return None
    if gan.perceptual == "lpips-squeeze":
        if path is None:
            raise BadOption("gan.perceptual = 'lpips-squeeze' needs weights", hint="give them with --vgg-weights")
        lpips = Lpips.load(path).to(device)
        return lambda fake, real: lpips(fake, real).mean()
    layers = gan.layers or USUAL_LAYERS[gan.perceptual]
    features = load_features(gan.perceptual, layers, path, normalise=gan.perceptual != "vgg16").to(device)
    return PerceptualLoss(features, layers, "mse" if gan.perceptual == "vgg16" else "l1")
