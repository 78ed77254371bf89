"""Upscale images and video with a dual-attention Runge-Kutta generator.

>>> from dagan_cli import Upscaler
>>> upscaler = Upscaler.load("dagan-x4-psnr")
>>> big = upscaler(frames)  # (N, 3, H, W) in [0, 1] -> (N, 3, 4H, 4W)

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
