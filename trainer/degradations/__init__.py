"""Degradations: low-resolution images as the web and video would make them from high-resolution ones.

`degrade` is for training: it degrades each sample in a random way, drawn from the sample's seed. `degrade_fixed` is
for evaluation: it has two degradations that never change.
"""

from __future__ import annotations

from trainer.degradations.chain import MARGIN, degrade
from trainer.degradations.fixed import FIXED, degrade_fixed
from trainer.degradations.strengths import STRENGTHS, Strength

__all__ = ["FIXED", "MARGIN", "STRENGTHS", "Strength", "degrade", "degrade_fixed"]
