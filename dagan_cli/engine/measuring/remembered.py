"""Measurements of networks of other programs, kept for later runs in the user's cache, one small JSON each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import isfinite
from typing import Any, TypeVar

import torch

from dagan_cli.engine.cache import Cache, cache_folder
from dagan_cli.engine.measuring.reach import FURTHEST, Reach
from dagan_cli.model.footprint import Footprint

MOST_KEPT = 1 << 20  # bytes: some thousand measurements
_MOST_GRID = 4096  # pixels
_VERSION = "1"  # changes with the ways of measuring

T = TypeVar("T", Footprint, Reach)


def remembered(kind: type[T], of: Mapping[str, object] | None, measure: Callable[[], T | None]) -> T | None:
    """Return the measurement that an earlier run kept, or measure and keep it; None: memory ran out.

    `of` names the network and all that the measurement depends on; None: it has no name, and nothing is kept.
    """
    if of is None:
        return measure()
    facts = {"kind": kind.__name__, "version": _VERSION, "torch": torch.__version__}
    facts |= {name: str(value) for name, value in of.items()}
    name = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    cache = Cache(cache_folder() / "measured", ".json", MOST_KEPT)
    if (kept := cache.get(name)) is not None and (found := _read(kind, kept, facts)) is not None:
        return found
    found = measure()
    if found is not None and _is_valid(found):
        values = {field: getattr(found, field) for field in _fields(kind)}
        cache.put(name, json.dumps({"of": facts, "values": values}).encode())  # if it cannot: measured again
    return found


def _read(kind: type[T], kept: bytes, facts: Mapping[str, str]) -> T | None:
    """Return what was kept, or None if it is anything else."""
    try:
        content: Any = json.loads(kept)
        if content["of"] != facts or content["values"].keys() != set(_fields(kind)):
            return None
        found = kind(**content["values"])
        return found if _is_valid(found) and (not isinstance(found, Reach) or _fits(found, facts)) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _fields(kind: type[Footprint] | type[Reach]) -> tuple[str, ...]:
    return Reach._fields if kind is Reach else ("bytes_per_pixel", "flops_per_pixel", "flops_per_pair")


def _fits(found: Reach, facts: Mapping[str, str]) -> bool:
    return found.grid % int(facts["multiple"]) == 0


def _is_valid(found: Footprint | Reach) -> bool:
    """True if the numbers can be those of a network, which are finite: an infinite one means that memory ran out."""
    if isinstance(found, Reach):
        rim_fits = found.rim is None or (type(found.rim) is int and 1 <= found.rim <= FURTHEST)
        return rim_fits and type(found.grid) is int and 1 <= found.grid <= _MOST_GRID
    costs = found.bytes_per_pixel, found.flops_per_pixel, found.flops_per_pair
    if not all(type(cost) in (int, float) and isfinite(cost) for cost in costs):
        return False
    return found.bytes_per_pixel > 0 and found.flops_per_pixel >= 1 and found.flops_per_pair >= 0
