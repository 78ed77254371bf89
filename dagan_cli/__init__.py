"""Upscale images and video with a dual-attention Runge-Kutta generator.

>>> from dagan_cli import Upscaler
>>> from PIL import Image
>>> upscaler = Upscaler.load("dagan-x4-psnr")
>>> upscaler(Image.new("RGB", (9, 8)))  # or an array (H, W, 3), or a tensor (3, H, W) or (N, 3, H, W) in [0, 1]
<PIL.Image.Image image mode=RGB size=36x32 at ...>

Importing this package imports nothing heavy: `--help` must not wait for torch. It is imported before torch, so it is
the place to set how torch's threads wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagan_cli.version import __version__
from dagan_cli.waiting import wait_briefly

if TYPE_CHECKING:
    from dagan_cli.upscaler import Upscaler as Upscaler

wait_briefly()

__all__ = ["Upscaler", "__version__"]


def __getattr__(name: str):
    if name == "Upscaler":
        from dagan_cli.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
