"""What survives a kill: finished segments of a video in a folder beside the output, and the journal of them.

A segment counts once its line is in the journal, and its line is written only after its bytes are on the disk. Whatever
else is found in the folder is what a killed run left behind.
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
except ImportError:  # not on this system: then two runs at once are not told apart
    fcntl = None

_JOURNAL = "journal.jsonl"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """Pictures that were encoded together, the first one a key frame."""

    bytes: int
    crc32: int
    pts: list[int]  # of its frames, as they are shown, in ticks of the source
    durations: list[int]  # ticks


class WorkFolder:
    """The segments of one output, from `begin` to `end`; `segments` are those finished so far, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments: list[Segment] = []

    @property
    def frames(self) -> int:
        return sum(len(segment.pts) for segment in self.segments)

    def path_of(self, index: int) -> Path:
        """Where segment number `index` is to be written."""
        return self.path / f"{index:06d}.packets"

    def finish(self, pts: list[int], durations: list[int]) -> None:
        """Put the next segment, written to its path, on the disk, then into the journal."""
        path = self.path_of(len(self.segments))
        sync(path)
        segment = Segment(path.stat().st_size, _crc32(path), pts, durations)
        self._append(asdict(segment))
        self.segments.append(segment)

    def complete(self) -> None:
        """Say that no segment will follow."""
        self._append({"complete": self.frames})

    def _append(self, entry: Mapping[str, Any]) -> None:
        with (self.path / _JOURNAL).open("a", encoding="ascii") as journal:
            journal.write(json.dumps(entry) + "\n")
            journal.flush()
            os.fsync(journal.fileno())


def folder_of(target: Path) -> Path:
    """The hidden folder beside `target`; short however long the target's name is."""
    tag = sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".dagan-{tag}.work")


@contextmanager
def work_folder(target: Path, settings: Mapping[str, Any], *, resume: bool) -> Iterator[WorkFolder]:
    """Lend the folder for `target`, with what an earlier run of the same settings finished if `resume` is true.

    It is removed once the block ends well, and kept when it does not but there are finished segments to go on from.
    Raises BadOption for one that was begun with other settings, CannotWrite where another run is at work or the disk
    refuses.
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
    """Remove the folder of a run that was killed after `target` got its name and before it could tidy up."""
    path = folder_of(target)
    if path.is_dir() and any("complete" in entry for entry in _entries(path)):
        with suppress(CannotWrite), _locked(path, target):
            shutil.rmtree(path, ignore_errors=True)


def identity_of(source: Path) -> dict[str, Any]:
    """What tells a file from another one, without reading all of a large one: its size, and a hash of three places."""
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
    """What an earlier run finished; None if there is nothing to go on from."""
    entries = _entries(path)
    if len(entries) < 2 or not isinstance(entries[0].get("settings"), dict):
        return None
    before, now = entries[0]["settings"], json.loads(json.dumps(settings))
    if before != now:
        names = [name for name in (*now, *before) if before.get(name) != now.get(name)]
        raise BadOption(
            f"{target} was begun with another {', '.join(dict.fromkeys(names))}",
            hint="use the same settings to go on, or --no-resume to begin again",
        )
    work = WorkFolder(path)
    for entry in entries[1:]:
        if "complete" in entry:
            continue
        try:
            segment = Segment(**entry)
        except TypeError:  # no entry of ours
            break
        if not _is_whole(work.path_of(len(work.segments)), segment):
            break
        work.segments.append(segment)
    _rewrite(path, settings, work.segments)
    return work


def _entries(path: Path) -> list[dict[str, Any]]:
    """The lines of the journal up to the first that is damaged: a kill may have cut the last one."""
    entries = []
    try:
        lines = (path / _JOURNAL).read_bytes().split(b"\n")
    except OSError:
        return []
    for line in lines[:-1]:  # what follows the last newline is cut
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries


def _rewrite(path: Path, settings: Mapping[str, Any], segments: list[Segment]) -> None:
    """A journal of just these segments: later lines follow a whole one."""
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
    """Keep other runs out; the lock goes with the process, however it ends."""
    with (path / "lock").open("a") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CannotWrite(f"another dagan is making {target}", hint="wait for it, or stop it") from error
        yield
