"""Settings of several origins as layers, and which of them apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Options that exclude each other: the one of the stronger layer applies.
RIVALS = (
    ("scale", "size"),
    ("overwrite", "skip_existing"),
    ("device", "gpu"),
    ("cluster", "gpu"),
    ("precision", "fp32"),
)
# Options that mean something only to the model or the encoder of their layer. Where a stronger layer names another one,
# the first do not apply; the second do not apply if the layer names a model or an encoder itself.
_BELONGING = {
    "model": ((), ("order", "detail", "denoise", "window")),
    "codec": (("preset", "encoder_option"), ("crf", "pix_fmt")),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of an option that was not given on the command line."""

    value: Any
    source: str  # "the recipe vhs", "DAGAN_UPSCALE_CRF", or the path of a file


Layer = Mapping[str, Setting]  # by the name of the option: "pix_fmt"


def combined(layers: Sequence[Layer], without: Iterable[str] = ()) -> dict[str, Setting]:
    """Return the settings that apply of layers, strongest first; those of the options `without` never do."""
    found: dict[str, Setting] = {}
    for layer in layers:
        displaced = {*without, *_displaced(layer, found)}
        found |= {name: setting for name, setting in layer.items() if name not in found and name not in displaced}
    return found


def _displaced(layer: Layer, stronger: Layer) -> set[str]:
    """Return the options that do not apply in a layer below these stronger settings."""
    displaced = set()
    for pair in RIVALS:
        for one, other in (pair, pair[::-1]):
            if one in stronger and stronger[one].value is not False:
                displaced.add(other)
    for owner, (always, with_owner) in _BELONGING.items():
        if owner in stronger:
            displaced |= {*always, *(with_owner if owner in layer else ())}
    return displaced
