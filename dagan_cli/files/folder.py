"""Open folders, in which names are created, read, renamed and removed, and the errors of disk and folder in words."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, cast

from dagan_cli.errors import CannotWrite

_HINT = "check the folder and the disk, or write elsewhere"
_GONE = "the disk, or the folder on the network, has gone: connect it, and run the same command again"
_ADVICE = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EROFS: "write to another folder",
    errno.EACCES: "check the folder's permissions, or write elsewhere",
    errno.ENOENT: "something removed the folder or the file while it was used; run the same command again",
    errno.ENOTDIR: "part of the path is a file; name another folder",
    errno.EEXIST: "part of the path is a file; name another folder",
    errno.EISDIR: "a folder of that name is in the way; name another file",
    errno.ELOOP: "links lead in a circle; name another folder",
    errno.ENAMETOOLONG: "name a shorter file",
    errno.EIO: "the disk reports an error; write to another one",
    errno.EPERM: "check the folder's permissions, or write elsewhere",
    errno.ESTALE: _GONE,
    errno.ENODEV: _GONE,
    errno.ENXIO: _GONE,
    errno.ENOTCONN: _GONE,
    errno.EFBIG: "the file system or a limit refuses files of this size; write elsewhere",
}
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_RELATIVE = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd and os.listdir in os.supports_fd
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def cannot_write(target: Path, error: OSError) -> CannotWrite:
    """Return the error, for the user, that `target` could not be written."""
    reason = (error.strerror or str(error)).lower()
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return CannotWrite(
        f"cannot write {target}: {reason}", hint=_ADVICE.get(error.errno or 0, _HINT), ends_the_batch=full
    )


def is_write_failure(error: OSError) -> bool:
    """True if `error` is about the disk or the folder, not about one file's content."""
    return error.errno in _ADVICE


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Report failures of disk and folder as CannotWrite, for `target`."""
    try:
        yield
    except OSError as error:
        if is_write_failure(error):
            raise cannot_write(target, error) from error
        raise


class Folder:
    """An open folder. Names are resolved in it, even if it is renamed or another one takes its name. Raises OSError."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Folder]:
        """Open a folder that the user named; links to folders are followed, as for every program."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | ALWAYS) if _RELATIVE else None
        try:
            yield cls(path, descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def inside(self, name: str) -> Iterator[Folder]:
        """Open a folder in this one, never through a link."""
        descriptor = self.open(name, os.O_RDONLY | os.O_DIRECTORY) if _RELATIVE else None
        if descriptor is None and not stat.S_ISDIR(self.facts(name).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        try:
            yield Folder(self.path / name, descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def create(self, name: str) -> BinaryIO:
        """Create a file exclusively, for writing and reading."""
        return self._handle(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, "w+b")

    def append(self, name: str) -> BinaryIO:
        """Open a regular file with no second name to append to, created if missing."""
        file = self._handle(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, "ab")
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            file.close()
            raise of_kind(facts.st_mode, name)
        if facts.st_nlink > 1:
            file.close()
            raise OSError(errno.EPERM, "it is a hard link, and another file would change with it", name)
        return file

    def read(self, name: str) -> BinaryIO:
        """Open a regular file for reading, never through a link."""
        if not stat.S_ISREG(mode := self.facts(name).st_mode):
            raise of_kind(mode, name)
        return self._handle(name, os.O_RDONLY, "rb")

    def facts(self, name: str) -> os.stat_result:
        """Return what the folder says of a name; a link is not followed."""
        if self._descriptor is None:
            return os.lstat(self.path / name)
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def names(self) -> list[str]:
        """Return all names in the folder."""
        return os.listdir(self.path if self._descriptor is None else self._descriptor)

    def make(self, name: str) -> bool:
        """Make a folder in this one; return False if the name exists."""
        try:
            if self._descriptor is None:
                (self.path / name).mkdir()
            else:
                os.mkdir(name, dir_fd=self._descriptor)
        except FileExistsError:
            return False
        return True

    def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Rename a file. Raises FileExistsError for a name that exists, unless it may be replaced."""
        old_, new_, places = self._places(old, new)
        if replace:
            os.replace(old_, new_, **places)
            return
        try:
            os.link(old_, new_, **places, **({} if self._descriptor is None else {"follow_symlinks": False}))
        except FileExistsError:
            raise
        except OSError:  # this file system has no hard links: a moment remains in which the name can appear
            with suppress(FileNotFoundError):
                self.facts(new)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
            os.replace(old_, new_, **places)
            return
        self._unlink(old)

    def remove(self, name: str) -> bool:
        """Remove a regular file with no second name; anything else stays. Returns True if the name is free."""
        try:
            facts = self.facts(name)
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                return False
            self._unlink(name)
        except FileNotFoundError:
            return True
        return True

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        if self._descriptor is None:
            (self.path / name).rmdir()
        else:
            os.rmdir(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        """Flush the folder's list of names to the disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def is_own(self, name: str) -> bool:
        """True if the user who runs this owns `name`; some file systems show one owner for all files."""
        if not hasattr(os, "geteuid"):
            return True
        owner = self.facts(name).st_uid
        if owner == os.geteuid():
            return True
        probe = f".dagan-{token_hex(8)}.part"
        with self.create(probe) as file:
            shown = os.fstat(file.fileno()).st_uid
        self.remove(probe)
        return owner == shown

    def _places(self, old: str, new: str) -> tuple[str | Path, str | Path, dict[str, int]]:
        if self._descriptor is None:
            return self.path / old, self.path / new, {}
        return old, new, {"src_dir_fd": self._descriptor, "dst_dir_fd": self._descriptor}

    def _unlink(self, name: str) -> None:
        os.unlink(self.path / name if self._descriptor is None else name, dir_fd=self._descriptor)

    def open(self, name: str, flags: int) -> int:
        place = self.path / name if self._descriptor is None else name
        return os.open(place, flags | NO_LINK | ALWAYS, 0o666, dir_fd=self._descriptor)

    def _handle(self, name: str, flags: int, mode: str) -> BinaryIO:
        # Libraries want a path as the name of a file, not a number.
        return cast(BinaryIO, open(self.path / name, mode, opener=lambda *_: self.open(name, flags)))


def tag_of(target: Path) -> str:
    """Return the part that hidden names next to `target` have in common; short even if the target's name is long."""
    return sha256(os.fsencode(target.name)).hexdigest()[:16]


def of_kind(mode: int, name: str) -> OSError:
    if stat.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    return OSError(errno.EINVAL, f"it is {KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a file", name)
