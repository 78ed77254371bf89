"""Paths in a unit of work: those of a node go in, and the user's own come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from dagan_cli.upscale.executors.units import Inputs, Look, Unit

T = TypeVar("T")


def sources_of(unit: Unit) -> list[Path]:
    """Return the files that a unit reads."""
    return [job.source.path for job in unit.jobs] if isinstance(unit, Inputs) else [unit.path]


def results_of(unit: Unit) -> dict[Path, Path]:
    """Return what a unit makes, files, or the work folder of a video, with the folders that the user knows."""
    if isinstance(unit, Inputs):
        return {job.target: job.target.parent for job in unit.jobs if isinstance(job.target, Path)}
    return {} if isinstance(unit, Look) else {unit.folder: unit.folder.parent}


def with_paths(value: T, places: Mapping[Path, Path], *, in_texts: bool = False) -> T:
    """Return a copy of a unit, an event or an answer with other paths; `in_texts`: also where they are in a text."""
    return _changed(value, places, {str(old): str(new) for old, new in _longest_first(places)} if in_texts else {})


def _longest_first(places: Mapping[Path, Path]) -> list[tuple[Path, Path]]:
    return sorted(places.items(), key=lambda pair: -len(str(pair[0])))


def _changed(value: Any, places: Mapping[Path, Path], texts: Mapping[str, str]) -> Any:
    if isinstance(value, Path):
        return places.get(value, value)
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, BaseException):
        value.args = _changed(value.args, places, texts)
        value.__dict__.update({name: _changed(each, places, texts) for name, each in value.__dict__.items()})
        return value
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(_changed(each, places, texts) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        new = {field.name: _changed(getattr(value, field.name), places, texts) for field in fields(value) if field.init}
        unequal = {name: each for name, each in new.items() if each is not getattr(value, name)}
        return replace(value, **unequal) if unequal else value
    return value
