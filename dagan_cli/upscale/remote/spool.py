"""The spool: a private folder of this machine for inputs that were fetched and results that are not sent yet.

A run's own part of it goes when the run ends; what a killed run left is removed by the next one. The work on films is
kept apart, under a name that follows from where the result goes, so that the same command finds it again.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.files import Folder, owned, private_folder, remove_tree, write_errors

PLACE, SIZE = "DAGAN_SPOOL", "DAGAN_SPOOL_SIZE"
MOST_FILES = 64  # that are fetched and not upscaled yet, or upscaled and not sent yet
_MOST_BYTES = 16 << 30  # of these files, unless one of them alone is larger
_SPARE = 256 << 20  # bytes of the disk that are left free
_LONGEST_KEPT = 30 * 86400  # seconds that the work on a film waits for the same command
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Spool:
    """The part of the spool that a run uses. Only the main thread changes what is counted."""

    def __init__(self, root: Path, own: Path, asked: int | None) -> None:
        self.root, self.own = root, own
        self._asked = asked
        self.most = asked or min(_MOST_BYTES, shutil.disk_usage(root).free // 2)  # bytes
        self._count = 0
        self._files = self._bytes = 0

    def new_folder(self, kind: str) -> Path:
        """Make and return a new, empty folder of this run."""
        self._count += 1
        path = self.own / f"{kind}-{self._count:06d}"
        private_folder(path)
        return path

    def film_folder(self, key: str) -> Path:
        """Return the folder for the work on a film; it is to be owned before it is made."""
        return self.root / "films" / key

    def fits(self, files: int, size: int) -> bool:
        """True if there is room for more files; if there are none, for any."""
        return not self._files or (self._files + files <= MOST_FILES and self._bytes + size <= self.most)

    def take(self, files: int, size: int) -> None:
        """Count more files, or fewer."""
        self._files += files
        self._bytes += size

    def lacks(self, size: int, is_declared: bool) -> str:
        """Return why a file of a size, declared or reached so far, cannot be fetched, or "". Any thread may ask."""
        if not is_declared and size > self.most:
            return f"its server declares no size, and sends more than {in_words(self.most)}"
        if self._asked and size > self._asked:
            return f"it has more than the {in_words(self._asked)} that {SIZE} allows"
        free = shutil.disk_usage(self.root).free - _SPARE
        if size > free:
            return f"it has {in_words(size)} or more, and {in_words(max(0, free))} are free in the spool {self.root}"
        return ""


@contextmanager
def open_spool() -> Iterator[Spool]:
    """Make a run's part of the spool, and remove it at the end; remove what killed runs left. Raises CannotWrite."""
    user = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
    root = Path(os.environ.get(PLACE) or tempfile.gettempdir()).absolute() / f"dagan-spool-{user}"
    asked = _size(os.environ.get(SIZE, ""))
    for folder in (root, root / "runs", root / "films"):
        private_folder(folder)
    _sweep(root)
    own = root / "runs" / token_hex(8)
    with owned(own):
        private_folder(own)
        try:
            yield Spool(root, own, asked)
        finally:
            remove_tree(own)


def create(path: Path) -> BinaryIO:
    """Create a file in the spool, and the folders above it. Raises CannotWrite."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with Folder.opened(path.parent) as folder:
            return folder.create(path.name)


def discard(path: Path) -> None:
    """Remove a file of the spool, if it is there."""
    with suppress(OSError), Folder.opened(path.parent) as folder:
        folder.remove(path.name)


def bytes_in(folder: Path) -> int:
    """Return the size of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _sweep(root: Path) -> None:
    """Remove what runs left that are dead, and the work on films that nobody continued for long."""
    for kind, least in (("runs", 0.0), ("films", _LONGEST_KEPT)):
        with suppress(OSError):
            for name in os.listdir(root / kind):
                path = root / kind / name
                if re.fullmatch(r"[0-9a-f]{16,24}", name) and time.time() - path.lstat().st_mtime >= least:
                    with ExitStack() as stack:
                        try:
                            stack.enter_context(owned(path))
                        except CannotWrite:  # its owner lives
                            continue
                        remove_tree(path)


def _size(text: str) -> int | None:
    """Parse a size such as 20G; None for an empty one. Raises BadOption."""
    found = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not text.strip():
        return None
    if not found or not int(found[1]):
        raise BadOption(f"invalid {SIZE} {text!r}", hint=f"use a size such as {SIZE}=20G")
    return int(found[1]) * _UNITS[found[2].upper()]
