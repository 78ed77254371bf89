"""Crash-safe storage of finished segments of a video, in a folder next to the output, with a journal.

A segment counts once its line is in the journal, and its line is written only after its bytes are on disk. Anything
else in the folder was left by a killed run.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from dagan_cli.atomic import cannot_write, is_write_failure, sync
from dagan_cli.errors import BadOption, CannotWrite

try:
    import fcntl
except ImportError:  # not on this system: then simultaneous runs are not detected
    fcntl = None

_JOURNAL = "journal.jsonl"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames encoded together; the first one is a key frame."""

    bytes: int
    crc32: int
    pts: list[int]  # of its frames in display order, in ticks of the source
    durations: list[int]  # ticks


class WorkFolder:
    """The folder with the segments of one output; `segments` are those finished so far, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments: list[Segment] = []

    @property
    def frames(self) -> int:
        return sum(len(segment.pts) for segment in self.segments)

    def path_of(self, index: int) -> Path:
        """Return the path of segment number `index`."""
        return self.path / f"{index:06d}.packets"

    def finish(self, pts: list[int], durations: list[int]) -> None:
        """Sync the next segment, already written to its path, to disk, then add it to the journal."""
        path = self.path_of(len(self.segments))
        sync(path)
        segment = Segment(path.stat().st_size, _crc32(path), pts, durations)
        self._append(asdict(segment))
        self.segments.append(segment)

    def complete(self) -> None:
        """Record that no segment will follow."""
        self._append({"complete": self.frames})

    def _append(self, entry: Mapping[str, Any]) -> None:
        with (self.path / _JOURNAL).open("a", encoding="ascii") as journal:
            journal.write(json.dumps(entry) + "\n")
            journal.flush()
            os.fsync(journal.fileno())


def folder_of(target: Path) -> Path:
    """Return the hidden folder next to `target`; its name is short even if the target's is long."""
    tag = sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".dagan-{tag}.work")


@contextmanager
def work_folder(target: Path, settings: Mapping[str, Any], *, resume: bool) -> Iterator[WorkFolder]:
    """Provide the folder for `target`; with `resume`, it holds the segments of an earlier run with the same settings.

    It is removed when the block succeeds. On failure it is kept if `resume` is true and there are finished segments.
    Raises BadOption if it was started with other settings, CannotWrite if another run uses it or writing fails.
    """
    path = folder_of(target)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path, target):
            work = _reopened(path, target, settings) if resume else None
            if work is None:
                work = _begun(path, settings)
            try:
                yield work
            except BaseException:
                if not (resume and work.segments):
                    shutil.rmtree(path, ignore_errors=True)
                raise
            shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        if is_write_failure(error):
            raise cannot_write(target, error) from error
        raise


def forget_finished(target: Path) -> None:
    """Remove the folder of a run that was killed after `target` was complete, but before the cleanup."""
    path = folder_of(target)
    if path.is_dir() and any("complete" in entry for entry in _entries(path)):
        with suppress(CannotWrite), _locked(path, target):
            shutil.rmtree(path, ignore_errors=True)


def identity_of(source: Path) -> dict[str, Any]:
    """Return a fingerprint of a file without reading all of it: its size, and a hash of three 1 MiB blocks."""
    size = source.stat().st_size
    digest = sha256()
    with source.open("rb") as file:
        for place in (0, size // 2, max(0, size - _MIB)):
            file.seek(place)
            digest.update(file.read(_MIB))
    return {"bytes": size, "sha256 of three MiB": digest.hexdigest()}


def _begun(path: Path, settings: Mapping[str, Any]) -> WorkFolder:
    for old in path.iterdir():
        if old.name != "lock":
            old.unlink()
    work = WorkFolder(path)
    work._append({"settings": settings})
    sync(path)
    return work


def _reopened(path: Path, target: Path, settings: Mapping[str, Any]) -> WorkFolder | None:
    """Return the folder with the segments of an earlier run; None if there is nothing to resume."""
    entries = _entries(path)
    if len(entries) < 2 or not isinstance(entries[0].get("settings"), dict):
        return None
    before, now = entries[0]["settings"], json.loads(json.dumps(settings))
    if before != now:
        names = [name for name in (*now, *before) if before.get(name) != now.get(name)]
        raise BadOption(
            f"{target} was started with a different {', '.join(dict.fromkeys(names))}",
            hint="use the same settings to resume, or --no-resume to start again",
        )
    work = WorkFolder(path)
    for entry in entries[1:]:
        if "complete" in entry:
            continue
        try:
            segment = Segment(**entry)
        except TypeError:  # not a segment entry
            break
        if not _is_whole(work.path_of(len(work.segments)), segment):
            break
        work.segments.append(segment)
    _rewrite(path, settings, work.segments)
    return work


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the journal up to the first damaged one: a kill may have truncated the last."""
    entries = []
    try:
        lines = (path / _JOURNAL).read_bytes().split(b"\n")
    except OSError:
        return []
    for line in lines[:-1]:  # text after the last newline is incomplete
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries


def _rewrite(path: Path, settings: Mapping[str, Any], segments: list[Segment]) -> None:
    """Write a journal of these segments only, so that new lines follow a complete one."""
    new = path / "journal.new"
    lines = [{"settings": settings}, *(asdict(segment) for segment in segments)]
    new.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    sync(new)
    new.replace(path / _JOURNAL)
    sync(path)


def _is_whole(path: Path, segment: Segment) -> bool:
    try:
        return path.stat().st_size == segment.bytes and _crc32(path) == segment.crc32
    except OSError:
        return False


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_MIB):
            value = zlib.crc32(block, value)
    return value


@contextmanager
def _locked(path: Path, target: Path) -> Iterator[None]:
    """Lock out other runs; the lock is released when the process ends, however it ends."""
    with (path / "lock").open("a") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CannotWrite(
                    f"another dagan process is writing {target}", hint="wait for it, or stop it"
                ) from error
        yield
