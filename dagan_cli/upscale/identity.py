"""Identity of a model in the record of a result, from the header of its file: without PyTorch and the weights."""

from __future__ import annotations

from dataclasses import dataclass

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig, Window
from dagan_cli.model.file import described, is_foreign
from weights.catalog import Fetching, find_model, pinned, published
from weights.choice import ModelChoice
from weights.reference import PREFIX


@dataclass(frozen=True, slots=True)
class Identity:
    """The attributes of an `Upscaler` that decide pixels."""

    name: str
    sha256: str | None
    scale: int  # the network's own factor
    order: int | None
    window: Window | None
    grain: float
    words: str
    detail: None = None
    denoise: None = None
    architecture: None = None


def identify(choice: ModelChoice, fetching: Fetching | None = None) -> Identity | None:
    """Return what identifies the chosen model; None if it has to be loaded to know.

    That is a blend, a network of another program, and a configuration that does not fit. Raises BadModel.
    """
    assert choice.name is not None
    grain, words = choice.grain, choice.words
    if choice.is_baseline:
        return Identity(choice.name, None, 1, None, None, grain, words)
    if choice.detail is not None or choice.denoise is not None:
        return None
    name = pinned(choice.name, fetching)
    path, expected = find_model(name)
    if is_foreign(path):
        return None
    shown = name if name.startswith(PREFIX) or published(name) else path.name
    values, sha256 = described(path, expected)
    try:
        config = GeneratorConfig.from_dict(values)
    except BadOption:  # damaged, or an SRGAN's
        return None
    if choice.order not in (None, *config.orders):
        return None
    order, window = choice.order or config.order, choice.window or config.default_window
    return Identity(shown, sha256, config.scale, order, window, grain, words)
