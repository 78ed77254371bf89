"""Progress of work on inputs, on stderr: bars, lines or JSON lines."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from dagan_cli.commands.console import counted, in_bytes, in_json, in_time, printable, say
from dagan_cli.commands.shown.job import Job, Left
from dagan_cli.commands.shown.summary import kind_of, summary
from dagan_cli.commands.shown.tables import shortened
from dagan_cli.upscale.events import Advance, Chosen, Event, Expected, Fetch, Item, Kept, Notice, Outlook, Start, Wait

ProgressMode = Literal["auto", "bar", "json", "none"]

_FIRST_LINE = 30  # seconds until the first line about work in progress, where there is no bar
_LINES = 60, 0.1  # at least so many seconds until the next one, and this share of the time so far
_FACTS = 40  # columns of the numbers right of a bar
_FEW = 3  # inputs whose choice of a model is printed
_SAME_WARNINGS = 3  # equal warnings that are printed; the others are counted


class Reporter:
    """Shows the events of a run as bars, lines, JSON lines, or not at all."""

    def __init__(
        self, mode: ProgressMode, *, quiet: bool, verbose: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if mode == "auto":
            mode = "none" if quiet else "bar" if sys.stderr.isatty() else "auto"
        self._mode = mode  # "auto" now means one line per file
        self._quiet = quiet
        self._verbose = verbose
        self._bar: Any = None
        self._task: Any = None  # of the input in work
        self._all: Any = None  # of the whole run
        self._job = Job(clock)
        self._clock = clock
        self._name = ""  # of the input in work
        self._name_width = 0  # columns
        self._began = self._clock()
        self._next_line = self._began + _FIRST_LINE
        self._items: list[Item] = []
        self._hints: set[tuple[str, str]] = set()  # failures whose hint was printed
        self._warned: Counter[str] = Counter()
        self._fetching = ""
        self._kept: Kept | None = None
        self._chosen_early: list[Chosen] = []  # before the number of inputs is known

    def __enter__(self) -> Reporter:
        if self._mode == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            console = Console(stderr=True)
            self._name_width = max(12, console.width // 4)
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(max(4, min(40, console.width - _FACTS - self._name_width))),
                TextColumn("{task.fields[facts]}", markup=False),
                console=console,
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
        self._job.follow(event)
        match event:
            case Item():
                self._item(event)
            case Outlook(inputs, _):
                self._outlook(inputs)
            case Start(index, total, path):
                self._start(index, total, path.name)
            case Chosen():
                self._chosen(event)
            case Expected():
                self._expected(event)
            case Wait(path, reason):
                self._wait(path.name, reason)
            case Advance():
                self._advance(event)
            case Fetch():
                self._fetch(event.name, event.done, event.total, event.of)
            case Kept(path, frames, total):
                self._kept = event
                if self._mode == "json":
                    say(in_json({"event": "kept", "input": path.name, "frames": frames, "total": total}))
            case Notice(text, details):
                self._notice(text, details)

    def stopped(self) -> None:
        """Show that the work has stopped because the user asked for it."""
        if self._mode == "json":
            say(in_json({"event": "stopped"}))
            return
        done = sum(item.status in ("done", "partial", "skipped") for item in self._items)
        kept = [counted(done, "result")] if done else []
        then = "continues with the next input"
        if video := self._kept:
            kept.append(f"{counted(video.frames, 'frame')} of {video.input.name}")
            of = f" of {video.total}" if video.total and video.total > video.frames else ""
            then = f"continues at frame {video.frames + 1}{of}"
        self._line(
            f"stopped: {' and '.join(kept)} kept; the same command {then}" if kept else "stopped: nothing is kept"
        )

    def close(self) -> None:
        """Show the summary of the run, after its last event."""
        seconds = self._clock() - self._began
        if self._mode == "json":
            counts = Counter(item.status for item in self._items)
            say(in_json({"event": "summary", "inputs": len(self._items), **counts, "seconds": round(seconds, 3)}))
            return
        for warning, number in self._warned.items():
            if number > _SAME_WARNINGS:
                self._line(f"warning: {counted(number - _SAME_WARNINGS, 'more input')}: {warning}")
        if self._tells() and not any(item.status == "planned" for item in self._items):
            for line in summary(self._items, seconds, verbose=self._verbose):
                self._line(line)

    def note(self, text: str) -> None:
        """Show a remark if -v was given."""
        if self._verbose and self._mode != "json":
            self._line(text)

    def _tells(self) -> bool:
        """True if more than errors and warnings is printed."""
        return not self._quiet and self._mode != "none"

    def _outlook(self, inputs: int) -> None:
        for event in self._chosen_early:
            self._chosen(event)
        self._chosen_early.clear()
        if self._bar is not None and self._all is not None:
            self._bar.update(self._all, description=f"{inputs} inputs")
        elif self._bar is not None and inputs > 1:
            self._all = self._bar.add_task(f"{inputs} inputs", total=1.0, facts=self._job_facts())

    def _start(self, index: int, total: int, name: str) -> None:
        self._name = name
        if self._mode == "json":
            say(in_json({"event": "start", "index": index, "inputs": total, "input": name}))
        elif self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(shortened(printable(name), self._name_width), total=None, facts="")

    def _chosen(self, event: Chosen) -> None:
        """Show which model was chosen, and why; of many inputs only with -v, as the summary counts them."""
        if self._mode == "json":
            found = {"found": event.found, "model": event.model}
            say(in_json({"event": "chosen", "input": event.input.name, **found}))
        elif self._job.inputs is None:
            self._chosen_early.append(event)
        elif self._tells() and (self._verbose or self._job.inputs <= _FEW):
            self._line(f"{event.input.name}: {event.found}: {event.model}; -n MODEL overrules it")

    def _expected(self, event: Expected) -> None:
        if self._mode == "json":
            times = {
                "seconds": round(event.seconds),
                "faster": event.faster,
                "faster_seconds": round(event.faster_seconds),
            }
            say(in_json({"event": "expected", "input": event.input.name, "model": event.model, **times}))
        elif self._tells():
            other = f"{in_time(event.faster_seconds)} with -n {event.faster}"
            self._line(
                f"{event.input.name}: about {in_time(event.seconds)} with {event.model} on this CPU; about {other}"
            )

    def _wait(self, name: str, reason: str) -> None:
        if self._mode == "json":
            say(in_json({"event": "wait", "input": name, "reason": reason}))
        elif self._tells():
            self._line(f"{name}: waiting, as {reason}")

    def _notice(self, text: str, details: tuple[str, ...]) -> None:
        if self._mode == "json":
            say(in_json({"event": "notice", "text": text, "details": list(details)}))
        elif self._tells():
            for line in (text, *(f"  {detail}" for detail in details if self._verbose)):
                if line:
                    self._line(line)

    def _advance(self, step: Advance) -> None:
        if self._mode == "json":
            left, whole = self._job.input_left, self._job.left
            line = {"event": "progress", "done": step.done, "total": step.total, "unit": step.unit}
            line["remaining"] = left.seconds if left else None
            line["job"] = {
                "done": self._job.settled,
                "inputs": self._job.inputs,
                "remaining": whole.seconds if whole else None,
                "at_least": bool(whole and whole.at_least),
            }
            say(in_json(line))
        elif self._bar is not None and self._task is not None:
            known = None if step.total is None or step.done > step.total else step.total
            self._bar.update(self._task, completed=step.done, total=known, facts=self._facts(step))
            self._draw_all()
        else:
            self._progress_line(step)

    def _facts(self, step: Advance) -> str:
        """Return the state of the input in work: tiles or frames, their rate, and the time left."""
        total = step.total if step.total is not None and step.done <= step.total else None
        of = "" if total is None else f" of {total}"
        rate = self._job.rate
        rate = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
        rate = f"{rate} {'fps' if step.unit == 'frames' else f'{step.unit}/s'}"
        if step.done == total:
            return f"{step.done}{of} {step.unit}, writing"
        left = self._job.input_left
        return f"{step.done}{of} {step.unit}, {rate}" + (f", {_in_words(left)}" if left else "")

    def _job_facts(self) -> str:
        """Return the state of the whole run: inputs settled, and the time left."""
        left = self._job.left
        return f"{self._job.settled} of {self._job.inputs} inputs" + (f", {_in_words(left)}" if left else "")

    def _draw_all(self) -> None:
        if self._all is not None:
            self._bar.update(self._all, completed=self._job.share, facts=self._job_facts())

    def _progress_line(self, step: Advance | None = None) -> None:
        """Print a line about the work in progress if the last line is old; the intervals grow with the time."""
        now = self._clock()
        if now < self._next_line or not self._tells() or self._mode != "auto":
            return
        least, share = _LINES
        self._next_line = now + max(least, share * (now - self._began))
        several = self._job.inputs is not None and self._job.inputs > 1
        parts = [f"{self._name}: {self._facts(step)}"] if step else []
        if several:
            parts.append(self._job_facts())
        if parts:
            self._line("; ".join(parts))

    def _fetch(self, name: str, done: int, total: int | None, of: str) -> None:
        if self._mode == "json":
            say(in_json({"event": "fetch", of: name, "done": done, "total": total}))
            return
        if name != self._fetching:
            self._fetching = name
            self._start(0, 1, f"fetching {name}")
            if self._mode == "auto" and not self._quiet:
                self._line(f"fetching {name}" + (f", {in_bytes(total)}" if total else ""))
        if self._bar is not None:
            facts = in_bytes(done) + (f" of {in_bytes(total)}" if total else "")
            self._bar.update(self._task, completed=done, total=total, facts=facts)

    def _item(self, item: Item) -> None:
        self._items.append(item)
        if self._mode == "json":
            say(in_json({"event": "item", **item.to_json()}))
            return
        if self._bar is not None:
            self._draw_all()
        if item.status in ("stopped", "untried"):  # the end of the run is reported once, not for each input
            return
        if item.status == "failed":
            self._failed(item)
            return
        for warning in item.warnings:
            self._warned[warning] += 1
            if self._warned[warning] <= _SAME_WARNINGS or self._verbose:
                self._line(f"warning: {item.input.name}: {warning}")
        if item.status == "partial":
            self._line(f"error: {item.output} is incomplete: {item.reason}")
            self._line("  try: repair the input: ffmpeg -i IN -c copy OUT.mkv")
        elif item.status == "skipped":
            if self._tells() and (self._verbose or self._job.inputs == 1):
                self._line(f"{item.output} (skipped: {item.reason})")
        elif item.status == "done" and self._tells():
            size = f"{item.out_size[0]}x{item.out_size[1]}, " if item.out_size else ""
            self._line(f"{item.output} ({size}{item.seconds:.1f} s)")
            self._progress_line()

    def _failed(self, item: Item) -> None:
        """Print the error, and the hint unless it was printed for an equal failure."""
        named = item.input.name in item.reason
        self._line(f"error: {item.reason}" if named else f"error: {item.input}: {item.reason}")
        kind = kind_of(item), item.hint
        if kind not in self._hints:
            self._hints.add(kind)
            self._line(f"  try: {item.hint}")

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            say(text)


def _in_words(left: Left) -> str:
    return f"{'at least ' if left.at_least else ''}{in_time(left.seconds)} left"
