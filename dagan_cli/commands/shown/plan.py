"""The plan of a dry run as a table: a row for each input, failed ones with their reason, and the sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dagan_cli.commands.console import counted, in_bytes, in_time
from dagan_cli.commands.shown.summary import NAMED, failures_of, kind_of
from dagan_cli.commands.shown.tables import columns, room, table
from dagan_cli.upscale.events import Forecast, Item

_ANY = 1 << 30  # columns


def plan_table(items: list[Item]) -> str:
    """Return the plan as text. Where the terminal is too narrow for all columns, models get lines of their own."""
    planned = [(item, item.forecast) for item in items if item.forecast]
    skipped = Counter(kind_of(item) for item in items if item.status == "skipped")
    others = [*_failures(items), *([f"{number} skipped", kind] for kind, number in skipped.items())]
    full = [_row(item, plan) for item, plan in planned]
    title, frames, memory, disk, time = _sums(planned)
    header = ["plan", "frames", "size", "model", "as", "tiles", "memory", "disk", "time"]
    wide = table(header, [*full, *others, [title, frames, "", "", "", "", memory, disk, time]], width=_ANY)
    width = room()
    if width is None or max(map(columns, wide.splitlines())) <= width:
        return "\n".join([wide, "", _end(items)])
    header = ["plan", "frames", "size", "disk", "time"]
    outputs = [(str(item.output), f"{item.out_size[0]}x{item.out_size[1]}") for item, _ in planned if item.out_size]
    rows = [[name, row[1], size, *row[7:]] for (name, size), row in zip(outputs, full, strict=True)]
    narrow = table(header, [*rows, *others, [title, frames, "", disk, time]], width=width)
    return "\n".join([narrow, "", *_models(planned), _end(items)])


def _row(item: Item, plan: Forecast) -> list[str]:
    (w, h), (big_w, big_h) = item.in_size or (0, 0), item.out_size or (0, 0)
    return [
        f"{item.input} -> {item.output}",
        _number(_left(item), plan.at_least) + (f" of {item.frames}" if item.resumed else ""),
        f"{w}x{h} -> {big_w}x{big_h}",
        plan.model,
        f"{plan.codec} {plan.pixel_format}" if plan.codec else f"{plan.format} {plan.depth} bits",
        f"{plan.tiles} of {plan.tile[0]}x{plan.tile[1]}",
        in_bytes(plan.memory),
        in_bytes(plan.disk),
        _time(plan.seconds, plan.at_least),
    ]


def _sums(planned: list[tuple[Item, Forecast]]) -> list[str]:
    at_least = any(plan.at_least for _, plan in planned)
    return [
        f"sum of {counted(len(planned), 'input')}",
        _number(sum(_left(item) for item, _ in planned), at_least),
        in_bytes(max((plan.memory for _, plan in planned), default=0)),
        in_bytes(sum(plan.disk for _, plan in planned)),
        _time(sum(plan.seconds for _, plan in planned), at_least),
    ]


def _failures(items: list[Item]) -> Iterator[list[str]]:
    """Yield a row for each failed input, or for many that failed for one reason."""
    for (kind, _), failed in failures_of(items).items():
        if len(failed) > NAMED:
            yield [f"{len(failed)} failed", kind]
        else:
            yield from ([str(item.input), f"failed: {item.reason}"] for item in failed)


def _left(item: Item) -> int:
    """Return the frames that no earlier run has made."""
    return max(0, item.frames - item.resumed)


def _number(number: int, at_least: bool) -> str:
    return f">= {number}" if at_least else str(number)


def _time(seconds: float, at_least: bool) -> str:
    return f">= {in_time(seconds)}" if at_least else in_time(seconds)


def _models(planned: list[tuple[Item, Forecast]]) -> Iterator[str]:
    """Yield a line for each model: how many inputs it takes, and its largest tiles and memory."""
    for name in dict.fromkeys(plan.model for _, plan in planned):
        plans = [plan for _, plan in planned if plan.model == name]
        largest = max(plans, key=lambda plan: plan.memory)
        width, height = largest.tile
        yield f"{name}: {counted(len(plans), 'input')}, tiles up to {width}x{height}, {in_bytes(largest.memory)}"


def _end(items: list[Item]) -> str:
    counts = Counter(item.status for item in items)
    shown = ", ".join(f"{counts[status]} {status}" for status in ("planned", "skipped", "failed") if counts[status])
    resumed = sum(item.resumed for item in items)
    kept = f"; {counted(resumed, 'frame')} kept from an earlier run" if resumed else ""
    return f"{shown}{kept}; nothing was written"
