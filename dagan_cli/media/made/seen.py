"""Facts about files that take reading them, remembered for as long as the files are unchanged.

A run over finished files asks the same of each of them as the run before did: is it an image, how large, which content
has it, what made it. Each answer follows from the content of one file alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from dagan_cli.media.made.beside import read_beside
from dagan_cli.media.made.identity import identity_of
from dagan_cli.media.made.index import STATE_BYTES, Facts, Index, is_settled, place_in, state_of
from dagan_cli.media.made.record import from_text
from dagan_cli.media.made.stored import read_inside
from dagan_cli.media.sniff import kind_by_content

_FEW = 100  # facts that are read without the index: for a few files, opening it would not pay
_LONGEST = (
    4096  # characters of a fact that is kept: of our own they are a few hundred, but any file may hold a "record"
)


class Seen:
    """Facts about files, from the index if it knows them, else from the files. The main thread uses it."""

    def __init__(self, index: Path | None = None) -> None:
        """`index` is the file of the index, existing or not; None: everything is read."""
        self._index = None if index is None else Index(index)
        self._asked = 0
        self._last: tuple[Path | None, bytes, Facts] = None, b"", Facts()  # what was known of the file asked about last
        self._held: dict[Path, bytes] = {}  # states and identities, in one piece as there are many
        self._answers: dict[Path, str] = {}  # of files that are held

    def kind(self, path: Path) -> Literal["picture", "video"] | None:
        """Return what a file is, as `kind_by_content` does; None if it cannot be read."""
        try:
            found = self._fact(path, "kind", lambda: kind_by_content(path) or "neither")
        except OSError:
            return None
        return found if found == "picture" or found == "video" else None

    def hold(self, path: Path) -> None:
        """Take the file that was asked about last as it was then, until its identity is asked for."""
        last, state, facts = self._last
        if last is path:
            self._held[path] = state + facts.identity.encode()
            if facts.answer:
                self._answers[path] = facts.answer

    def place(self, path: Path) -> bytes:
        """Return what all names of a file have in common; b"" if there is none."""
        return place_in(self._held.get(path) or state_of(path))  # of a held one, the state comes first

    def answer(self, path: Path, question: str, ask: Callable[[], str]) -> str:
        """Return what `ask` says of a file, which follows from its content, its name and the question alone.

        One answer is remembered for each file: that to the question that came last.
        """
        start = f"{question} "
        if (held := self._answers.pop(path, "")).startswith(start):
            return held[len(start) :]
        return self._fact(path, "answer", lambda: start + ask(), start)[len(start) :]

    def identity(self, path: Path) -> str:
        """Return the identity of a file, as `identity_of` does. Raises OSError."""
        held = self._held.pop(path, b"")
        if len(held) > STATE_BYTES and held[:STATE_BYTES] == state_of(path):
            return held[STATE_BYTES:].decode()
        return self._fact(path, "identity", lambda: identity_of(path))

    def record(self, path: Path) -> dict[str, str] | None:
        """Return the fields of the record of a result, as `read_record` does."""
        try:
            inside = self._fact(path, "record", lambda: read_inside(path))
            return from_text(inside) or from_text(read_beside(path, lambda: self.identity(path)))
        except OSError:
            return None

    def close(self) -> None:
        """Remember what was read, for later runs."""
        if self._index is not None:
            self._index.close()

    def _fact(self, path: Path, name: str, read: Callable[[], str], start: str = "") -> str:
        """Return a fact that starts like this, known or read now; `name` is one of `Facts`. Raises what `read` does."""
        self._asked += 1
        if self._index is None or self._asked <= _FEW:
            return read()
        now = time.time_ns()
        state = self._held.get(path, b"")[:STATE_BYTES] or state_of(path)
        facts = self._index.get(path, state)
        found: str = getattr(facts, name)
        if not (found and found.startswith(start)):
            found = read()
            is_kept = 0 < len(found) <= _LONGEST and is_settled(state, now)
            if is_kept and state_of(path) == state:  # neither changed nor exchanged meanwhile
                self._index.put(path, state, facts._replace(**{name: found}))
        self._last = path, state, facts
        return found
