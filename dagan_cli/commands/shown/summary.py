"""What a run says at its end: counts, time, where the results are, and failures grouped by their reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from os.path import commonpath, dirname
from pathlib import Path

from dagan_cli.commands.console import counted, in_time
from dagan_cli.upscale.events import STDOUT, Item

_SCREEN = 20  # lines; after so many, failures are listed again, as they have left the screen
NAMED = 10  # inputs that failed for one reason and are listed; the others are counted
_ANY = "…"  # stands for the name of a file
_STATUSES = ("done", "partial", "failed", "skipped", "stopped", "untried")


def summary(items: list[Item], seconds: float, *, verbose: bool = False) -> list[str]:
    """Return the closing lines of a run; none for one input, whose own line says all."""
    if len(items) < 2:
        return []
    numbers = Counter(item.status for item in items)
    counts = ", ".join(f"{numbers[status]} {status}" for status in _STATUSES if numbers[status])
    lines = [f"{counted(len(items), 'input')} in {in_time(seconds)}: {counts}"]
    models = Counter(item.model for item in items if item.model and item.status in ("done", "partial"))
    if len(models) > 1:
        lines.append("models: " + ", ".join(f"{name} {number}" for name, number in models.most_common()))
    if not verbose:
        lines += _reasons(item for item in items if item.status == "skipped")
    if len(items) > _SCREEN:
        lines += _failures(items)
    there = [item for item in items if item.status in ("done", "partial", "skipped")]
    if place := _place([item.output for item in there if item.output]):
        lines.append(f"results: {place}")
    return lines


def kind_of(item: Item) -> str:
    """Return the reason of an item without the names of its files, which is the same for equal failures."""
    reason = item.reason
    for path in (item.output, item.input):
        if path is not None and path.name:
            reason = reason.replace(str(path), _ANY).replace(path.name, _ANY)
    return reason


def _reasons(skipped: Iterable[Item]) -> list[str]:
    kinds = Counter(kind_of(item) for item in skipped)
    return [f"skipped: {number}, {kind}" for kind, number in kinds.items()]


def failures_of(items: list[Item]) -> dict[tuple[str, str], list[Item]]:
    """Return the failed inputs by the reason that they share, and its hint."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        if item.status == "failed":
            groups.setdefault((kind_of(item), item.hint), []).append(item)
    return groups


def _failures(items: list[Item]) -> list[str]:
    """Return failed inputs below the reason that they share; a few of them, as each had a line of its own."""
    lines = []
    for (kind, hint), failed in failures_of(items).items():
        more = [f"  and {len(failed) - NAMED} more"] if len(failed) > NAMED else []
        named = (f"  {item.input}" for item in failed[:NAMED])
        lines += [f"failed: {len(failed)}, {kind}", *named, *more, f"  try: {hint}"]
    return lines


def _place(outputs: list[Path]) -> str:
    """Return the folder that holds all results, or how many folders below which one."""
    folders = sorted({dirname(output) or "." for output in outputs if output != STDOUT})
    if len(folders) < 2:
        return folders[0] if folders else ""
    if any("://" in folder for folder in folders):
        return f"{len(folders)} folders"
    absolute = {Path(folder).is_absolute() for folder in folders}
    return f"{len(folders)} folders" + (f" in {commonpath(folders) or '.'}" if len(absolute) == 1 else "")
