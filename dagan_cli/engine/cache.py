"""Cache of data that can be made again, such as compiled networks, in a folder of the user's.

A file that is damaged, of another kind or too large counts as missing. A folder that cannot be written costs time, not
results.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dagan_cli.errors import CannotWrite
from dagan_cli.files import Folder, read_regular, whole_or_absent

FOLDER = "DAGAN_CACHE"
_MARK = b"dagan cache 1\n"
_HEAD = len(_MARK) + 32  # bytes before the content: the mark, and the sha256 of name and content


def cache_folder() -> Path:
    """Return the folder for all that can be made again, existing or not: $DAGAN_CACHE, or one of the user's caches."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "dagan" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/dagan"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dagan"


@dataclass(frozen=True, slots=True)
class Cache:
    """Named pieces of data in a folder, the least recently used removed first.

    Names are file names. A sha256 of the name and the content is checked when it is read, so that a file under the name
    of another counts as damaged.
    """

    folder: Path
    suffix: str  # of all its files; others in the folder are left alone
    most: int  # bytes of all its files; larger pieces are not kept

    def get(self, name: str) -> bytes | None:
        """Return the content, or None if it is missing, damaged or cannot be read; a damaged file is removed."""
        path = self.folder / f"{name}{self.suffix}"
        try:
            data = read_regular(path, self.most)
        except OSError:
            return None
        head, content = data[:_HEAD], data[_HEAD:]
        if head != _head(name, content):
            with suppress(OSError), Folder.opened(self.folder) as folder:
                folder.remove(path.name)
            return None
        with suppress(OSError):
            os.utime(path)  # it was used
        return content

    def put(self, name: str, content: bytes) -> str | None:
        """Keep the content under the name. Returns why it was not kept, or None."""
        if _HEAD + len(content) > self.most:
            return f"it is larger than {self.most / 2**20:.0f} MiB"
        path = self.folder / f"{name}{self.suffix}"
        try:
            with whole_or_absent(path) as file:
                file.write(_head(name, content))
                file.write(content)
            self._trim()
        except CannotWrite as error:
            return str(error).replace(str(path), str(self.folder))
        except OSError as error:
            return f"cannot write {self.folder}: {(error.strerror or str(error)).lower()}"
        return None

    def size(self) -> int:
        """Return the bytes of all its files."""
        with suppress(OSError), Folder.opened(self.folder) as folder:
            return sum(size for _, size, _ in self._files(folder))
        return 0

    def _trim(self) -> None:
        """Remove the files that were not used for longest, until the rest is small enough. Raises OSError."""
        with Folder.opened(self.folder) as folder:
            files = sorted(self._files(folder))
            left = sum(size for _, size, _ in files)
            for _, size, name in files:
                if left <= self.most:
                    break
                with suppress(OSError):  # another process removed it
                    folder.remove(name)
                left -= size

    def _files(self, folder: Folder) -> list[tuple[float, int, str]]:
        """Return when each file was used last, its size and its name."""
        found = []
        for name in folder.names():
            if name.endswith(self.suffix) and not name.startswith("."):
                with suppress(OSError):
                    facts = folder.facts(name)
                    found.append((facts.st_mtime, facts.st_size, name))
        return found


def _head(name: str, content: bytes) -> bytes:
    digest = sha256(name.encode() + b"\0")
    digest.update(content)
    return _MARK + digest.digest()
