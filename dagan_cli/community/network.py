"""A community model as a network of the engine."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.community.library import INSTALL, import_spandrel, is_installed
from dagan_cli.community.weights_file import OTHER, read_tensors
from dagan_cli.errors import BadModel

_ODD = (45, 58)  # sides of an image for which networks with windows compute their masks anew


@dataclass(frozen=True, slots=True)
class Sides:
    """What sides an image must have, in pixels."""

    minimum: int = 1
    multiple: int = 1
    square: bool = False

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest sides that are allowed and at least as long as these."""
        h, w = (-(-max(self.minimum, side) // self.multiple) * self.multiple for side in (height, width))
        return (max(h, w), max(h, w)) if self.square else (h, w)


class Community(nn.Module):
    """A network of another program: (N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w), not clamped.

    A network for grey images runs on red, green and blue by themselves; one for RGBA gets an opaque image. Images are
    computed one by one, as spandrel promises no more, and extended by reflection to the sides that the network needs.
    """

    receptive_field = None  # unknown: the engine measures it
    is_measured = True
    mirrors = True  # the engine extends images as spandrel does
    compiles = True  # OpenVINO can run it, if it can be exported

    def __init__(self, descriptor: Any, identity: str | None = None) -> None:
        """Wrap an ImageModelDescriptor of spandrel with 1, 3 or 4 channels, as many in as out.

        identity: the name of its weights and of the code that runs them; what is measured is remembered under it.
        """
        super().__init__()
        needs = descriptor.size_requirements
        self.identity = identity
        self.model: nn.Module = descriptor.model.eval().requires_grad_(False)
        self.scale: int = descriptor.scale
        self.architecture: str = descriptor.architecture.name
        self.tags = tuple(map(str, descriptor.tags))
        self.channels: int = descriptor.input_channels
        self.sides = Sides(max(1, needs.minimum), needs.multiple_of, needs.square)
        self.multiple = self.sides.multiple
        self.smallest = self.sides.minimum
        self._claims = {torch.float16: descriptor.supports_half, torch.bfloat16: descriptor.supports_bfloat16}
        self._call = descriptor._call_fn  # a call of the descriptor itself would clamp, and hide what is not finite

    @cached_property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """The types that it computes in: spandrel says so, and it is true (not of SwinIR and ATD in bf16)."""
        return (torch.float32, *(dtype for dtype, claimed in self._claims.items() if claimed and self._runs_in(dtype)))

    def _runs_in(self, dtype: torch.dtype) -> bool:
        """True if no operation of a forward pass mixes the type with another; found out by tensors without values."""
        memo: dict[int, Any] = {}
        for each in (*self.model.parameters(), *self.model.buffers()):
            empty = torch.empty_like(each, device="meta", dtype=dtype if each.is_floating_point() else None)
            memo[id(each)] = nn.Parameter(empty, requires_grad=False) if isinstance(each, nn.Parameter) else empty
        try:
            with torch.no_grad():
                deepcopy(self, memo)(torch.empty(1, 3, *_ODD, dtype=dtype, device="meta"))
        except Exception:  # fp32 always works
            return False
        return True

    def facts(self) -> dict[str, Any]:
        """Return what is known of the network, for people and for JSON."""
        return {
            "architecture": self.architecture,
            "tags": list(self.tags),
            "scale": self.scale,
            "channels": self.channels,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "precisions": [str(dtype).removeprefix("torch.") for dtype in self.dtypes],
            "sides": asdict(self.sides),
        }

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Like `nn.Module.to`, in the usual order of memory: some networks take views that need it."""
        kwargs.pop("memory_format", None)
        return super().to(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if self.channels == 1:
            x = x.reshape(3 * n, 1, h, w)
        elif self.channels == 4:
            x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        x = mirrored(x, *self.sides.of(h, w)).clone(memory_format=torch.contiguous_format)  # some change their input
        big = [self._call(self.model, one[None])[..., : h * self.scale, : w * self.scale] for one in x]
        y = big[0] if len(big) == 1 else torch.cat(big)
        if y.shape != (len(x), self.channels, h * self.scale, w * self.scale):
            raise BadModel(
                f"the model, {self.architecture}, turned {w}x{h} px into {tuple(y.shape)}",
                hint="use another --tile, or another model",
            )
        return y.reshape(n, 3, *y.shape[2:]) if self.channels == 1 else y[:, :3]


def mirrored(x: Tensor, height: int, width: int) -> Tensor:
    """Extend (N, C, h, w) below and to the right by reflection; what that does not reach repeats its end."""
    h, w = x.shape[-2:]
    down, right = min(height - h, h - 1), min(width - w, w - 1)
    x = F.pad(x, (0, right, 0, down), "reflect") if down or right else x
    return F.pad(x, (0, width - w - right, 0, height - h - down), "replicate") if (height, width) != x.shape[-2:] else x


def load_community(path: Path) -> tuple[Community, str]:
    """Return the network of a file, in fp32 on the CPU, and the file's sha256.

    No code of the file is run. Raises BadModel for a file that cannot be read, an unknown architecture, and a network
    that is not for one image in and one image out; and if spandrel is not installed.
    """
    if not is_installed():
        what = f"{path} is not a dagan model; those of other programs need spandrel"
        raise BadModel(what, hint=f"{INSTALL}; or, for files that it can read, dagan models convert {path}")
    spandrel = import_spandrel()
    tensors, digest = read_tensors(path, spandrel.canonicalize_state_dict)
    tensors = {name: each.float() if each.is_floating_point() else each for name, each in tensors.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about the code of the networks
            found = spandrel.ModelLoader().load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError as error:
        first = min(tensors)[:60]
        what = f"{path} holds weights of a network that spandrel {spandrel.__version__} does not know ({first!r}, ...)"
        raise BadModel(what, hint=OTHER) from error
    except Exception as error:  # the shapes in a damaged or foreign file can raise anything
        what = f"{path} does not fit the network that it resembles ({type(error).__name__})"
        raise BadModel(what, hint="download it again, or use another model") from error
    ways = found.input_channels, found.output_channels
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.purpose == "FaceSR":
        kind = "cut-out faces" if found.purpose == "FaceSR" else "an image with a mask"
        raise BadModel(f"{path} is for {kind} ({found.architecture.name})", hint="use a model that takes a whole image")
    if ways not in ((1, 1), (3, 3), (4, 4)):
        raise BadModel(
            f"{path} ({found.architecture.name}) takes {ways[0]} channels and returns {ways[1]}",
            hint="use a model for RGB or grey images",
        )
    return Community(found, f"{digest}, spandrel {spandrel.__version__}"), digest
