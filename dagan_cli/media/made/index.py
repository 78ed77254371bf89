"""Facts about files, kept for later runs in one SQLite file of the user's, by the path of a file and its state.

The state is device, inode, size, and the times of the last change of content and of attributes, in nanoseconds. A
program can set the first of these times, but not the second. Where that one is something else, on Windows, nothing is
kept. Each row carries a checksum. An index that is damaged, foreign, locked or not writable costs time, not results.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

from dagan_cli.errors import CannotWrite
from dagan_cli.files import Folder, whole_or_absent
from dagan_cli.version import __version__

if TYPE_CHECKING:  # Python may have been built without it
    import sqlite3

MOST_BYTES = 1 << 29  # of all rows: about two million
_SETTLED = 3_000_000_000  # nanoseconds; the clocks of file systems tick every two seconds at worst
_PATIENCE = 2.0  # seconds that a statement waits for another process
_BATCH = 5000  # rows in memory before they are written
_AT_ONCE = 256  # rows that are fetched at most
_FOLDERS = 8  # whose rows are in memory
_PAGE = 4096  # bytes
_NAME = f"files 1 {__version__}"  # of the table; other versions find other facts, and 1 changes with their meaning
_TABLE = f'"{_NAME}"'
_COLUMNS = "state, kind, answer, identity, record, checksum"
_LOOKUP = f"SELECT name, {_COLUMNS} FROM {_TABLE} WHERE folder=? AND name>=? ORDER BY name LIMIT ?"
_DAMAGED = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
_STATE = Struct("<QQqqq")
STATE_BYTES = _STATE.size


class Facts(NamedTuple):
    """What is known of a file in one state; "" is unknown."""

    kind: str = ""
    answer: str = ""
    identity: str = ""
    record: str = ""


_NONE = Facts()


def state_of(path: str | Path) -> bytes:
    """Return the state of the regular file at `path`, links followed; b"" for anything else."""
    try:
        found = os.stat(path)
    except OSError:
        return b""
    if not stat.S_ISREG(found.st_mode):
        return b""
    return _STATE.pack(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def place_in(state: bytes) -> bytes:
    """Return what all names of the file with this state have in common."""
    return state[:16]  # device and inode


def is_settled(state: bytes, now: int) -> bool:
    """True if a file with this state at the time `now` (nanoseconds) has another one as soon as it changes.

    A file that has changed just before may change again within the same tick of its file system's clock.
    """
    return bool(state) and max(_STATE.unpack(state)[3:]) < now - _SETTLED


@dataclass(slots=True)
class _Rows:
    """Rows of a folder that were fetched at once: those with names from `first` to `last`."""

    first: bytes
    last: bytes | None  # None: to the end
    rows: dict[bytes, tuple[Any, ...]]  # by name: the other columns


class Index:
    """Facts by path. It is opened on first use; a failure ends its use for this run.

    Files that are looked up in the order of their names are fetched together.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._is_usable = os.name == "posix"
        self._folders: dict[str, bytes] = {}  # real paths by the paths in use
        self._fetched: dict[bytes, _Rows] = {}  # by folder
        self._new: dict[tuple[bytes, bytes], tuple[bytes, Facts]] = {}  # rows to write: state and facts

    def get(self, path: Path, state: bytes) -> Facts:
        """Return what is known of a file in this state."""
        key = self._key(path)
        known = self._new.get(key) or self._row(*key)
        return known[1] if known and known[0] == state else _NONE

    def put(self, path: Path, state: bytes, facts: Facts) -> None:
        """Keep the facts of a file in this state, in place of all that was known of it."""
        if self._is_usable:
            self._new[self._key(path)] = state, facts
            if len(self._new) >= _BATCH:
                self._write()

    def close(self) -> None:
        """Write what is new."""
        if self._new and self._is_usable:
            self._write()
        self._leave()

    def _key(self, path: Path) -> tuple[bytes, bytes]:
        folder, slash, name = os.fspath(path).rpartition("/")
        folder += slash
        real = self._folders.get(folder)
        if real is None:
            real = self._folders[folder] = os.fsencode(os.path.realpath(folder))
        return real, os.fsencode(name)

    def _row(self, folder: bytes, name: bytes) -> tuple[bytes, Facts] | None:
        if not self._is_usable:
            return None
        try:
            known = self._fetched.get(folder)
            if known is None or name < known.first or (known.last is not None and name > known.last):
                known = self._fetch(folder, name, known)
            row = known.rows.get(name)
            if row is None or row[-1] != _checksum((folder, name), row[:-1]):
                return None
            return row[0], Facts._make(row[1:-1])
        except Exception as error:
            self._give_up(error)
            return None

    def _fetch(self, folder: bytes, name: bytes, before: _Rows | None) -> _Rows:
        """Return rows of a folder from `name` on: few at first, more if those `before` were used in their order."""
        most = 1
        if before is not None and before.last is not None and name > before.last:
            most = min(_AT_ONCE, 2 * len(before.rows))
        rows = {row[0]: row[1:] for row in self._opened().execute(_LOOKUP, (folder, name, most))}
        if len(self._fetched) >= _FOLDERS:
            self._fetched.clear()
        last = next(reversed(rows)) if len(rows) == most else None
        self._fetched[folder] = found = _Rows(name, last, rows)
        return found

    def _write(self) -> None:
        """Write the new rows, in one transaction; if there is no room left, in place of all others."""
        try:
            database = self._opened()
            database.execute("BEGIN IMMEDIATE")
            pages, free = (database.execute(f"PRAGMA {of}_count").fetchone()[0] for of in ("page", "freelist"))
            if (pages - free) * _PAGE > MOST_BYTES:
                database.execute(f"DELETE FROM {_TABLE}")
            rows = ((key, (state, *facts)) for key, (state, facts) in self._new.items())
            every = ((*key, *row, _checksum(key, row)) for key, row in rows)
            database.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", every)
            database.execute("COMMIT")
        except Exception as error:
            self._give_up(error)
        self._new.clear()
        self._fetched.clear()

    def _opened(self) -> sqlite3.Connection:
        """Return the open database, made if it is missing. Raises almost anything, if it is damaged."""
        if self._database is not None:
            return self._database

        import sqlite3

        if not os.path.lexists(self._path):
            with suppress(CannotWrite), whole_or_absent(self._path, replace=False):
                pass  # an empty file is an empty database; another process may make it too
        found = os.lstat(self._path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(f"{self._path} is no file of its own")
        place = f"file:{quote(os.fsencode(os.path.abspath(self._path)))}?mode=rw"
        self._database = database = sqlite3.connect(place, uri=True, timeout=_PATIENCE, isolation_level=None)
        # Neither a journal on the disk nor syncs: what a crash tears is noticed, and made again.
        for setting in ("journal_mode=MEMORY", "synchronous=OFF", "trusted_schema=OFF", "cell_size_check=ON"):
            database.execute(f"PRAGMA {setting}")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if _NAME not in tables:
            if not all(name.startswith(_NAME[:6]) for name in tables):
                raise OSError(f"{self._path} is a database of another program")
            database.execute("BEGIN IMMEDIATE")
            for name in tables:
                database.execute('DROP TABLE IF EXISTS "{}"'.format(name.replace('"', '""')))
            columns = f"folder, name, {_COLUMNS}, PRIMARY KEY (folder, name)"
            database.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} ({columns}) WITHOUT ROWID")
            database.execute("COMMIT")
        return database

    def _give_up(self, error: Exception) -> None:
        """Use it no more in this run, and remove it if it is damaged."""
        self._is_usable = False
        self._leave()
        if getattr(error, "sqlite_errorcode", 0) in _DAMAGED:
            with suppress(OSError), Folder.opened(self._path.parent) as folder:
                folder.remove(self._path.name)

    def _leave(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


def _checksum(key: tuple[bytes, bytes], row: tuple[Any, ...]) -> int:
    """Return the checksum of a row. Raises TypeError for values of other types, which a damaged file may hold."""
    return crc32(b"\0".join((*key, row[0], "\0".join(row[1:]).encode())))
