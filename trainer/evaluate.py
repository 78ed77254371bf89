"""How good the weights are: PSNR-Y on a held-out folder, by the protocol of the papers."""

from __future__ import annotations

import torch
from torch import Tensor

from dagan_cli.model.generator import Generator
from dagan_cli.protocol import psnr_y
from trainer.lpips import Lpips


@torch.inference_mode()
def distance(judge: Lpips, generator: Generator, pairs: list[tuple[Tensor, Tensor]], order: int | None = None) -> float:
    """Mean LPIPS over (LR, HR) pairs in [0, 255], of results rounded to 8 bit; lower is better."""
    device = next(generator.parameters()).device
    scores = []
    for lr, hr in pairs:
        sr = generator((lr / 255).to(device, memory_format=torch.channels_last), order)
        sr = sr.float().mul(255).round().clamp(0, 255) / 255
        scores.append(judge(sr, hr.to(device) / 255).item())
    return sum(scores) / len(scores)


@torch.inference_mode()
def validate(generator: Generator, pairs: list[tuple[Tensor, Tensor]], order: int | None = None) -> float:
    """Mean PSNR-Y in dB over (LR, HR) pairs in [0, 255], on the device and in the type of the weights."""
    device = next(generator.parameters()).device
    scores = []
    for lr, hr in pairs:
        sr = generator((lr / 255).to(device, memory_format=torch.channels_last), order)
        sr = sr.float().mul(255).round().clamp(0, 255).cpu()
        scores.append(psnr_y(sr, hr, generator.scale))
    return sum(scores) / len(scores)
