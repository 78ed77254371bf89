"""LPIPS v0.1 (Zhang et al., CVPR 2018): perceptual distance of two images, by AlexNet or SqueezeNet 1.1."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dagan_cli.errors import BadModel
from dagan_cli.model.tensors import fill, read_weights

Net = Literal["alex", "squeeze"]
HINT = "give the path of lpips_alex.safetensors or lpips_squeeze.safetensors"
TAPS = {"alex": (1, 4, 7, 9, 11), "squeeze": (1, 4, 7, 9, 10, 11, 12)}  # indices in `features`
WIDTHS = {"alex": (64, 192, 384, 256, 256), "squeeze": (64, 128, 256, 384, 384, 512, 512)}


class Lpips(nn.Module):
    """Two RGB batches (N, 3, H, W) in [0, 1] -> distance (N,), 0 if identical; frozen, in fp32 despite autocast.

    Sides must have at least 31 pixels. The constructor sets random weights; `Lpips.load` reads the published ones.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        self.features = nn.Sequential(*(_alex() if net == "alex" else _squeeze()))
        self.lin = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in WIDTHS[net])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: Path) -> Lpips:
        """Load a file. Its tensors, `features.*` as in torchvision and `lin{i}.model.1.weight`, determine the network.

        Raises BadModel for a missing, damaged or foreign file.
        """
        tensors = read_weights(path, HINT)
        if not {"features.0.weight", "lin0.model.1.weight"} <= tensors.keys():
            raise BadModel(f"{path} is not an LPIPS file", hint=HINT)
        lpips = cls("squeeze" if "features.12.squeeze.weight" in tensors else "alex")
        fill(lpips.features, tensors, path, HINT, prefix="features.")
        for i, lin in enumerate(lpips.lin):
            fill(lin, tensors, path, HINT, prefix=f"lin{i}.model.1.")
        return lpips

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        with torch.autocast(a.device.type, enabled=False):
            total = torch.zeros(len(a), device=a.device, dtype=self.shift.dtype)
            for lin, x, y in zip(self.lin, self._directions(a), self._directions(b), strict=True):
                total = total + lin((x - y).square()).mean(dim=(1, 2, 3))
            return total

    def _directions(self, pictures: Tensor) -> list[Tensor]:
        """Return the features of each tap, normalised to length 1 at every position."""
        x = (2 * pictures.to(self.shift.dtype) - 1 - self.shift) / self.scale
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in TAPS[self.net]:
                # vector_norm, unlike the root of a sum, has a gradient where all channels are zero
                found.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return found


class _Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 side by side (Iandola et al., 2016)."""

    def __init__(self, width: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


def _alex() -> list[nn.Module]:
    return [
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


def _squeeze() -> list[nn.Module]:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return [
        *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool),
        *(_Fire(64, 16, 64), _Fire(128, 16, 64), pool),
        *(_Fire(128, 32, 128), _Fire(256, 32, 128), pool),
        *(_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)),
    ]
