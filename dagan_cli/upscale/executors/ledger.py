"""Tell the events of inputs that are worked on at once in the order of the inputs, as one process would."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dagan_cli.upscale.events import Advance, Event, Item, Start, Tell


class Ledger:
    """Holds back what later inputs tell until the earlier ones have their Items. One thread uses it."""

    def __init__(self, paths: Iterable[Path], tell: Tell) -> None:
        self._order = deque(paths)
        self._total = len(self._order)
        self._open = set(self._order)  # inputs without an Item
        self._tell = tell
        self._count = 0  # inputs whose Items are told
        self._begun: set[Path] = set()
        self._in_front: Path | None = None  # the input whose start is told
        self._held: dict[Path, list[Event]] = {}
        self._advance: dict[Path, Advance] = {}  # the last one of each input that is not told
        self._items: dict[Path, Item] = {}

    def has(self, path: Path) -> bool:
        """True if an input has its Item."""
        return path not in self._open

    def start(self, path: Path) -> None:
        """Start the work on an input, perhaps again: then its rate is counted from here."""
        self._begun.add(path)
        if path == self._in_front:
            self._in_front = None
        self._settle()

    def tell(self, path: Path, event: Event) -> None:
        """Tell an event of an input, or hold it back."""
        if path == self._in_front:
            self._tell(event)
        elif isinstance(event, Advance):
            self._advance[path] = event
        else:
            self._held.setdefault(path, []).append(event)

    def item(self, item: Item) -> None:
        """Tell the Item of an input, or hold it back."""
        self._items[item.input] = item
        self._open.discard(item.input)
        self._settle()

    def postpone(self, path: Path) -> None:
        """Put an input behind all others."""
        self._order.remove(path)
        self._order.append(path)
        self._begun.discard(path)
        if self._in_front == path:
            self._in_front = None
        self._settle()

    def end(self) -> None:
        """Tell all Items there are, as no others will follow."""
        for path in [path for path in self._order if path in self._items]:
            self._flush(path)

    def _settle(self) -> None:
        while self._order:
            path = self._order[0]
            if path in self._items:
                self._order.popleft()
                self._flush(path)
            else:
                if path in self._begun:
                    self._present(path)
                return

    def _flush(self, path: Path) -> None:
        if path in self._begun:
            self._present(path)
        self._tell_held(path)
        self._advance.pop(path, None)
        self._tell(self._items.pop(path))
        self._begun.discard(path)
        self._in_front = None
        self._count += 1

    def _present(self, path: Path) -> None:
        """Tell that the work on an input begins, and what it has told before."""
        if self._in_front == path:
            return
        self._in_front = path
        self._tell(Start(self._count, self._total, path))
        self._tell_held(path)
        if (step := self._advance.pop(path, None)) is not None:
            self._tell(replace(step, resumed=step.done))  # its rate counts from now on

    def _tell_held(self, path: Path) -> None:
        for event in self._held.pop(path, ()):
            self._tell(event)
