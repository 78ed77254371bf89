"""High-resolution pictures -> the low-resolution ones that the web and video would have made of them.

`degrade` is for training: it degrades every sample in another way, drawn from the sample's seed. `degrade_fixed` is
for evaluation: two ways that never change.
"""

from __future__ import annotations

from trainer.degradations.chain import MARGIN, degrade
from trainer.degradations.fixed import FIXED, degrade_fixed
from trainer.degradations.strengths import STRENGTHS, Strength

__all__ = ["FIXED", "MARGIN", "STRENGTHS", "Strength", "degrade", "degrade_fixed"]
