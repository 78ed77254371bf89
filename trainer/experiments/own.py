"""Own arms of an experiment: its first arm with other values, given as `NAME=KEY=VALUE[,KEY=VALUE...]`."""

from __future__ import annotations

import re
from dataclasses import replace

from dagan_cli.errors import BadOption
from trainer.config import TrainConfig
from trainer.config_toml import with_values
from trainer.experiments.table import EXPERIMENTS, Experiment

_EQUAL = {  # what all arms share: their data, their length, and how they are measured
    *("seed", "batch", "augment", "sampling", "kernel", "degradation", "patch_schedule", "iterations", "budget", "ema"),
    *("validate_every", "validate_on", "validate_side", "metric", "patience", "generator.scale", "generator.patch"),
    *("gan.iterations", "gan.budget", "gan.ema", "gan.perceptual"),
}
_PIXEL = {  # of the pixel phase alone
    *("loss", "border_weight", "lr", "beta2", "warmup", "drops", "schedule", "clip", "clip_value"),
}


def own_arms(given: list[str]) -> dict[str, list[str]]:
    """Return the assignments of each arm by name. Raises BadOption for a name that is not safe, not new, or missing."""
    taken = {arm.casefold() for one in EXPERIMENTS.values() for arm in one.arms}
    found: dict[str, list[str]] = {}
    for text in given:
        name, _, values = text.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,39}", name) or "=" not in values:
            hint = "for example --arm wide=generator.channels=96,gan.lr=1e-4; a name has letters, digits, +, -, . or _"
            raise BadOption(f"invalid --arm {text!r}", hint=hint)
        if name.casefold() in taken:
            raise BadOption(f"--arm {name}: there is an arm of this name", hint="choose another name")
        taken.add(name.casefold())  # a folder is named after each arm, and some file systems ignore case
        found[name] = _split(values)
    return found


def extended(one: Experiment, names: list[str]) -> Experiment:
    """Return the experiment with own arms, each compared with its first arm."""
    pairs = tuple((name, one.arms[0]) for name in names)
    return replace(one, arms=(*one.arms, *names), pairs=(*one.comparisons, *pairs)) if names else one


def changed(config: TrainConfig, name: str, assignments: list[str]) -> TrainConfig:
    """Return the configuration of an own arm from that of the first arm.

    Raises BadOption for values that must be equal in all arms, for values without effect, and as `with_values` does.
    """
    keys = [assignment.partition("=")[0].strip() for assignment in assignments]
    for key in keys:
        if key in _EQUAL or key in ("generator", "gan"):
            hint = "leave it out; single values are named like generator.channels or gan.lr"
            raise BadOption(f"--arm {name} changes {key}, which must be equal in all arms", hint=hint)
        if key in _PIXEL and config.gan is not None:
            hint = "use the values of the adversarial phase, such as gan.lr"
            raise BadOption(f"--arm {name} changes {key} of the pixel phase, which is skipped", hint=hint)
        if key.startswith("gan.") and config.gan is None:
            hint = "use the values of the pixel phase, such as lr"
            raise BadOption(f"--arm {name} changes {key}, but there is no adversarial phase", hint=hint)
    found = with_values(config, assignments, option="--arm")
    lost = [key for key in keys if key.startswith("generator.")]
    if lost and found.baseline is not None:
        hint = "add baseline=none to train the generator in its place"
        raise BadOption(f"--arm {name} changes {lost[0]}, which {found.baseline} does not have", hint=hint)
    return found


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets: `a=[1,2],b=3` -> `a=[1,2]`, `b=3`."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
