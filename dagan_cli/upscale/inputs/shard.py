"""Share of the inputs for one of several runs, which need not know of each other."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dagan_cli.errors import BadOption


@dataclass(frozen=True, slots=True)
class Shard:
    """Number `index`, from 1, of `count` shares. Raises BadOption for a number out of range."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            what = f"--shard {self} is out of range"
            raise BadOption(
                what, hint=f"use --shard 1/{max(1, self.count)} to {max(1, self.count)}/{max(1, self.count)}"
            )

    @classmethod
    def of(cls, text: str) -> Shard:
        """Parse I/N. Raises BadOption."""
        if (found := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)) is None:
            raise BadOption(f"invalid --shard {text!r}", hint="use I/N, such as --shard 1/4 to --shard 4/4")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, place: Path) -> bool:
        """True if a file is of this share, by its path below the folder that was named, or its name.

        It depends on nothing else: not on other files, nor on where a machine has mounted the folder.
        """
        digest = sha256(os.fsencode(place.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1
