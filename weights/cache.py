"""The cache that all Hugging Face programs share, in its layout: blobs/<etag>, and links to them from snapshots.

The etag is the sha256 of a large file, or git's sha1 of a small one, so every file can be checked by its name: one that
does not match counts as missing, and is downloaded again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

from weights.reference import Reference, is_commit


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
            with suppress(OSError, UnicodeDecodeError):
                commit = (self._of(reference) / "refs" / reference.revision).read_text()
        if not is_commit(commit):
            return None
        pinned = Reference(reference.repository, commit, reference.file)
        path = self.path(pinned)
        try:
            whole = path.is_file() and matches(path, path.resolve().name)
        except OSError:
            return None
        return Fetched(path, pinned) if whole else None

    def path(self, pinned: Reference) -> Path:
        """Return the path of a commit's file, whether it is cached or not."""
        return self._of(pinned) / "snapshots" / pinned.revision / pinned.file

    @contextmanager
    def place(self, reference: Reference, commit: str, etag: str) -> Iterator[Path]:
        """Yield the blob's path to fill, locked against other programs; then link the file to it. Raises OSError."""
        storage = self._of(reference)
        blob = storage / "blobs" / etag
        link = self.path(Reference(reference.repository, commit, reference.file))
        lock = self.folder / ".locks" / storage.name / f"{etag}.lock"
        for path in (blob, link, lock):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self.lock(lock):
            yield blob
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(os.path.relpath(blob, link.parent))
            except OSError:  # the file system has no links
                shutil.copyfile(blob, link)
        if not reference.is_pinned:
            ref = storage / "refs" / reference.revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(commit)

    def _of(self, reference: Reference) -> Path:
        return self.folder / f"models--{reference.repository.replace('/', '--')}"


def matches(path: Path, etag: str) -> bool:
    """True if the content matches the etag, or the etag is not a hash. Raises OSError."""
    if len(etag) == 64:
        return sha256_of(path) == etag
    if len(etag) == 40:
        data = path.read_bytes()
        return sha1(b"blob %d\0" % len(data) + data).hexdigest() == etag
    return True


def sha256_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
