"""Every choice of a training run, as frozen values; a TOML file or the command line fills them in."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig

Loss = Literal["l1", "charbonnier"]
Schedule = Literal["cosine", "constant", "cooldown"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run. Raises BadOption when the choices contradict each other."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    batch: int = 16  # patches per step
    loss: Loss = "l1"
    lr: float = 1e-3  # Adam's rate after the warm-up
    warmup: int = 300  # steps of linear rise
    schedule: Schedule = "cosine"  # cosine to zero; constant, to go on for ever; 1 - sqrt cooldown of such a run
    iterations: int | None = None  # the run ends after so many steps ...
    budget: float | None = None  # ... or after so many seconds of training; the schedule follows whichever is given
    ema: float = 0.999  # decay of the running average of the weights, which is what is validated and released
    clip: float = 1.0  # gradients are scaled down to this norm
    order_odds: tuple[float, ...] = ()  # how often each order of the generator's dial is trained; () = equally
    augment: bool = True  # flips and quarter turns
    seed: int = 0
    precision: Precision = "auto"  # bf16 autocast where the hardware has it
    validate_every: int = 1000  # steps
    save_every: float = 300.0  # seconds between checkpoints

    def __post_init__(self) -> None:
        hints = get_type_hints(TrainConfig)
        for name in ("loss", "schedule", "precision"):
            value, choices = getattr(self, name), get_args(hints[name])
            _require(value in choices, f"{name} = {value!r}", f"choose one of {', '.join(choices)}")
        for name in ("batch", "validate_every"):
            value = getattr(self, name)
            _require(type(value) is int and value > 0, f"{name} = {value!r}", "use a whole number above 0")
        for name in ("lr", "clip", "save_every"):
            value = getattr(self, name)
            _require(type(value) in (int, float) and 0 < value < inf, f"{name} = {value!r}", "use a number above 0")
        for name in ("iterations", "budget"):
            value = getattr(self, name)
            good = value is None or (type(value) in (int, float) and 0 < value < inf)
            _require(good, f"{name} = {value!r}", "use a number above 0")
        for name in ("warmup", "seed"):
            value = getattr(self, name)
            _require(type(value) is int and value >= 0, f"{name} = {value!r}", "use a whole number from 0 up")
        good = type(self.ema) in (int, float) and 0 <= self.ema < 1
        _require(good, f"ema = {self.ema!r}", "use a number from 0 to below 1")
        _require(type(self.augment) is bool, f"augment = {self.augment!r}", "use true or false")
        if self.order_odds:
            good = len(self.order_odds) == len(self.generator.orders)
            good = good and all(type(odds) in (int, float) and 0 <= odds < inf for odds in self.order_odds)
            _require(
                good and sum(self.order_odds) > 0,
                f"order_odds = {self.order_odds}",
                f"give one number for each of the generator's orders, {self.generator.orders}",
            )
        if self.schedule != "constant":
            ends = self.iterations is not None or self.budget is not None
            _require(ends, f"a {self.schedule} schedule without an end", "give a --budget or --iterations")
        window = self.generator.window
        if window is not None:
            patch = self.generator.patch
            _require(patch % window == 0, f"patch = {patch}", f"use a multiple of the attention window, {window}")

    def to_dict(self) -> dict[str, Any]:
        """A plain JSON-able mapping; `from_dict` is its inverse."""
        return asdict(self) | {"generator": self.generator.to_dict(), "order_odds": list(self.order_odds)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Build from a mapping as TOML or JSON give it. Raises BadOption, with the nearest name, for an unknown key."""
        _known(values, cls, "")
        generator, odds = values.get("generator", {}), values.get("order_odds", ())
        _known(generator, GeneratorConfig, "generator.")
        _require(isinstance(odds, (list, tuple)), f"order_odds = {odds!r}", "use a list of numbers")
        return cls(
            **values
            | {
                "generator": GeneratorConfig.from_dict(generator),
                "order_odds": tuple(odds),
            }
        )


def read_config(path: Path) -> TrainConfig:
    """A TOML file -> TrainConfig. Raises BadOption for a file that is not TOML, or has unknown or wrong values."""
    try:
        return TrainConfig.from_dict(tomllib.loads(path.read_text()))
    except OSError as error:
        raise BadOption(f"cannot read {path}: {error.strerror}", hint="check the path given to --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(
            f"{path} is not TOML: {error}", hint="see `dagan train --print-config` for an example"
        ) from error


def _known(values: dict[str, Any], kind: type, prefix: str) -> None:
    _require(isinstance(values, dict), f"{prefix.rstrip('.')} = {values!r}", "write it as a [table]")
    names = [item.name for item in fields(kind)]
    for key in values:
        near = get_close_matches(key, names, n=1) or names[:1]
        _require(key in names, f"unknown key {prefix}{key}", f"did you mean {prefix}{near[0]}?")


def _require(good: bool, what: str, hint: str) -> None:
    if not good:
        raise BadOption(f"impossible training: {what}", hint=hint)
