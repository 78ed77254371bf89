"""The cache that all Hugging Face programs share, in its layout: blobs/<etag>, and links to them from snapshots.

The etag is the sha256 of a large file, or git's sha1 of a small one, so every file can be checked by its name: one that
does not match counts as missing, and is downloaded again.

An archive that was unpacked here may have left anything under the names that are used. So nothing is written through a
link, and what is read is a regular file.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from weights.reference import Reference, is_commit

LARGEST = 2**30  # bytes; as `checkpoint.LARGEST`
_BLOCK = 2**20  # bytes
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))  # O_NONBLOCK: for a FIFO
_NOT_THROUGH_A_LINK = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in the cache, and the commit it belongs to."""

    path: Path
    reference: Reference  # pinned


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder with one folder per repository. `lock` turns a path into the lock that the other programs use."""

    folder: Path
    lock: Callable[[Path], AbstractContextManager[Any]]

    def find(self, reference: Reference) -> Fetched | None:
        """Return the file if it is cached and complete. A branch means its last known commit."""
        commit = reference.revision
        if not reference.is_pinned:
            with suppress(OSError, UnicodeDecodeError), opened(self._of(reference) / "refs" / commit) as file:
                commit = file.read(100).decode()
        if not is_commit(commit):
            return None
        pinned = Reference(reference.repository, commit, reference.file)
        path = self.path(pinned)
        try:
            whole = self._is_linked(path, self._of(pinned) / "blobs") if path.is_symlink() else is_regular(path)
        except OSError:
            return None
        return Fetched(path, pinned) if whole else None

    def path(self, pinned: Reference) -> Path:
        """Return the path of a commit's file, whether it is cached or not."""
        return self._of(pinned) / "snapshots" / pinned.revision / pinned.file

    @contextmanager
    def place(self, reference: Reference, commit: str, etag: str) -> Iterator[Path]:
        """Yield the blob's path to fill, locked against other programs; then link the file to it.

        Raises OSError, also for links to folders, and for anything but a file or a link under one of the names.
        """
        storage = self._of(reference)
        blob = storage / "blobs" / etag
        link = self.path(Reference(reference.repository, commit, reference.file))
        ref = None if reference.is_pinned else storage / "refs" / reference.revision
        lock = self.folder / ".locks" / storage.name / f"{etag}.lock"
        for path in (blob, link, lock, *([ref] if ref else [])):
            self._make_folder(path.parent)
            _refuse_special(path)
        if not _is_single(lock):
            lock.unlink(missing_ok=True)  # the library may open it through a link, and empties it
        with self.lock(lock):
            yield blob
            _replace(link, storage, lambda new: _link_or_copy(blob, new, os.path.relpath(blob, link.parent)))
        if ref:
            _replace(ref, storage, lambda new: _write(new, commit.encode()))

    def holds(self, blob: Path, etag: str) -> bool:
        """True if the blob is complete. Raises OSError.

        The library keeps some files once for all repositories: then the blob is a link into `blobs` of the cache, and
        counts if the etag proves its content.
        """
        shared = os.path.realpath(self.folder / "blobs")
        if blob.is_symlink() and _is_hash(etag) and os.path.realpath(blob).startswith(shared + os.sep):
            blob = Path(os.path.realpath(blob))
        return is_regular(blob) and matches(blob, etag)

    def _is_linked(self, path: Path, blobs: Path) -> bool:
        """True if the link leads to a complete blob of its repository."""
        blob = path.parent / os.readlink(path)
        return os.path.realpath(blob.parent) == os.path.realpath(blobs) and self.holds(blob, blob.name)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of the cache. Raises OSError for a link in its place, which could lead anywhere."""
        for each in (folder, *folder.parents):
            if each == self.folder:
                break
            if each.is_symlink():
                raise OSError(errno.ELOOP, "a link is in the way", str(each))
        folder.mkdir(parents=True, exist_ok=True)

    def _of(self, reference: Reference) -> Path:
        return self.folder / f"models--{reference.repository.replace('/', '--')}"


def matches(path: Path, etag: str) -> bool:
    """True if the content of the regular file matches the etag, or the etag is not a hash. Raises OSError."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not _is_hash(etag):
            return size <= LARGEST
        return size <= LARGEST and _digest(file, sha256() if len(etag) == 64 else sha1(b"blob %d\0" % size)) == etag


def sha256_of(path: Path) -> str:
    """Return the checksum of a regular file, or of the one that a link leads to. Raises OSError."""
    with opened(path, follow=True) as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise OSError(errno.EFBIG, "larger than any model", str(path))
        return _digest(file, sha256())


def is_regular(path: Path) -> bool:
    """True for a regular file, False for a link to one."""
    found = _seen(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def bytes_in(part: Path) -> int:
    """Return the size of a partial file that can be continued, else 0."""
    return os.lstat(part).st_size if _is_single(part) else 0


@contextmanager
def opened(path: Path, *, follow: bool = False) -> Iterator[BinaryIO]:
    """Open a regular file for reading; anything else, and a link unless `follow` is set, is an OSError."""
    flags = _FLAGS | (0 if follow else _NOT_THROUGH_A_LINK)
    with open(path, "rb", opener=lambda name, access: os.open(name, access | flags)) as file:
        _require_regular(file, path)
        yield file


@contextmanager
def writable(part: Path, *, resume: bool) -> Iterator[BinaryIO]:
    """Open a partial file, to continue it or as a new one. Raises OSError.

    Anything else under its name is removed, not written to.
    """
    if not (resume and _is_single(part)):
        part.unlink(missing_ok=True)
    flags = _FLAGS | _NOT_THROUGH_A_LINK
    mode = "ab" if resume else "xb"
    with open(part, mode, opener=lambda name, access: os.open(name, access | flags, 0o666)) as file:
        _require_regular(file, part)
        yield file


def _require_regular(file: BinaryIO, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _refuse_special(path: Path) -> None:
    """Raise OSError for a folder, FIFO, socket or device; a file and a link can be replaced."""
    found = _seen(path)
    if found is not None and not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise OSError(errno.EEXIST, "something that is not a file is in the way", str(path))


def _is_single(path: Path) -> bool:
    """True for a regular file that has no second name: through a hard link, another file would change too."""
    found = _seen(path)
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_nlink <= 1


def _seen(path: Path) -> os.stat_result | None:
    """Return what has this name itself, not what it links to."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _replace(path: Path, near: Path, make: Callable[[Path], None]) -> None:
    """Make a file or link under a random name in a folder of the same disk, and rename it to `path`. Raises OSError."""
    new = near / f".dagan-{token_hex(8)}"
    try:
        make(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _write(new: Path, data: bytes) -> None:
    with writable(new, resume=False) as file:
        file.write(data)


def _link_or_copy(blob: Path, new: Path, target: str) -> None:
    try:
        new.symlink_to(target)
    except OSError:  # the file system has no links
        with opened(blob) as source, writable(new, resume=False) as copy:
            shutil.copyfileobj(source, copy, _BLOCK)


def _is_hash(etag: str) -> bool:
    return len(etag) in (40, 64)


def _digest(file: BinaryIO, digest: Any) -> str:
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
