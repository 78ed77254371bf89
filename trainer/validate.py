"""Scores of weights on held-out images: PSNR by the protocol of the papers, and LPIPS."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log10

import torch
from torch import Tensor

from dagan_cli.metrics.fidelity import psnr_y
from dagan_cli.metrics.lpips import Lpips
from trainer.baselines import Baseline

Pairs = list[tuple[Tensor, Tensor]]  # LR (1, 3, h, w) and HR (1, 3, H, W) in [0, 255]


def validate(network: Baseline, pairs: Pairs, order: int | None = None) -> float:
    """Return the mean PSNR-Y in dB over the pairs, on the device and in the type of the weights."""
    return scores(network, pairs, order)["psnr_y"]


@torch.inference_mode()
def scores(network: Baseline, pairs: Pairs, order: int | None = None, metric: Lpips | None = None) -> dict[str, float]:
    """Score results rounded to 8 bits.

    psnr_y: mean in dB. psnr_rgb: PSNR in dB of the squared error pooled over the RGB of all images, with no border
    cropped, as in the scripts of the paper's baseline. lpips: mean, lower is better; only if `metric` is given.
    """
    luma, distances, error, count = [], [], 0.0, 0
    for sr, hr in _results(network, pairs, order):
        luma.append(psnr_y(sr.cpu(), hr, network.scale))
        error += (sr.cpu().double() - hr.double()).square().sum().item()
        count += hr.numel()
        if metric is not None:
            distances.append(metric(sr / 255, hr.to(sr.device) / 255).item())
    found = {"psnr_y": sum(luma) / len(luma), "psnr_rgb": 10 * log10(255**2 * count / error) if error else inf}
    return found | ({"lpips": sum(distances) / len(distances)} if metric is not None else {})


def _results(network: Baseline, pairs: Pairs, order: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    device = next(network.parameters()).device
    for lr, hr in pairs:
        sr = network((lr / 255).to(device, memory_format=torch.channels_last), order)
        yield sr.float().mul(255).round().clamp(0, 255), hr
