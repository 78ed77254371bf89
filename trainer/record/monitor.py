"""Measurements of a run besides its losses: solver constants, entropy of the attention, and strips of samples."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.files import whole_or_absent
from dagan_cli.metrics.fidelity import bicubic
from dagan_cli.model.ablation import observed
from trainer.baselines import Baseline

LARGEST = 24  # side in pixels of the input that the entropy is measured on


class Means:
    """Running means of logged terms, each over the steps that reported it: phases and warm-ups have different terms."""

    def __init__(self) -> None:
        self.steps = 0
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the terms of a step without synchronising with the device or keeping the tensors."""
        self.steps += 1
        for name, term in terms.items():
            total, count = self._sums.get(name, (torch.zeros((), device=term.device), 0))
            self._sums[name] = total + term, count + 1

    def take(self) -> dict[str, float]:
        """Return the means and reset them."""
        means = {name: total.item() / count for name, (total, count) in self._sums.items()}
        self.steps, self._sums = 0, {}
        return means


def constants(generator: nn.Module) -> dict[str, list[float]]:
    """Return the learned constants of the solvers, {solver: values averaged over the blocks}."""
    found: dict[str, list[Tensor]] = {}
    for name, parameter in generator.named_parameters():
        if ".constants." in name:
            found.setdefault(name.rsplit(".", 1)[1], []).append(parameter.detach().float().cpu())
    return {solver: torch.stack(values).mean(0).tolist() for solver, values in found.items()}


@torch.no_grad()
def attention_entropy(generator: Baseline, lr: Tensor) -> float | None:
    """Return the mean entropy of the spatial attention's rows on (1, 3, h, w) in [0, 1], relative to uniform attention.

    1 = all positions have the same weight, 0 = a single position has all of it; None without spatial attention.
    """
    with observed(generator) as found:
        generator(lr[..., :LARGEST, :LARGEST])
    return found.entropy


@torch.inference_mode()
def write_strip(path: Path, generator: Baseline, pairs: list[tuple[Tensor, Tensor]], order: int | None) -> None:
    """Write a PNG with rows LR (pixels repeated) | bicubic | SR | HR of the first few (LR, HR) pairs in [0, 255]."""
    from PIL import Image

    device, scale, rows = next(generator.parameters()).device, generator.scale, []
    for lr, hr in pairs[:4]:
        h, w = (min(length, 192) // scale * scale for length in hr.shape[-2:])
        top, left = ((length - kept) // 2 // scale * scale for length, kept in zip(hr.shape[-2:], (h, w), strict=True))
        small = lr[..., top // scale : (top + h) // scale, left // scale : (left + w) // scale]
        sr = generator((small / 255).to(device), order).float().cpu() * 255
        cells = [
            F.interpolate(small, scale_factor=scale),
            bicubic(small, h, w),
            sr,
            hr[..., top : top + h, left : left + w],
        ]
        rows.append(torch.cat([F.pad(cell[0], (0, 192 - w + 4, 0, 192 - h + 4), value=255) for cell in cells], dim=2))
    sheet = torch.cat(rows, dim=1).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_absent(path) as file:
        Image.fromarray(sheet).save(file, format="PNG")
