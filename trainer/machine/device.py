"""The device of a training run, and its number format."""

from __future__ import annotations

import platform

import torch

from dagan_cli.device import cpu_has_fast_bf16
from trainer.config import TrainConfig


def use_bf16(config: TrainConfig, device: torch.device) -> bool:
    """True if a run uses bf16 autocast: as configured, or with "auto" if the hardware is fast at it."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return cpu_has_fast_bf16()


def hardware(device: torch.device | None = None) -> str:
    """Return the name of the device, for the provenance of a run."""
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {threads} thread{'s' * (threads > 1)}"
    return f"{name} ({platform.machine()})"
