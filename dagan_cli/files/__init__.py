"""Create, claim, replace and remove files, and open regular ones: the only modules that do.

What holds, whatever a hostile folder contains and whatever stops the process:

- A name that exists is a finished file. It is written under a random temporary name, which is created exclusively and
  written through the handle that created it, then synced and renamed.
- Nothing is written, locked or removed through a link, and only regular files are replaced.
- Names are resolved in the folder as it was opened, where the platform can: another folder under its name is not used.
- A file or folder is removed only if its name is one that dagan makes, and it is a regular file with no second name.
- Each output has one owner at a time, among all threads, processes and machines of dagan: see `claims`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from dagan_cli.errors import CannotWrite
from dagan_cli.files.claims import Lost, Taken, acting_for, owned, tidy
from dagan_cli.files.folder import (
    ALWAYS,
    KINDS,
    Folder,
    cannot_write,
    is_write_failure,
    of_kind,
    tag_of,
    write_errors,
)

PATIENCE = 75.0  # seconds that a short write waits for another process that writes the same file; more than EXPIRY

_MARK = re.compile(r"\.dagan-[0-9a-f]{16}\.mark")
_MARK_LASTS = 60.0  # seconds

__all__ = [
    "Folder",
    "Lost",
    "Taken",
    "acting_for",
    "cannot_write",
    "is_write_failure",
    "marked",
    "open_regular",
    "owned",
    "place_of",
    "private_folder",
    "read_regular",
    "remove_tree",
    "require_older",
    "require_replaceable",
    "require_writable",
    "tag_of",
    "tidy",
    "whole_or_absent",
    "write_errors",
]


@contextmanager
def whole_or_absent(target: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file to write and read; it becomes `target`, synced to disk, only if nothing failed.

    A link of that name is replaced by the file, not followed. Raises CannotWrite for a full disk, a read-only folder
    and the like, for a name that is not a file, and without `replace` for a name that exists by then; Taken if another
    process writes it for longer than PATIENCE, Lost if another one took it over meanwhile.
    """
    with owned(target, patience=PATIENCE) as claim, write_errors(target), Folder.opened(target.parent) as folder:
        require_replaceable(target)
        part = f".dagan-{tag_of(target)}.{token_hex(8)}.part{target.suffix[:16]}"
        file = folder.create(part)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            claim.require(target)
            folder.rename(part, target.name, replace=replace)
            folder.sync()
        except FileExistsError as error:
            what = f"{target} appeared while it was made, and is left alone"
            raise CannotWrite(what, hint="name another file with -o, or replace it with -y") from error
        finally:
            with suppress(OSError):  # the folder does not exist any more
                folder.remove(part)


@contextmanager
def marked(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Provide a hidden file in a folder, which is made if missing, and its random content: who reads it is there too.

    It should be short: a file that is a minute old was left by a killed process, and is removed. Raises CannotWrite.
    """
    name, content = f".dagan-{token_hex(8)}.mark", token_hex(16).encode()
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with Folder.opened(folder) as opened:
            with opened.create(name) as file:
                file.write(content)
            try:
                _remove_old_marks(opened, opened.facts(name).st_mtime - _MARK_LASTS)
                yield folder / name, content
            finally:
                with suppress(OSError):
                    opened.remove(name)


def require_replaceable(target: Path) -> None:
    """Raise CannotWrite if `target` exists and is neither a regular file nor a link."""
    try:
        mode = os.lstat(target).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = KINDS.get(stat.S_IFMT(mode), "no file")
        raise CannotWrite(f"cannot write {target}: it is {kind}, and only files are replaced", hint="name another file")


def require_writable(target: Path) -> None:
    """Raise CannotWrite if the folder of `target`, or the first above it that exists, is read-only. Writes nothing."""
    folder = next(each for each in target.absolute().parents if each.exists())
    if os.access(folder, os.W_OK | os.X_OK):
        return
    is_frozen = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    code = errno.EROFS if is_frozen else errno.EACCES
    raise cannot_write(target, OSError(code, os.strerror(code)))


def place_of(path: Path) -> tuple[object, ...]:
    """Return what all names of one place have in common: of a file, or of a name that is free."""
    try:
        found = path.stat()
    except OSError:
        return (os.path.normcase(os.path.realpath(path)),)
    return found.st_dev, found.st_ino


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading. Links are followed, but only to a regular file: a FIFO blocks, a device has no end.

    Raises OSError.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise of_kind(mode, str(path))
    file = open(path, "rb", opener=lambda *_: os.open(path, os.O_RDONLY | ALWAYS))  # noqa: SIM115  # the caller closes
    if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode):  # exchanged since
        file.close()
        raise of_kind(mode, str(path))
    return file


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raises OSError."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
        return file.read(most)


def require_older(target: Path, what: str, mark: bytes) -> None:
    """Raise CannotWrite if `target` exists and is not an older file of its kind, with `mark` at its start."""
    if not os.path.lexists(target):
        return
    require_replaceable(target)
    with suppress(OSError), open_regular(target) as file:
        if mark in (file.read(4096) or mark):
            return
    raise CannotWrite(f"{target} exists and is no {what} of dagan", hint="move it away, or write elsewhere")


def _remove_old_marks(folder: Folder, before: float) -> None:
    for name in folder.names():
        if _MARK.fullmatch(name):
            with suppress(OSError):
                if folder.facts(name).st_mtime < before:
                    folder.remove(name)


def private_folder(path: Path) -> None:
    """Make a folder for this user alone, and those above it, if missing.

    Raises CannotWrite, also for a link and for a folder that others own or may write to.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        facts = path.lstat()
        is_open = hasattr(os, "geteuid") and (facts.st_uid != os.geteuid() or facts.st_mode & 0o022)
        if is_open or not stat.S_ISDIR(facts.st_mode):
            raise CannotWrite(f"{path} is in the way, and not a folder of yours alone", hint="remove it")


def remove_tree(path: Path) -> None:
    """Remove a folder that `private_folder` has made, with all that is in it. Links are removed, not followed."""
    shutil.rmtree(path, ignore_errors=True)
