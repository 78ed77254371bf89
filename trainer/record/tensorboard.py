"""Numbers and samples of a run for TensorBoard, if it is installed; errors here never stop a run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

_RARE = ("psnr_y", "psnr_rgb", "lpips", "attention_entropy")  # only logged at validations


class Board:
    """Write events to a folder from `step` on; TensorBoard hides previous events from there on."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except Exception:  # not installed, or with an incompatible dependency
            return
        try:
            self._writer = SummaryWriter(str(folder), purge_step=step)
        except Exception as error:
            self._give_up(error)

    def add(self, facts: dict[str, Any], strip: Path) -> None:
        """Write the numbers of a step as scalars, grouped by phase, and its strip of samples if there is one."""
        if self._writer is None:
            return
        step, phase = facts["step"], facts.get("phase", "pixel")
        try:
            for name, value in facts.items():
                if name == "constants":
                    for solver, numbers in value.items():
                        for i, number in enumerate(numbers, 1):
                            self._writer.add_scalar(f"constants/{solver} {i}", number, step)
                elif isinstance(value, int | float) and name != "step":
                    group = "validation" if name in _RARE else phase
                    self._writer.add_scalar(f"{group}/{name}", value, step)
            if "psnr_y" in facts and strip.is_file():
                import numpy as np
                from PIL import Image

                with Image.open(strip) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer.add_image("samples: LR, bicubic, SR, HR", pixels, step, dataformats="HWC")
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as error:
                self._give_up(error)
        self._writer = None

    def _give_up(self, error: Exception) -> None:
        warnings.warn(f"TensorBoard logging is disabled: {error}", RuntimeWarning, stacklevel=3)
        self._writer = None
