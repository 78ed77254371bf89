"""What the user sees: progress on stderr, results on stdout, errors in two lines with their exit code."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import category

from dagan_cli.errors import DaganError

if TYPE_CHECKING:
    from dagan_cli.request import Item

ProgressMode = Literal["auto", "bar", "json", "none"]


def printable(text: str) -> str:
    """One line, whatever bytes a name in it has: control characters and stray bytes are escaped."""
    return "".join(c.encode("unicode_escape").decode() if category(c) in ("Cc", "Cs") else c for c in text)


def say(text: str) -> None:
    """A line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def fail(error: DaganError) -> int:
    """Two lines: what failed, what to try next. Returns the exit code."""
    say(f"error: {error}")
    say(f"  try: {error.hint}")
    return error.exit_code


class StopSignals:
    """SIGINT and SIGTERM ask for a clean stop; the second one ends the program at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or 0)

    def _receive(self, number: int, _: object) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number

    @contextmanager
    def caught(self) -> Iterator[StopSignals]:
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Reporter:
    """Draws what happens while inputs are worked on: a bar, lines, JSON lines, or nothing."""

    def __init__(self, mode: ProgressMode, *, quiet: bool, verbose: bool) -> None:
        if mode == "auto":
            mode = "none" if quiet else "bar" if sys.stderr.isatty() else "auto"
        self._mode = mode  # "auto" has become: one line for each file
        self._quiet = quiet
        self._verbose = verbose
        self._bar: Any = None
        self._task: Any = None
        self._started = 0.0
        self._fetching = ""

    def __enter__(self) -> Reporter:
        if self._mode == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, index: int, total: int, name: str) -> None:
        """Work on an input begins."""
        self._started = time.monotonic()
        if self._mode == "json":
            say(json.dumps({"event": "start", "index": index, "inputs": total, "input": name}))
        elif self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            label = name if total == 1 else f"[{index + 1}/{total}] {name}"
            self._task = self._bar.add_task(printable(label), total=None, rate="")

    def advance(self, done: int, total: int | None, unit: str, resumed: int = 0) -> None:
        """Part of the input is done; `total` is None where nobody knows."""
        rate = (done - resumed) / max(1e-9, time.monotonic() - self._started)
        if self._mode == "json":
            remaining = (total - done) / rate if total else None
            say(json.dumps({"event": "progress", "done": done, "total": total, "unit": unit, "remaining": remaining}))
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.2f} {unit}/s")

    def fetching(self, name: str, done: int, total: int | None) -> None:
        """A model is being downloaded: bytes that are here, and bytes in all where somebody knows."""
        if self._mode == "json":
            say(json.dumps({"event": "fetch", "model": name, "done": done, "total": total}))
            return
        if name != self._fetching:
            self._fetching = name
            self.start(0, 1, f"fetching {name}")
            if self._mode == "auto" and not self._quiet:
                self._line(f"fetching {name}" + (f", {_bytes(total)}" if total else ""))
        self.advance(done // 1000, total and max(1, total // 1000), "kB")

    def item(self, item: Item) -> None:
        """An input is finished, well or not."""
        if self._mode == "json":
            say(json.dumps({"event": "item", **item.to_json()}))
            return
        if item.status == "failed":
            self._line(f"error: {item.reason}")
            self._line(f"  try: {item.hint}")
            return
        for warning in item.warnings:
            self._line(f"warning: {item.input.name}: {warning}")
        if item.status == "partial":
            self._line(f"error: {item.output} is short: {item.reason}")
            self._line("  try: repair the input: ffmpeg -i IN -c copy OUT.mkv")
        elif item.status != "planned" and not self._quiet and self._mode != "none":
            size = f" {item.out_size[0]}x{item.out_size[1]}" if item.out_size else ""
            tail = f"skipped: {item.reason}" if item.status == "skipped" else f"{size.strip()}, {item.seconds:.1f} s"
            self._line(f"{item.output} ({tail})")

    def stopped(self) -> None:
        """The user asked to stop, and the work has stopped."""
        if self._mode == "json":
            say(json.dumps({"event": "stopped"}))
        else:
            self._line("stopped: nothing half-written is left; the same command goes on")

    def note(self, text: str) -> None:
        """A remark that only -v shows."""
        if self._verbose and self._mode != "json":
            self._line(text)

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            say(text)


def forecast_table(items: list[Item]) -> str:
    """What a run would do, a line for each input, and the sum."""
    rows, total = [], 0.0
    for item in items:
        plan = item.forecast
        assert plan is not None
        (w, h), (big_w, big_h) = item.in_size or (0, 0), item.out_size or (0, 0)
        total += plan.seconds
        rows.append(
            [
                f"{item.input} -> {item.output}",
                str(item.frames),
                f"{w}x{h} -> {big_w}x{big_h}",
                plan.model,
                f"{plan.tiles} of {plan.tile[0]}x{plan.tile[1]}",
                _bytes(plan.memory),
                _bytes(plan.disk),
                _time(plan.seconds),
            ]
        )
    header = ["would be done", "frames", "size", "model", "tiles", "memory", "disk", "time"]
    return f"{table(header, rows)}\n\n{len(rows)} inputs, about {_time(total)}; nothing was written"


def _bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.1f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def draw_training(steps: Any, mode: ProgressMode, name: str) -> None:
    """A bar, lines or JSON lines for what `trainer.loop.train` yields."""
    with ExitStack() as stack:
        bar: Any = None
        task: Any = None
        if mode == "bar" or (mode == "auto" and sys.stderr.isatty()):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(20),
                TextColumn("{task.fields[facts]}"),
            )
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
            task = bar.add_task(printable(name), total=1.0, facts="")
        spoken, scored = 0.0, -1
        for p in steps:
            left = "" if p.remaining is None or p.message else f"  {_time(p.remaining)} left"
            if bar is not None:
                bar.update(task, completed=p.fraction, facts=_training(p, short=True) + left)
            elif mode == "json":
                line = {
                    "event": "train",
                    "phase": p.phase,
                    "step": p.step,
                    "loss": p.loss,
                    "rate": p.rate,
                    "remaining": p.remaining,
                }
                say(json.dumps(line | {"psnr_y": p.psnr, "lpips": p.lpips, "terms": dict(p.terms)}))
            elif mode == "auto" and (p.psnr is not None or p.message or time.monotonic() - spoken > 30):
                spoken = time.monotonic()
                say(_training(p, short=False) + left)
            if p.psnr is not None and (p.message or p.step > scored) and mode in ("bar", "auto"):
                scored = p.step
                line = f"step {p.step}: PSNR-Y {p.psnr:.3f} dB"
                line += "" if p.lpips is None else f", LPIPS {p.lpips:.4f}"
                (bar.console.print(line, highlight=False) if bar is not None else say(line))


def _training(p: Any, *, short: bool) -> str:
    """Where a run stands: losses of its phase, every term of them where there is room, and its speed."""
    if p.message:
        return f"{p.phase} step {p.step}  {p.message}"
    terms = dict(p.terms)
    losses = f"loss {p.loss:.4g}"
    if "loss_d" in terms:  # two networks, of which the generator may still be waiting for the other one
        g = f"G {terms['loss']:.4g}  " if "loss" in terms else ""
        losses = f"{g}D {terms['loss_d']:.4g}  real {terms['d_real']:.2f}  fake {terms['d_fake']:.2f}"
    if not short:
        told = ("loss", "loss_d", "d_real", "d_fake")
        losses += "".join(f"  {name} {value:.3g}" for name, value in terms.items() if name not in told)
    return f"{p.phase} step {p.step}  {losses}  {p.rate:.2f} it/s"


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """Plain columns for stdout, the first `left` of them to the left and the others to the right."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
