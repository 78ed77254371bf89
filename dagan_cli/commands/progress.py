"""Progress of work on inputs, on stderr: a bar, lines or JSON lines."""

from __future__ import annotations

import sys
import time
from typing import Any, Literal

from dagan_cli.commands.console import counted, in_bytes, in_json, printable, say
from dagan_cli.upscale.events import Advance, Event, Fetch, Item, Kept, Notice, Start, Wait

ProgressMode = Literal["auto", "bar", "json", "none"]


class Reporter:
    """Shows the events of a run as a bar, lines, JSON lines, or not at all."""

    def __init__(self, mode: ProgressMode, *, quiet: bool, verbose: bool) -> None:
        if mode == "auto":
            mode = "none" if quiet else "bar" if sys.stderr.isatty() else "auto"
        self._mode = mode  # "auto" now means one line per file
        self._quiet = quiet
        self._verbose = verbose
        self._bar: Any = None
        self._task: Any = None
        self._started = 0.0
        self._fetching = ""
        self._done = 0  # results that are finished
        self._kept: Kept | None = None

    def __enter__(self) -> Reporter:
        if self._mode == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,  # results belong on stdout while the bar is shown too
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Start(index, total, path):
                self._start(index, total, path.name)
            case Wait(path, reason):
                self._wait(path.name, reason)
            case Advance(done, total, unit, resumed):
                self._advance(done, total, unit, resumed)
            case Fetch(name, done, total):
                self._fetch(name, done, total)
            case Kept(path, frames, total):
                self._kept = event
                if self._mode == "json":
                    say(in_json({"event": "kept", "input": path.name, "frames": frames, "total": total}))
            case Notice(text, details):
                self._notice(text, details)
            case Item():
                self._item(event)

    def stopped(self) -> None:
        """Show that the work has stopped because the user asked for it."""
        if self._mode == "json":
            say(in_json({"event": "stopped"}))
            return
        kept = [counted(self._done, "result")] if self._done else []
        then = "continues with the next input"
        if video := self._kept:
            kept.append(f"{counted(video.frames, 'frame')} of {video.input.name}")
            of = f" of {video.total}" if video.total and video.total > video.frames else ""
            then = f"continues at frame {video.frames + 1}{of}"
        self._line(
            f"stopped: {' and '.join(kept)} kept; the same command {then}" if kept else "stopped: nothing is kept"
        )

    def note(self, text: str) -> None:
        """Show a remark if -v was given."""
        if self._verbose and self._mode != "json":
            self._line(text)

    def _start(self, index: int, total: int, name: str) -> None:
        self._started = time.monotonic()
        if self._mode == "json":
            say(in_json({"event": "start", "index": index, "inputs": total, "input": name}))
        elif self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            label = name if total == 1 else f"[{index + 1}/{total}] {name}"
            self._task = self._bar.add_task(printable(label), total=None, rate="")

    def _wait(self, name: str, reason: str) -> None:
        if self._mode == "json":
            say(in_json({"event": "wait", "input": name, "reason": reason}))
        elif not self._quiet and self._mode != "none":
            self._line(f"{name}: waiting, as {reason}")

    def _notice(self, text: str, details: tuple[str, ...]) -> None:
        if self._mode == "json":
            say(in_json({"event": "notice", "text": text, "details": list(details)}))
        elif not self._quiet and self._mode != "none":
            for line in (text, *(f"  {detail}" for detail in details if self._verbose)):
                if line:
                    self._line(line)

    def _advance(self, done: int, total: int | None, unit: str, resumed: int = 0) -> None:
        rate = (done - resumed) / max(1e-9, time.monotonic() - self._started)
        if self._mode == "json":
            remaining = (total - done) / rate if total else None
            say(in_json({"event": "progress", "done": done, "total": total, "unit": unit, "remaining": remaining}))
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.2f} {unit}/s")

    def _fetch(self, name: str, done: int, total: int | None) -> None:
        if self._mode == "json":
            say(in_json({"event": "fetch", "model": name, "done": done, "total": total}))
            return
        if name != self._fetching:
            self._fetching = name
            self._start(0, 1, f"fetching {name}")
            if self._mode == "auto" and not self._quiet:
                self._line(f"fetching {name}" + (f", {in_bytes(total)}" if total else ""))
        self._advance(done // 1000, total and max(1, total // 1000), "kB")

    def _item(self, item: Item) -> None:
        self._done += item.status in ("done", "partial", "skipped")
        if self._mode == "json":
            say(in_json({"event": "item", **item.to_json()}))
            return
        if item.status == "untried":  # the end of the run is reported once, not for each input
            return
        if item.status == "failed":
            named = item.input.name in item.reason
            self._line(f"error: {item.reason}" if named else f"error: {item.input}: {item.reason}")
            self._line(f"  try: {item.hint}")
            return
        for warning in item.warnings:
            self._line(f"warning: {item.input.name}: {warning}")
        if item.status == "partial":
            self._line(f"error: {item.output} is incomplete: {item.reason}")
            self._line("  try: repair the input: ffmpeg -i IN -c copy OUT.mkv")
        elif item.status != "planned" and not self._quiet and self._mode != "none":
            size = f" {item.out_size[0]}x{item.out_size[1]}" if item.out_size else ""
            tail = f"skipped: {item.reason}" if item.status == "skipped" else f"{size.strip()}, {item.seconds:.1f} s"
            self._line(f"{item.output} ({tail})")

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            say(text)
