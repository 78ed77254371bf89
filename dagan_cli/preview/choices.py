"""The models that a preview compares, and the command of the whole job with each of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from dagan_cli.errors import BadOption
from weights.catalog import default_model, degraded_model_of
from weights.choice import ModelChoice

YARDSTICK = "bicubic"
_DEFAULT = (None, "fidelity", "real", YARDSTICK)  # None: the one that `auto` takes


@dataclass(frozen=True, slots=True)
class Asked:
    """Options of a preview, as they were given. Raises BadOption."""

    models: tuple[str | None, ...] = ()  # None is auto; empty: the usual ones
    strengths: tuple[float, ...] = ()  # of --denoise, 0 to 1
    size: tuple[str, ...] = ("-s", "4")  # options that choose the size, for the command
    engine: tuple[str, ...] = ()  # options that choose the device and the like, for the command

    def __post_init__(self) -> None:
        for strength in self.strengths:
            ModelChoice(None, denoise=strength)  # within its range
        for name in self.models if self.strengths else ():
            ModelChoice(name, denoise=self.strengths[0])  # a baseline has none

    @property
    def needs_auto(self) -> bool:
        """True if the input must be looked at to know the models."""
        return not self.models or None in self.models


def choices_for(asked: Asked, factor: float, auto: Callable[[], str]) -> list[ModelChoice]:
    """Return the models to compare for a final factor, each once; `auto` returns the one that the input gets.

    With strengths, models are blended with their counterpart for degraded sources. Raises BadModel, and BadOption for
    a model that was named and has no counterpart.
    """
    found: list[ModelChoice] = []
    if not asked.models and asked.strengths:
        found = [ModelChoice(auto())]
        found += [ModelChoice(default_model(factor), denoise=strength) for strength in asked.strengths]
        found += [ModelChoice(YARDSTICK)]
    else:
        for name in asked.models or _DEFAULT:
            choice = ModelChoice(auto()) if name is None else ModelChoice(name).for_factor(factor)
            found += [replace(choice, denoise=strength) for strength in asked.strengths] or [choice]
    for choice in found:
        _require_counterpart(choice)
    return list(dict.fromkeys(found))


def command_of(path: str, choice: ModelChoice, asked: Asked) -> str:
    """Return the command of the whole job, quoted for a shell."""
    name = f".{os.sep}{path}" if path.startswith("-") else path
    assert choice.name is not None
    model = f".{os.sep}{choice.name}" if choice.name.startswith("-") else choice.name
    denoise = () if choice.denoise is None else ("--denoise", f"{choice.denoise:g}")
    words = ("dagan", "upscale", name, *asked.size, "-n", model, *denoise, *asked.engine)
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """Quote a word for a shell; one that is not printable as bash, zsh and ksh write it: $'a\\012b'."""
    if word.isprintable():
        return shlex.quote(word)
    special = {ord("'"): "\\'", ord("\\"): "\\\\"}  # \ooo has a fixed length: a digit may follow
    shown = (special.get(b, chr(b)) if 0x20 <= b < 0x7F else f"\\{b:03o}" for b in os.fsencode(word))
    return f"$'{''.join(shown)}'"


def _require_counterpart(choice: ModelChoice) -> None:
    """Raise BadOption for a strength that a model cannot have: it is known before anything is computed."""
    if choice.denoise is not None and choice.name is not None and degraded_model_of(choice.name) is None:
        what = f"--denoise does not apply to {choice.name}: it has no model for degraded sources to blend with"
        raise BadOption(what, hint="leave it out; published perceptual models have one")
