"""The model of a run and its settings, as they were asked for. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dagan_cli.errors import BadOption
from weights.catalog import KINDS, default_model
from weights.folder import SUFFIXES
from weights.reference import PREFIX, parse_reference

BASELINES = ("nearest", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model and its settings. Raises BadOption for settings that do not go together."""

    # See `Upscaler.load`; a kind of model or None: the published one for the scale.
    name: str | None = None
    order: int | None = None  # order of the solver, for models trained with several; None: the model's default
    detail: float | None = None  # blend from the fidelity model (0) to the perceptual model (1)
    denoise: float | None = None  # blend from the model (0) to the one for degraded sources (1)
    window: Literal["global", "local"] | None = None  # context of pooling and attention; None: the model's default
    grain: float = 0.0  # share of the grain that the model takes and that is added back, 0 to 1

    def __post_init__(self) -> None:
        if self.is_baseline and self.order is not None:
            raise BadOption(f"--order does not apply to {self.name}, which has no solver", hint="leave it out")
        for option, value, ends in (
            ("--detail", self.detail, "0 (fidelity) to 1 (all that the model adds)"),
            ("--denoise", self.denoise, "0 (none) to 1 (all that the model for degraded sources removes)"),
        ):
            if self.is_baseline and value is not None:
                raise BadOption(f"{option} does not apply to {self.name}", hint="leave it out")
            if value is not None and not 0 <= value <= 1:
                raise BadOption(f"{option} {value:g} is out of range", hint=f"use a number from {ends}")
        if self.is_baseline and self.grain:
            raise BadOption(f"--grain does not apply to {self.name}, which takes no grain", hint="leave it out")
        if not 0 <= self.grain <= 1:
            raise BadOption(
                f"--grain {self.grain:g} is out of range", hint="use a number from 0 (none) to 1 (all that was lost)"
            )

    @property
    def is_baseline(self) -> bool:
        """True for nearest, bicubic and lanczos."""
        return self.name in BASELINES

    @property
    def is_open(self) -> bool:
        """True if the model is to be chosen by what the source is: nothing that decides it was given."""
        return self.name is None and self.detail is None and self.denoise is None

    @property
    def words(self) -> str:
        """The model as options name it: "dagan-x4 with --denoise 0.7"."""
        options = [] if self.denoise is None else [f"--denoise {self.denoise:g}"]
        options += [f"--grain {self.grain:g}"] if self.grain else []
        return " ".join([f"{self.name}", *(["with", *options] if options else [])])

    @property
    def kind(self) -> str | None:
        """The kind of published model that was named, one of `weights.catalog.KINDS`, or None."""
        return self.name if self.name in KINDS else None

    @property
    def is_fixed(self) -> bool:
        """True if one model was named, which does not depend on the input."""
        return self.name is not None and self.kind is None

    @property
    def short_name(self) -> str:
        """The name of the model as a part of a file name: without folders, revision and suffix."""
        assert self.name is not None
        if self.name.startswith(PREFIX):
            return parse_reference(self.name).repository.replace("/", "_")
        name = Path(self.name).name
        return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)

    def for_factor(self, factor: float, *, video: bool = False) -> ModelChoice:
        """Return the same choice with a model for a final factor, if none was named. Raises BadModel."""
        if self.is_fixed:
            return self
        # Only models for clean sources can be blended with others.
        return replace(self, name=default_model(factor, video=video and self.is_open, kind=self.kind))
