"""Progress of training on stderr: a bar, lines or JSON lines."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

from dagan_cli.commands.console import in_json, in_time, printable, say
from dagan_cli.commands.shown.progress import ProgressMode


def draw_training(steps: Any, mode: ProgressMode, name: str) -> None:
    """Show the progress that `trainer.loop.train` yields as a bar, lines or JSON lines."""
    with ExitStack() as stack:
        bar: Any = None
        task: Any = None
        if mode == "bar" or (mode == "auto" and sys.stderr.isatty()):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(20),
                TextColumn("{task.fields[facts]}", markup=False),
            )
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
            task = bar.add_task(printable(name), total=1.0, facts="")
        spoken, scored = 0.0, -1
        for p in steps:
            left = "" if p.remaining is None or p.message else f"  {in_time(p.remaining)} left"
            if bar is not None:
                bar.update(task, completed=p.fraction, facts=printable(_training(p, short=True) + left))
            elif mode == "json":
                line = {
                    "event": "train",
                    "phase": p.phase,
                    "step": p.step,
                    "loss": p.loss,
                    "rate": p.rate,
                    "remaining": p.remaining,
                }
                say(in_json(line | {"psnr_y": p.psnr, "lpips": p.lpips, "terms": dict(p.terms)}))
            elif mode == "auto" and (p.psnr is not None or p.message or time.monotonic() - spoken > 30):
                spoken = time.monotonic()
                say(_training(p, short=False) + left)
            if p.psnr is not None and (p.message or p.step > scored) and mode in ("bar", "auto"):
                scored = p.step
                line = f"step {p.step}: PSNR-Y {p.psnr:.3f} dB"
                line += "" if p.lpips is None else f", LPIPS {p.lpips:.4f}"
                (bar.console.print(line, highlight=False) if bar is not None else say(line))


def _training(p: Any, *, short: bool) -> str:
    """State of a run in one line: losses of its phase, all their terms if there is room, and its speed."""
    if p.message:
        return f"{p.phase} step {p.step}  {p.message}{'; ' if p.note else ''}{p.note}"
    terms = dict(p.terms)
    losses = f"loss {p.loss:.4g}"
    if "loss_d" in terms:  # two networks; the generator may not have started yet
        g = f"G {terms['loss']:.4g}  " if "loss" in terms else ""
        losses = f"{g}D {terms['loss_d']:.4g}  real {terms['d_real']:.2f}  fake {terms['d_fake']:.2f}"
    if not short:
        shown = ("loss", "loss_d", "d_real", "d_fake")
        losses += "".join(f"  {name} {value:.3g}" for name, value in terms.items() if name not in shown)
    return f"{p.phase} step {p.step}  {losses}  {p.rate:.2f} it/s"
