"""Choose the model by what the source is, as measured in docs/experiments/auto.

On clean pictures the perceptual model looks best, and on degraded ones the model for degraded sources. Where they
cross was measured on held-out pictures that were degraded in many ways. Blends between the two are seldom the best, and
then by little: a choice is one of the two.
"""

from __future__ import annotations

from dagan_cli.analysis.measure import Analysis
from weights.catalog import default_model, degraded_model_of

RULE = "1"  # changes with everything that could change a choice: the analysis, the limits below, the models they fit

_NOISE = 2.5  # standard deviation in 8-bit code values; from here on a source is degraded
_RESOLUTION = 0.95  # below, it is; clean pictures have 1
_QUALITY = 87  # of an image, JPEG's scale; below, it is
_FILTERED_QUALITY = 80  # the same of codecs that smooth their blocks themselves
_FILTERED = ("h264", "hevc", "vp8", "vp9", "av1")


def model_for(analysis: Analysis, factor: float) -> str:
    """Return the published model for a source, to be scaled by `factor`. Raises BadModel if none is published.

    The same analysis gets the same model on every machine.
    """
    name = default_model(factor)
    return (is_degraded(analysis) and degraded_model_of(name)) or name


def is_degraded(analysis: Analysis) -> bool:
    """Return True if the model for degraded sources does better on such a source."""
    enough = _FILTERED_QUALITY if analysis.codec in _FILTERED else _QUALITY
    return (
        (analysis.noise is not None and analysis.noise >= _NOISE)
        or (analysis.resolution is not None and analysis.resolution < _RESOLUTION)
        or (analysis.quality is not None and analysis.quality < enough)
    )
