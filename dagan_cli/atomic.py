"""Atomic writes: write next to the target, sync, rename, so that a name that exists is a finished file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from dagan_cli.errors import CannotWrite

_ADVICE = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EROFS: "write to another folder",
    errno.EACCES: "check the folder's permissions, or write elsewhere",
    errno.ENOTDIR: "part of the path is a file; name another folder",
    errno.EEXIST: "part of the path is a file; name another folder",
    errno.EISDIR: "a folder of that name is in the way; name another file",
    errno.ELOOP: "links lead in a circle; name another folder",
    errno.ENAMETOOLONG: "name a shorter file",
    errno.EIO: "the disk reports an error; write to another one",
    errno.EPERM: "check the folder's permissions, or write elsewhere",
    errno.EFBIG: "the file system or a limit refuses files of this size; write elsewhere",
}


def cannot_write(target: Path, error: OSError) -> CannotWrite:
    """Return the error, for the user, that `target` could not be written."""
    reason = (error.strerror or str(error)).lower()
    hint = _ADVICE.get(error.errno or 0, "check the folder and the disk, or write elsewhere")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return CannotWrite(f"cannot write {target}: {reason}", hint=hint, ends_the_batch=full)


def is_write_failure(error: OSError) -> bool:
    """True if `error` is about the disk or the folder, not about one file's content."""
    return error.errno in _ADVICE


def part_of(target: Path) -> Path:
    """Return the hidden name next to `target` for the unfinished file; short even if the target's name is long."""
    tag = sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".dagan-{tag}.part{target.suffix[:16]}")


@contextmanager
def whole_or_absent(target: Path) -> Iterator[Path]:
    """Yield a hidden path to write to; it becomes `target`, synced to disk, only if nothing failed.

    Raises CannotWrite for a full disk, a read-only folder and the like.
    """
    part = part_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield part
        sync(part)
        part.replace(target)
        sync(target.parent)
    except OSError as error:
        if is_write_failure(error):
            raise cannot_write(target, error) from error
        raise
    finally:
        with suppress(OSError):  # the file or its folder does not exist
            part.unlink()


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
