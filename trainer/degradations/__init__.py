"""High-resolution pictures -> the low-resolution ones that the web and video would have made of them.

`degrade` is for training: every sample is spoilt in another way, drawn from its seed. `spoil` is for evaluation: two
ways that never change.
"""

from __future__ import annotations

from trainer.degradations.chain import MARGIN, degrade
from trainer.degradations.fixed import SPOILT, spoil
from trainer.degradations.strengths import STRENGTHS, Strength

__all__ = ["MARGIN", "SPOILT", "STRENGTHS", "Strength", "degrade", "spoil"]
