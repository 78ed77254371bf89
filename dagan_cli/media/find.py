"""Find the inputs: resolve files, folders and patterns to sources, without the results of earlier runs."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from dagan_cli.errors import BadInput
from dagan_cli.files import open_regular, place_of
from dagan_cli.media.made.identity import may_be
from dagan_cli.media.made.record import SOURCE
from dagan_cli.media.made.stored import read_record
from dagan_cli.media.remote.address import UrlPath, redacted
from dagan_cli.media.sniff import is_picture, looks_like_video, named_kind
from dagan_cli.media.template import PART, Template

Kind = Literal["picture", "video"]

_MARK = r"(x\d+(\.\d+)?|\d+x\d+|\d+p|[48]k)"
_RESULT = re.compile(rf"(?P<stem>.+)_{_MARK}{PART}", re.IGNORECASE | re.DOTALL)  # names may hold line breaks
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
EARLIER_RESULT = "an earlier result"  # why a file is skipped


@dataclass(frozen=True, slots=True)
class Source:
    """A file to upscale."""

    path: Path
    kind: Kind
    below: Path = Path()  # its folder relative to the named folder or pattern; kept below an output folder


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was found but is not processed."""

    path: Path
    reason: str
    is_named: bool = False  # itself, not through a folder or pattern: an earlier result


@dataclass(frozen=True, slots=True)
class Found:
    """Result of resolving the named inputs."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...]
    failed: tuple[tuple[Path, BadInput], ...]  # named, but missing, unreadable or neither image nor video
    is_one_file: bool  # a single name, neither folder nor pattern: the output may be a file

    @property
    def left_out(self) -> list[Skipped]:
        """What was found and is no input: the skipped paths that were not named themselves."""
        return [skipped for skipped in self.skipped if not skipped.is_named]

    @property
    def earlier(self) -> list[Path]:
        """Earlier results that were named themselves."""
        return [skipped.path for skipped in self.skipped if skipped.is_named]

    def reasons(self) -> dict[str, int]:
        """Count what is left out by reason, most frequent first."""
        return dict(Counter(skipped.reason for skipped in self.left_out).most_common())


class Listed(str):
    """A path of a list: no pattern, whatever its name."""

    __slots__ = ()


def find_inputs(
    names: Iterable[str | Path],
    *,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    out: Path | None = None,
    template: Template | None = None,
) -> Found:
    """Resolve files, folders, and patterns that no shell expanded; invalid names are recorded, never raised.

    A file that is named itself becomes a source or a failure; it is skipped only if it is an earlier result, next to
    its source or in `out`, and its source is named too. In folders and among the matches of a pattern, whatever looks
    like an image or a video by its name or its content becomes one too, and these are skipped with a reason: hidden
    files, other kinds of files, files that `include` and `exclude` leave out (matched case-insensitively by name or by
    path below the folder), earlier results of files that are found too (`a_x4.png` of `a.png`, or as `template` names
    it, if its metadata says that dagan made it), and the folder `out`. Links to folders are not followed. Sources keep
    the order of the names; the contents of a folder are sorted alphabetically.
    """
    names = list(names)
    search = _Search(
        recursive, tuple(include), tuple(exclude), out, template, _Family.of(map(Path, names), template, out)
    )
    patterns = 0
    for name in names:
        path = Path(name)
        if not os.path.lexists(path) and _URL.match(str(name)):
            search.url(str(name))
        elif not os.path.lexists(path) and glob.has_magic(str(name)) and not isinstance(name, Listed):
            patterns += 1
            search.pattern(str(name))
        elif os.path.isdir(path):
            search.folder(path)
        else:
            search.file(path)
    is_one_file = len(names) == 1 and not patterns and not os.path.isdir(names[0])
    return Found(tuple(search.sources), tuple(search.skipped), tuple(search.failed), is_one_file)


def read_list(data: bytes, *, nul: bool = False) -> list[Path | str]:
    """Return the paths of a list file: one per line, or each terminated by a NUL byte. Empty lines are ignored.

    URLs are returned as they are written, as text.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if nul else (line.rstrip(b"\r") for line in data.split(b"\n"))
    names = [os.fsdecode(line) for line in lines if line]
    return [name if _URL.match(name) else Path(name) for name in names]


@dataclass(frozen=True, slots=True)
class _Family:
    """Files that are inputs of one run, and whose results may be among them."""

    names: frozenset[tuple[str, str]]  # folder, and name or stem in lower case
    patterns: tuple[re.Pattern[str], ...]  # of the names of results
    files: Mapping[str, Sequence[Path]]  # by name and stem in lower case, those with results in any folder

    @classmethod
    def of(
        cls, paths: Iterable[Path], template: Template | None, out: Path | None = None, *, anywhere: bool = False
    ) -> _Family:
        """Return the family of these files; their results are next to them, directly in `out`, or `anywhere`."""
        folders = [] if out is None else [place_key(out)]
        own = template.pattern if template else None
        names: set[tuple[str, str]] = set()
        files: dict[str, list[Path]] = {}
        for path in paths:
            places = (place_key(path.parent), *folders)
            for name in {path.stem.lower(), path.name.lower()}:
                names.update((place, name) for place in places)
                if anywhere:
                    files.setdefault(name, []).append(path)
        return cls(frozenset(names), (_RESULT,) if own is None else (_RESULT, own), files)

    def made(self, path: Path) -> bool:
        """True if `target_of` produces such a name for another file of the family, and dagan made the file.

        In another folder than its source, its record must state the size of that file: names are often repeated there.
        """
        for pattern in self.patterns:
            found = pattern.fullmatch(path.stem)
            if not found or (stem := found["stem"].lower()) == path.stem.lower():
                continue
            bare, _, kind = stem.rpartition("_")
            names, folder = (stem, f"{bare}.{kind}"), place_key(path.parent)
            is_near = any((folder, name) in self.names for name in names)
            far = [] if is_near else [file for name in names for file in self.files.get(name, ())]
            record = read_record(path) if is_near or far else None
            if record is not None and (is_near or any(may_be(file, record[SOURCE]) for file in far)):
                return True
        return False


class _Search:
    """Collects sources, skipped paths and failures while the names are resolved."""

    def __init__(
        self,
        recursive: bool,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        out: Path | None,
        template: Template | None,
        named: _Family,
    ) -> None:
        self.sources: list[Source] = []
        self.skipped: list[Skipped] = []
        self.failed: list[tuple[Path, BadInput]] = []
        self._recursive = recursive
        self._include = include
        self._exclude = exclude
        self._out = place_of(out) if out else None
        self._template = template
        self._named = named
        self._seen: set[str] = set()

    def file(self, path: Path) -> None:
        """Add a file that was named itself."""
        if kind := _kind(path):
            if self._named.made(path):
                self.skipped.append(Skipped(path, EARLIER_RESULT, is_named=True))
            else:
                self._add(Source(path, kind))
        else:
            self._unusable(path)

    def url(self, name: str) -> None:
        """Record a URL, which is no file."""
        shown = redacted(name)
        hint = "download it first, and name the file"
        if name.lower().startswith("file://"):
            hint = f"name the file itself: {name[7:]}"
        self._fail(UrlPath(shown), f"{shown} is a URL; dagan reads files", hint)

    def folder(self, root: Path) -> None:
        """Search a folder that was named itself, and with `recursive` all folders below it."""
        paths: list[Path] = []
        for folder, folders, files in os.walk(root, onerror=self._unreadable):
            folders[:] = [name for name in sorted(folders) if self._enters(Path(folder, name))]
            paths += [Path(folder, name) for name in sorted(files)]
        self._members(root, paths)

    def pattern(self, pattern: str) -> None:
        """Expand a pattern as a shell that supports `**` does; folders it matches are searched."""
        root = _fixed_part(pattern)
        matches = [Path(match) for match in sorted(set(_expanded(pattern)))]
        if not matches:
            self._fail(Path(pattern), f"nothing matches {pattern}", "check the pattern and the folder")
        self._members(root, [match for match in matches if not match.is_dir()])
        if "**" not in pattern:
            for match in matches:
                if match.is_dir():
                    self.folder(match)

    def _members(self, root: Path, paths: list[Path]) -> None:
        """Add files that were not named themselves, or record why they are skipped."""
        family = _Family.of(paths, self._template, anywhere=True)
        for path in paths:
            below = path.relative_to(root)
            if path.name.startswith("."):
                self._skip(path, "hidden")
            elif not self._wanted(below):
                self._skip(path, "excluded by --include or --exclude")
            elif not (kind := _kind(path)):
                self._other(path)
            elif family.made(path):
                self._skip(path, EARLIER_RESULT)
            else:
                self._add(Source(path, kind, below.parent))

    def _other(self, path: Path) -> None:
        """Record a file of a folder that has no image or video in it: a failure if its name promises one."""
        if named_kind(path):
            self._unusable(path)
        else:
            self._skip(path, "neither an image nor a video")

    def _unusable(self, path: Path) -> None:
        """Record the failure of a file that has no image or video in it."""
        try:
            with open_regular(path) as file:
                empty = not file.read(1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._fail(path, f"cannot read {path}: {reason}", "check the path and its permissions")
            return
        if empty:
            self._fail(path, f"{path} is empty", "obtain the file again, or leave it out")
        elif kind := named_kind(path):
            what = (
                f"{path} has the name of {'an image' if kind == 'picture' else 'a video'}, but its content is neither"
            )
            self._fail(path, what, "obtain the file again, rename it, or leave it out with --exclude")
        else:
            self._fail(path, f"{path} is neither an image nor a video", "leave it out")

    def _enters(self, folder: Path) -> bool:
        if folder.name.startswith("."):
            self._skip(folder, "hidden")
        elif place_of(folder) == self._out:
            self._skip(folder, "the output folder")
        elif folder.is_symlink():
            self._skip(folder, "a link to a folder")
        elif not self._recursive:
            self._skip(folder, "a subfolder (needs -r)")
        else:
            return True
        return False

    def _wanted(self, below: Path) -> bool:
        if any(_matches(below, pattern) for pattern in self._exclude):
            return False
        return not self._include or any(_matches(below, pattern) for pattern in self._include)

    def _add(self, source: Source) -> None:
        if (key := place_key(source.path)) in self._seen:
            self._skip(source.path, "already named")
            return
        self._seen.add(key)
        self.sources.append(source)

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(path, reason))

    def _fail(self, path: Path, what: str, hint: str) -> None:
        self.failed.append((path, BadInput(what, hint=hint)))

    def _unreadable(self, error: OSError) -> None:
        path = Path(error.filename)
        self._fail(path, f"cannot list {path}: {(error.strerror or str(error)).lower()}", "check its permissions")


def _kind(path: Path) -> Kind | None:
    return "picture" if is_picture(path) else "video" if looks_like_video(path) else None


def _matches(below: Path, pattern: str) -> bool:
    pattern = pattern.lower()
    return fnmatchcase(below.name.lower(), pattern) or fnmatchcase(below.as_posix().lower(), pattern)


def _expanded(pattern: str) -> Iterator[str]:
    """Yield the matches of a pattern. `**` enters no links, as they may lead elsewhere, and in circles without end."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    at = parts.index("**")
    for top in glob.glob(str(Path(*parts[:at]))):
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if at + 1 < len(parts):
                yield from _expanded(str(Path(glob.escape(folder), *parts[at + 1 :])))
            else:
                yield from (str(Path(folder, name)) for name in (*folders, *files) if not name.startswith("."))


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern before the first part with a wildcard."""
    parts = Path(pattern).parts
    return Path(*_until_magic(parts[:-1]))


def _until_magic(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def stems_of_result(stem: str, template: Template | None) -> list[str]:
    """Return, in lower case, the stems of the files whose result may have a name with this stem."""
    own = template.pattern if template else None
    found = [pattern.fullmatch(stem) for pattern in ((_RESULT,) if own is None else (_RESULT, own))]
    return [each["stem"].lower() for each in found if each]


def place_key(path: Path) -> str:
    """Return one string for all paths of a name in a folder, also through links to the folder."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.normcase(os.path.join(os.path.realpath(folder), name))
