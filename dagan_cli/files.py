"""Create, lock, replace and remove files, and open regular ones: the only module that does.

What holds, whatever a hostile folder contains and whatever stops the process:

- A name that exists is a finished file. It is written under a random temporary name, which is created exclusively and
  written through the handle that created it, then synced and renamed.
- Nothing is written, locked or removed through a link, and only regular files are replaced.
- Names are resolved in the folder as it was opened, where the platform can: another folder under its name is not used.
- A file or folder is removed only if its name is one that dagan makes, and it is a regular file with no second name.
- Each output has one owner at a time, among all processes and threads of dagan.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, cast

from dagan_cli.errors import CannotWrite

try:
    import fcntl
except ImportError:  # not on this system: then simultaneous runs are not detected
    fcntl = None

PATIENCE = 30.0  # seconds that a short write waits for another process that writes the same file
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
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_RELATIVE = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd and os.listdir in os.supports_fd
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_LOCK_HEADING = b"dagan lock: "
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # of file systems that have none
_POLL = 0.1  # seconds
_held: dict[tuple[object, ...], int] = {}  # outputs owned by each thread, and how often
_acting = threading.local()  # `owner`: the thread whose outputs this one owns too


class Taken(CannotWrite):
    """Another process or thread owns the output."""


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
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS) if _RELATIVE else None
        try:
            yield cls(path, descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def inside(self, name: str) -> Iterator[Folder]:
        """Open a folder in this one, never through a link."""
        descriptor = self._open(name, os.O_RDONLY | os.O_DIRECTORY) if _RELATIVE else None
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
            raise _of_kind(facts.st_mode, name)
        if facts.st_nlink > 1:
            file.close()
            raise OSError(errno.EPERM, "it is a hard link, and another file would change with it", name)
        return file

    def read(self, name: str) -> BinaryIO:
        """Open a regular file for reading, never through a link."""
        if not stat.S_ISREG(mode := self.facts(name).st_mode):
            raise _of_kind(mode, name)
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

    def _open(self, name: str, flags: int) -> int:
        place = self.path / name if self._descriptor is None else name
        return os.open(place, flags | _NO_LINK | _ALWAYS, 0o666, dir_fd=self._descriptor)

    def _handle(self, name: str, flags: int, mode: str) -> BinaryIO:
        # Libraries want a path as the name of a file, not a number.
        return cast(BinaryIO, open(self.path / name, mode, opener=lambda *_: self._open(name, flags)))


@contextmanager
def whole_or_absent(target: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file to write and read; it becomes `target`, synced to disk, only if nothing failed.

    A link of that name is replaced by the file, not followed. Raises CannotWrite for a full disk, a read-only folder
    and the like, for a name that is not a file, and without `replace` for a name that exists by then; Taken if another
    process writes it for longer than PATIENCE.
    """
    with owned(target, patience=PATIENCE), write_errors(target), Folder.opened(target.parent) as folder:
        require_replaceable(target)
        part = f".dagan-{tag_of(target)}.{token_hex(8)}.part{target.suffix[:16]}"
        file = folder.create(part)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            folder.rename(part, target.name, replace=replace)
            folder.sync()
        except FileExistsError as error:
            what = f"{target} appeared while it was made, and is left alone"
            raise CannotWrite(what, hint="name another file with -o, or replace it with -y") from error
        finally:
            with suppress(OSError):  # the folder does not exist any more
                folder.remove(part)


def require_replaceable(target: Path) -> None:
    """Raise CannotWrite if `target` exists and is neither a regular file nor a link."""
    try:
        mode = target.lstat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise CannotWrite(f"cannot write {target}: it is {kind}, and only files are replaced", hint="name another file")


def require_writable(target: Path) -> None:
    """Raise CannotWrite if the folder of `target`, or the first above it that exists, is read-only. Writes nothing."""
    folder = next(each for each in target.absolute().parents if each.exists())
    if os.access(folder, os.W_OK | os.X_OK):
        return
    is_frozen = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    code = errno.EROFS if is_frozen else errno.EACCES
    raise cannot_write(target, OSError(code, os.strerror(code)))


@contextmanager
def owned(target: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Own `target` among all processes and threads of dagan; its folder is made if missing. A thread may own it twice.

    The owner holds a lock on a hidden file next to `target`, and removes it at the end; the system releases the lock of
    a process that is killed, and the next owner removes what it left. Raises Taken if it is owned for longer than
    `patience` seconds, CannotWrite.
    """
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with Folder.opened(target.parent) as folder:
            here = folder.facts(".")
            thread = getattr(_acting, "owner", threading.get_ident())
            key = (os.getpid(), thread, here.st_dev, here.st_ino, target.name)
            if key in _held:
                _held[key] += 1
                try:
                    yield
                finally:
                    _held[key] -= 1
                return
            name = f".dagan-{tag_of(target)}.lock"
            lock = _locked(folder, name, target, time.monotonic() + patience)
            _held[key] = 1
            try:
                yield
            finally:
                del _held[key]
                with suppress(OSError):  # the folder does not exist any more
                    folder.remove(name)
                os.close(lock)


@contextmanager
def acting_for(thread: int) -> Iterator[None]:
    """Own in this thread what the other `thread` owns and has handed over; it must not write it at the same time."""
    _acting.owner = thread
    try:
        yield
    finally:
        del _acting.owner


def tidy(target: Path) -> None:
    """Remove what a killed process left beside `target`, unless it is owned."""
    with suppress(OSError, CannotWrite):
        target.with_name(f".dagan-{tag_of(target)}.lock").lstat()
        with owned(target):
            pass


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


def tag_of(target: Path) -> str:
    """Return the part that hidden names beside `target` have in common; short even if the target's name is long."""
    return sha256(os.fsencode(target.name)).hexdigest()[:16]


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
        raise _of_kind(mode, str(path))
    file = open(path, "rb", opener=lambda *_: os.open(path, os.O_RDONLY | _ALWAYS))  # noqa: SIM115  # the caller closes
    if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode):  # exchanged since
        file.close()
        raise _of_kind(mode, str(path))
    return file


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most so many bytes. Raises OSError."""
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


def _of_kind(mode: int, name: str) -> OSError:
    if stat.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    return OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a file", name)


def _locked(folder: Folder, name: str, target: Path, until: float) -> int:
    """Return the open lock file, once it is locked and still has its name."""
    while True:
        lock, is_new = _lock_file(folder, name)
        try:
            if _try_lock(lock):
                if _is_still(folder, name, lock):
                    if not is_new:
                        _remove_parts(folder, target)
                    os.ftruncate(lock, 0)
                    os.pwrite(lock, _LOCK_HEADING + f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                    return lock
            elif time.monotonic() >= until:
                raise Taken(f"{_holder(lock)} is writing {target}", hint="wait for it, or stop it")
            else:
                time.sleep(_POLL)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _lock_file(folder: Folder, name: str) -> tuple[int, bool]:
    """Return the open lock file, and True if it is new. Raises CannotWrite for a foreign file of that name."""
    with suppress(FileExistsError):
        return folder._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
    try:
        lock = folder._open(name, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):  # BSD: EMLINK for a link
            raise
        raise _foreign(folder.path / name) from error
    facts = os.fstat(lock)
    content = os.pread(lock, 256, 0) if stat.S_ISREG(facts.st_mode) else b"?"
    if facts.st_nlink > 1 or (content and not content.startswith(_LOCK_HEADING)):
        os.close(lock)
        raise _foreign(folder.path / name)
    return lock, False


def _foreign(path: Path) -> CannotWrite:
    return CannotWrite(f"{path} is in the way, and dagan did not make it", hint="remove it, or write elsewhere")


def _try_lock(lock: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_still(folder: Folder, name: str, lock: int) -> bool:
    """True unless the previous owner removed the file after it was opened here."""
    try:
        return os.path.samestat(folder.facts(name), os.fstat(lock))
    except FileNotFoundError:
        return False


def _remove_parts(folder: Folder, target: Path) -> None:
    """Remove the temporary files of owners that were killed."""
    part = re.compile(re.escape(f".dagan-{tag_of(target)}.") + r"[0-9a-f]{16}\.part(\..*)?", re.DOTALL)
    for name in folder.names():
        if part.fullmatch(name):
            folder.remove(name)


def _holder(lock: int) -> str:
    """Return who holds the lock, as the owner noted it."""
    noted = os.pread(lock, 256, 0).removeprefix(_LOCK_HEADING).decode("ascii", "replace")
    return f"another dagan ({noted})" if re.fullmatch(r"process \d+ on [\w.-]+", noted) else "another dagan process"
