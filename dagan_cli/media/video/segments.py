"""Crash-safe storage of finished segments of a video, in a folder next to the output, with a journal.

A segment counts once its line is in the journal, and its line is written only after its bytes are on disk. Anything
else in the folder was left by a killed run. The folder may come from anywhere, an unpacked archive for example: it is
used only if it is a folder of this user and no link, its journal's lines are checked one by one, and only files that
dagan makes are ever removed from it.

Where a frame takes long, the frames of unfinished segments are kept as well, as they go into the encoder. A kill may
cut the last one, so each has a checksum.

Where several processes make the segments of one video, each writes a file of its own in the folder, which the owner of
the journal adopts, in any order.
"""

from __future__ import annotations

import errno
import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.files import Folder, owned, tag_of, write_errors

SEGMENT = 240  # frames of a segment; close to the default key-frame interval of encoders
ASKED = "asked"  # a setting that words the others for people: it may differ
LONGEST = 10_000  # frames of a segment that is accepted from a journal
_JOURNAL = "journal.jsonl"
# Two of these names are former ones.
_OURS = re.compile(
    r"journal\.jsonl|journal\.[0-9a-f]{16}\.new|\d{6,8}\.(?:packets|frames)|\d{6}\.[0-9a-f]{16}\.piece|"
    r"journal\.new|lock"
)
_KEPT = struct.Struct("<IqqII")  # crc32 of the rest, pts, duration, bytes of captions, bytes of compressed planes
_MOST = 1 << 28  # bytes of a journal that are read
_MIB = 1 << 20
_LONGEST_LINE = 1 << 20  # bytes; times of LONGEST frames take less
_TIME = 1 << 62  # no time stamp or duration is larger


class OtherSettings(BadOption):
    """An earlier run has started the same output with other settings: `before`, now `now`."""

    def __init__(self, target: Path, before: Mapping[str, Any], now: Mapping[str, Any], words: str = "") -> None:
        names = [name for name in dict.fromkeys((*now, *before)) if name != ASKED and before.get(name) != now.get(name)]
        words = words or f"with other settings ({', '.join(names)[:200]})"
        hint = "use the same settings to resume, or --no-resume to start again"
        super().__init__(f"{target} was started {words}", hint=hint)
        self.before, self.now = before, now


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames encoded together; the first one is a key frame. Raises ValueError for fields that make no sense."""

    bytes: int
    crc32: int
    pts: list[int]  # of its frames in display order, in ticks of the source
    durations: list[int]  # ticks
    before: str = ""  # digest of the source's frame before its first one; "" if unknown
    last: str = ""  # digest of the source's frame that is its last one; "" if unknown

    def __post_init__(self) -> None:
        numbers = (self.bytes, self.crc32)
        good = all(type(number) is int and 0 <= number < _TIME for number in numbers)
        good = good and all(isinstance(digest, str) and len(digest) <= 64 for digest in (self.before, self.last))
        for times in (self.pts, self.durations):
            good = good and isinstance(times, list) and 0 < len(times) <= LONGEST
            good = good and all(type(time) is int and -_TIME < time < _TIME for time in times)
        if not (good and len(self.pts) == len(self.durations)):
            raise ValueError("not a segment")


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame of an unfinished segment, as it goes into the encoder."""

    pts: int  # ticks of the source
    duration: int  # ticks
    captions: bytes
    planes: bytes  # one after the other


class WorkFolder:
    """The folder with the segments of one output; `segments` are those finished so far, in order. Raises OSError.

    `require_owned` is called before anything is changed: it raises Lost if another process took the output over.
    """

    def __init__(self, folder: Folder, require_owned: Callable[[], None] = lambda: None) -> None:
        self.segments: list[Segment] = []
        self.scattered: dict[int, Segment] = {}  # finished ones behind the first that is missing, by number
        self.kept: list[int] = []  # pts of the frames that an earlier run kept of unfinished segments
        self._folder = folder
        self._require_owned = require_owned
        self._keeping = 0  # the last segment of which frames are kept
        self._digest = ""  # of the journal so far

    @property
    def frames(self) -> int:
        return sum(len(segment.pts) for segment in self.segments)

    def create(self, index: int) -> BinaryIO:
        """Create the file of segment number `index`; one that a killed run left is removed."""
        self.discard(index)
        return self._folder.create(_name_of(index))

    def read(self, index: int) -> BinaryIO:
        """Open the file of segment number `index`."""
        return self._folder.read(_name_of(index))

    def keep(self, index: int, frame: KeptFrame) -> None:
        """Keep a frame of the unfinished segment number `index` for the next run, should this one be killed."""
        self._require_owned()
        planes = zlib.compress(frame.planes, 1)
        body = frame.captions + planes
        head = _KEPT.pack(0, frame.pts, frame.duration, len(frame.captions), len(planes))[4:]
        with self._folder.append(_kept_name(index)) as file:
            file.write(struct.pack("<I", zlib.crc32(head + body)) + head + body)

    def keep_none(self, index: int) -> None:
        """Remove the frames that are kept of segment number `index`."""
        self._require_owned()
        self._folder.remove(_kept_name(index))

    def kept_frames(self, size: int) -> Iterator[KeptFrame]:
        """Yield the frames that an earlier run kept, in order; a frame that is not of `size` bytes has no planes."""
        left = len(self.kept)
        for index in count(len(self.segments)):
            if not left:
                return
            with self._folder.read(_kept_name(index)) as file:
                while left and (frame := _kept_frame(file)):
                    left -= 1
                    yield replace(frame, planes=_expanded(frame.planes, size))

    def discard(self, index: int) -> None:
        """Remove the file of segment number `index`, if there is one."""
        self._require_owned()
        self._folder.remove(_name_of(index))

    def finish(self, pts: list[int], durations: list[int]) -> None:
        """Sync the next segment, already written, to disk, then add it to the journal."""
        self._require_owned()
        with self.read(len(self.segments)) as file:
            os.fsync(file.fileno())
            segment = Segment(os.fstat(file.fileno()).st_size, _crc32(file), pts, durations)
        self._append(asdict(segment))
        self.keep_none(len(self.segments))
        self.segments.append(segment)

    def adopt(self, index: int, name: str, pts: list[int], durations: list[int], before: str, last: str) -> None:
        """Take a file of the folder, whole but perhaps not on disk yet, as segment number `index`, in any order.

        It replaces the file that was this segment before.
        """
        self._require_owned()
        with self._folder.read(name) as file:
            os.fsync(file.fileno())
            segment = Segment(os.fstat(file.fileno()).st_size, _crc32(file), pts, durations, before, last)
        self._folder.rename(name, _name_of(index))
        self._append({"index": index, **asdict(segment)})
        if index < len(self.segments):
            self.segments[index] = segment
        else:
            self.scattered[index] = segment
        while (following := self.scattered.pop(len(self.segments), None)) is not None:
            self.segments.append(following)

    def has(self, index: int) -> bool:
        """True if segment number `index` is finished."""
        return index < len(self.segments) or index in self.scattered

    def complete(self) -> None:
        """Record that no segment will follow."""
        self._append({"complete": self.frames})

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._require_owned()
        line, self._digest = _line(entry, self._digest)
        with self._folder.append(_JOURNAL) as journal:
            journal.write(line)
            journal.flush()
            os.fsync(journal.fileno())

    def _resume(
        self, target: Path, settings: Mapping[str, Any], *, repair: bool = True, scattered: bool = False
    ) -> None:
        """Find what an earlier run has finished. Raises OtherSettings. Nothing is changed without `repair`.

        With `scattered`, that includes segments behind a missing one, and no frames of unfinished ones.
        """
        entries = _entries(self._folder)
        started = len(entries) > 1 or (len(entries) == 1 and self._has_kept())
        if started and isinstance(entries[0].get("settings"), dict):
            found = _finished(self._folder, entries, target, settings)
            while (following := found.pop(len(self.segments), None)) is not None:
                if self.segments and following.pts[0] <= self.segments[-1].pts[-1]:
                    break
                self.segments.append(following)
            if scattered:
                self.scattered = found
            else:
                self._recover(repair=repair)

    def _recover(self, *, repair: bool) -> None:
        """Find the frames that an earlier run kept of unfinished segments; to repair is to cut off what is no frame."""
        last = self.segments[-1].pts[-1] if self.segments else -_TIME
        for index in count(len(self.segments)):
            name, whole = _kept_name(index), 0
            self._keeping = index
            try:
                with self._folder.read(name) as file:
                    while (frame := _kept_frame(file)) and last < frame.pts < _TIME:
                        self.kept.append(last := frame.pts)
                        whole = file.tell()
                    size = os.fstat(file.fileno()).st_size
            except OSError:
                return
            if whole < size:
                if repair:
                    with self._folder.append(name) as file:
                        file.truncate(whole)
                return

    def _has_kept(self) -> bool:
        return any(_OURS.fullmatch(name) and name.endswith(".frames") for name in self._folder.names())

    def _begin(self, settings: Mapping[str, Any]) -> None:
        """Start a journal of the present segments only, and remove everything else that dagan made in the folder."""
        present = {_name_of(index) for index in (*range(len(self.segments)), *self.scattered)}
        if self.kept:
            present |= {_kept_name(index) for index in range(len(self.segments), self._keeping + 1)}
        for name in self._folder.names():
            if _OURS.fullmatch(name) and name not in present:
                self._folder.remove(name)
        new, text = f"journal.{token_hex(8)}.new", b""
        self._digest = ""
        behind = ({"index": index, **asdict(segment)} for index, segment in self.scattered.items())
        for entry in ({"settings": settings}, *map(asdict, self.segments), *behind):
            line, self._digest = _line(entry, self._digest)
            text += line
        with self._folder.create(new) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._folder.rename(new, _JOURNAL)
        self._folder.sync()


def piece_name(index: int) -> str:
    """Return a new name for a file that becomes segment number `index` once it is adopted."""
    return f"{index:06d}.{token_hex(8)}.piece"


def folder_of(target: Path) -> Path:
    """Return the hidden folder next to `target`; its name is short even if the target's is long."""
    return target.with_name(f".dagan-{tag_of(target)}.work")


@contextmanager
def work_folder(
    target: Path, settings: Mapping[str, Any], *, resume: bool, scattered: bool = False
) -> Iterator[WorkFolder]:
    """Provide the folder for `target`; with `resume`, it holds the segments of an earlier run with the same settings.

    With `scattered`, these are segments in any order, for `WorkFolder.adopt`.

    It is removed when the block succeeds. On failure it is kept if `resume` is true and it holds segments or frames.
    Raises OtherSettings if it was started with other ones, Taken if another process writes `target`, Lost if it took
    that over, CannotWrite.
    """
    with owned(target) as claim, write_errors(target), Folder.opened(target.parent) as parent:
        name = folder_of(target).name
        parent.make(name)
        with _own_folder(parent, name) as folder:
            work = WorkFolder(folder, lambda: claim.require(target))
            if resume:
                work._resume(target, settings, scattered=scattered)
            work._begin(settings)
            try:
                yield work
            except BaseException:
                kept = work.segments or work.scattered or work._has_kept()
                if not (resume and kept) and claim.is_held():
                    _remove(parent, name, folder)
                raise
            if claim.is_held():
                _remove(parent, name, folder)


def kept_frames(target: Path, settings: Mapping[str, Any]) -> int:
    """Return the number of frames that a run with these settings would resume after; nothing is changed.

    Raises OtherSettings.
    """
    try:
        with Folder.opened(target.parent) as parent, _own_folder(parent, folder_of(target).name) as folder:
            work = WorkFolder(folder)
            work._resume(target, settings, repair=False)
    except (OSError, CannotWrite):  # there is none, or none that a run would use
        return 0
    return work.frames + len(work.kept)


def forget_finished(target: Path) -> None:
    """Remove what a run left that was killed after `target` was complete, but before the cleanup."""
    name = folder_of(target).name
    with suppress(OSError, CannotWrite):
        if (target.parent / name).lstat():
            with owned(target), Folder.opened(target.parent) as parent, _own_folder(parent, name) as folder:
                if any("complete" in entry for entry in _checked(folder)):
                    _remove(parent, name, folder)


@contextmanager
def _own_folder(parent: Folder, name: str) -> Iterator[Folder]:
    """Open the work folder. Raises CannotWrite for a link, a file, or a folder of somebody else in its place."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(parent.inside(name)) if parent.is_own(name) else None
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):  # what systems say of a link
                raise
            folder = None
        if folder is None:
            what = f"{parent.path / name} is in the way, and dagan did not make it"
            raise CannotWrite(what, hint="remove it, or write elsewhere")
        yield folder


def _remove(parent: Folder, name: str, folder: Folder) -> None:
    """Remove the files that dagan makes, then the folder if nothing else is in it."""
    with suppress(OSError):
        for entry in folder.names():
            if _OURS.fullmatch(entry):
                folder.remove(entry)
        parent.remove_folder(name)


def _finished(
    folder: Folder, entries: list[dict[str, Any]], target: Path, settings: Mapping[str, Any]
) -> dict[int, Segment]:
    """Return the segments of an earlier run with these settings, by number. Raises OtherSettings."""
    before, now = entries[0]["settings"], json.loads(json.dumps(settings))
    if {**before, ASKED: None} != {**now, ASKED: None}:
        raise OtherSettings(target, before, now)
    found: dict[int, Segment] = {}
    for entry in entries[1:]:
        if "complete" in entry:
            continue
        index = entry.pop("index", len(found))
        try:
            found[_whole_number(index)] = Segment(**entry)
        except (TypeError, ValueError):
            break
    return {index: segment for index, segment in found.items() if _is_whole(folder, index, segment)}


def _whole_number(index: object) -> int:
    """Return the number of a segment. Raises ValueError."""
    if type(index) is not int or not 0 <= index < 1_000_000:
        raise ValueError("not the number of a segment")
    return index


def _is_whole(folder: Folder, index: int, segment: Segment) -> bool:
    """True if the file of a segment is as the journal states."""
    try:
        with folder.read(_name_of(index)) as file:
            return os.fstat(file.fileno()).st_size == segment.bytes and _crc32(file) == segment.crc32
    except OSError:
        return False


def _line(entry: Mapping[str, Any], before: str) -> tuple[bytes, str]:
    """Return a journal's line, and its digest, which covers all lines before it too."""
    text = json.dumps(entry)
    digest = sha256(f"{before} {text}".encode()).hexdigest()[:32]
    return f"{digest} {text}\n".encode("ascii"), digest


def _entries(folder: Folder) -> list[dict[str, Any]]:
    """Return the entries of the journal up to the first damaged line: a kill may have truncated the last."""
    return list(_checked(folder))


def _checked(folder: Folder) -> Iterator[dict[str, Any]]:
    """Yield the entries one by one, as a journal that dagan did not write may take far more memory than its size."""
    digest, left = "", _MOST
    with suppress(OSError), folder.read(_JOURNAL) as journal:
        while (line := journal.readline(_LONGEST_LINE)).endswith(b"\n") and (left := left - len(line)) >= 0:
            try:
                entry = json.loads(line.partition(b" ")[2])
                expected, digest = _line(entry, digest)
            except (ValueError, RecursionError):
                return
            if expected != line or not isinstance(entry, dict):
                return
            yield entry


def _name_of(index: int) -> str:
    return f"{index:06d}.packets"


def _kept_name(index: int) -> str:
    return f"{index:06d}.frames"


def _kept_frame(file: BinaryIO) -> KeptFrame | None:
    """Return the next frame of a file of kept ones, compressed; None at its end, and for one that is not whole."""
    head = file.read(_KEPT.size)
    if len(head) < _KEPT.size:
        return None
    crc32, pts, duration, captions, planes = _KEPT.unpack(head)
    if captions + planes > os.fstat(file.fileno()).st_size:
        return None
    body = file.read(captions + planes)
    if zlib.crc32(head[4:] + body) != crc32 or not 0 <= duration < _TIME:
        return None
    return KeptFrame(pts, duration, body[:captions], body[captions:])


def _expanded(data: bytes, size: int) -> bytes:
    """Decompress to exactly `size` bytes; b"" for data that holds fewer or more, of which no more is read."""
    try:
        found = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        return b""
    return found if len(found) == size else b""


def _crc32(file: BinaryIO) -> int:
    """Return the checksum of a file, read from its start."""
    value = 0
    file.seek(0)
    while block := file.read(_MIB):
        value = zlib.crc32(block, value)
    return value
