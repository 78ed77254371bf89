"""Images side by side, as in the paper's visual comparisons: LR | bicubic | the arms | HR, of held-out crops."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.files import whole_or_absent
from dagan_cli.metrics.fidelity import bicubic, psnr_y
from trainer.baselines import Baseline
from trainer.data.samples import load_pictures, validation_pairs

SIDE = 160  # HR pixels of a crop
ROWS = 5
_GAP, _HEAD = 4, 16


def draw_grid(target: Path, networks: dict[str, Baseline], val: Path, scale: int) -> None:
    """Write a PNG with the name above each column and the PSNR-Y in each upscaled crop."""
    from PIL import Image, ImageDraw

    images = load_pictures([val], smallest=SIDE)
    pairs = [pair for _, pair in zip(range(len(images.pixels)), validation_pairs(images, scale, SIDE), strict=True)]
    detailed = sorted(pairs, key=lambda pair: -pair[1].diff(dim=-1).abs().mean().item())[:ROWS]
    columns = ["LR", "bicubic", *networks, "HR"]
    step = SIDE + _GAP
    sheet = Image.new("RGB", (len(columns) * step - _GAP, _HEAD + len(detailed) * step - _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for i, name in enumerate(columns):
        pen.text((i * step + 2, 2), name[:26], fill="black")  # as many letters as fit
    for row, (lr, hr) in enumerate(detailed):
        cells = _cells(lr, hr, networks)
        for i, cell in enumerate(cells):
            at = (i * step, _HEAD + row * step)
            sheet.paste(Image.fromarray(cell[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()), at)
            if 0 < i < len(cells) - 1:
                text = f"{psnr_y(cell.round().clamp(0, 255), hr, scale):.2f} dB"
                pen.rectangle((at[0], at[1] + SIDE - 14, at[0] + 54, at[1] + SIDE), fill="black")
                pen.text((at[0] + 3, at[1] + SIDE - 13), text, fill="white")
    with whole_or_absent(target) as file:
        sheet.save(file, format="PNG")


@torch.inference_mode()
def _cells(lr: Tensor, hr: Tensor, networks: dict[str, Baseline]) -> list[Tensor]:
    """Return the cells of a row, (1, 3, H, W) in [0, 255] each."""
    h, w = hr.shape[-2:]
    upscaled = [255 * network((lr / 255).contiguous()).float() for network in networks.values()]
    return [F.interpolate(lr, size=(h, w)), bicubic(lr, h, w), *upscaled, hr]
