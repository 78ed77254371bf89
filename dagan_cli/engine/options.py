"""Options of the engine, and the interface that it needs of a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dagan_cli.engine.tiles import SMALLEST, Tiling
from dagan_cli.errors import BadOption

if TYPE_CHECKING:  # options are checked without PyTorch
    from torch import Tensor


class Network(Protocol):
    """A torch.nn.Module (N, 3, h, w) -> (N, 3, scale*h, scale*w).

    It may also have `multiple` (sides must be multiples of it) and `grid` (tiles must start at multiples of it); both
    default to 1, and `context`, the side of the least area to pool over; None, the default: it pools nowhere. Networks
    of other programs also have `is_measured` (True: the receptive field and the grid are found by trying, and there are
    tiles only where memory requires them), `mirrors` (True: images are extended by reflection, not by repeating edge
    pixels), `smallest` (side of the smallest tile), `dtypes` (those that it can compute in) and `identity` (of its
    weights and code: what was measured is remembered under it). `footprint`, of dagan's own, is a method that returns
    what a tile costs on a device in a type. With `compiles` set, OpenVINO can run it too.
    """

    @property
    def scale(self) -> int: ...
    @property
    def receptive_field(self) -> int | None:
        """Receptive field of one output pixel to each side, in input pixels; None = the whole input."""
        ...

    def __call__(self, x: Tensor, /) -> Tensor: ...
    def parameters(self) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, *args: Any, **kwargs: Any) -> Any: ...


class Runtime(Protocol):
    """Executes a network on tiles."""

    name: str  # torch or openvino
    layout: Any  # memory format of the tiles

    def input_dtype(self, dtype: Any, /) -> Any:
        """Return the type of the tiles to pass, for a network that computes in `dtype`."""
        ...

    def run(self, x: Tensor, /) -> Tensor:
        """(B, 3, h, w) -> (B, 3, scale*h, scale*w), new, on the device of x."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options for running a network. Raises BadOption for invalid values."""

    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps, or openvino: and one of OpenVINO's devices
    runtime: str = "auto"  # auto, torch or openvino: what executes the network
    precision: str = "auto"  # auto, fp16, bf16 or fp32
    tile: int | Literal["auto", "off"] = "auto"  # longest side of a tile, in input pixels
    overlap: int | None = None  # rim of a tile, in input pixels; None = what the network needs, or 16 to 32
    batch: int | Literal["auto"] = "auto"  # tiles computed at once
    ensemble: bool = False  # mean over the eight flips and rotations of every tile
    memory: int | None = None  # bytes on the device to plan with; None = the free memory
    result_memory: int | None = None  # bytes; larger results are mapped files; None = half of the free host memory
    on_device: int = 1  # processes that compute on the device: each plans with its share of the memory
    on_machine: int = 1  # the same for the memory of the machine
    folder: Path | None = None  # for mapped files, unnamed and freed with the result; None = the system's

    def __post_init__(self) -> None:
        if self.tile not in ("auto", "off") and not _whole(self.tile, SMALLEST):
            raise BadOption(f"--tile {self.tile} is too small", hint=f"use auto, off, or {SMALLEST} px or more")
        if self.overlap is not None and not _whole(self.overlap, 0):
            raise BadOption(f"--overlap {self.overlap} is out of range", hint="use a whole number from 0 up")
        if self.batch != "auto" and not _whole(self.batch, 1):
            raise BadOption(f"--batch {self.batch} is out of range", hint="use auto, or a whole number from 1 up")
        for name in ("memory", "result_memory"):
            if getattr(self, name) is not None and not _whole(getattr(self, name), 0):
                raise BadOption(
                    f"{name} = {getattr(self, name)} bytes is out of range", hint="use a whole number from 0 up"
                )
        for name in ("on_device", "on_machine"):
            if not _whole(getattr(self, name), 1):
                raise BadOption(f"{name} = {getattr(self, name)} is out of range", hint="use a whole number from 1 up")
        if isinstance(self.tile, int) and self.overlap is not None:
            Tiling(size=self.tile, halo=self.overlap)


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least
