"""Find the inputs: resolve files, folders and patterns to sources, without the results of earlier runs."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

from dagan_cli.errors import BadInput
from dagan_cli.files import open_regular, place_of
from dagan_cli.media.made.identity import may_be
from dagan_cli.media.made.record import SOURCE
from dagan_cli.media.made.seen import Seen
from dagan_cli.media.remote.address import UrlPath, is_url, redacted
from dagan_cli.media.sniff import named_kind
from dagan_cli.media.template import PART, Template

Kind = Literal["picture", "video"]
Place = tuple[str, str]  # of a name: its folder, links resolved, and the name

_MARK = r"(x\d+(\.\d+)?|\d+x\d+|\d+p|[48]k)"
_RESULT = re.compile(rf"(?P<stem>.+)_{_MARK}{PART}", re.IGNORECASE | re.DOTALL)  # names may hold line breaks
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
    below: Mapping[Path, Path] = field(default_factory=dict)  # `Source.below` of what failed in a folder

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
    seen: Seen | None = None,
    only: Container[Path] | None = None,
) -> Found:
    """Resolve files, folders, and patterns that no shell expanded; invalid names are recorded, never raised.

    A file that is named itself becomes a source or a failure; it is skipped only if it is an earlier result, next to
    its source or in `out`, and its source is named too. In folders and among the matches of a pattern, whatever looks
    like an image or a video by its name or its content becomes one too, and these are skipped with a reason: hidden
    files, other kinds of files, files that `include` and `exclude` leave out (matched case-insensitively by name or by
    path below the folder), earlier results of files that are found too (`a_x4.png` of `a.png`, or as `template` names
    it, if its metadata says that dagan made it), and the folder `out`. Links to folders are not followed. Sources keep
    the order of the names; the contents of a folder are sorted alphabetically. `seen` knows files of earlier runs. With
    `only`, other files in folders are not looked at.
    """
    names = list(names)
    search = _Search(names, recursive, tuple(include), tuple(exclude), out, template, seen or Seen(), only)
    patterns = 0
    for name in names:
        path = Path(name)
        if is_url(str(name)):
            search.url(str(name))
        elif glob.has_magic(str(name)) and not isinstance(name, Listed) and not os.path.lexists(path):
            patterns += 1
            search.pattern(str(name))
        elif os.path.isdir(path):
            search.folder(path)
        else:
            search.file(path)
    is_one_file = len(names) == 1 and not patterns and not os.path.isdir(names[0])
    return Found(tuple(search.sources), tuple(search.skipped), tuple(search.failed), is_one_file, search.below)


def has_name_of_result(path: Path) -> bool:
    """True if the name of a file is one that results have by default."""
    return _RESULT.fullmatch(path.stem) is not None


def stems_of_result(stem: str, template: Template | None) -> list[str]:
    """Return, in lower case, the stems of the files whose result may have a name with this stem."""
    found = [pattern.fullmatch(stem) for pattern in _patterns(template)]
    return [each["stem"].lower() for each in found if each]


def read_list(data: bytes, *, nul: bool = False) -> list[Path | str]:
    """Return the paths of a list file: one per line, or each terminated by a NUL byte. Empty lines are ignored.

    URLs are returned as they are written, as text.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if nul else (line.rstrip(b"\r") for line in data.split(b"\n"))
    names = [os.fsdecode(line) for line in lines if line]
    return [name if is_url(name) else Path(name) for name in names]


class Places:
    """Places of paths: the same for all paths of a name in a folder, also through links to the folder.

    Each folder is resolved once, which takes longer than all else.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: Path) -> Place:
        folder, name = os.path.split(os.path.abspath(path))
        real = self._folders.get(folder)
        if real is None:
            real = self._folders[folder] = os.path.normcase(os.path.realpath(folder))
        return real, sys.intern(os.path.normcase(name))  # paths intern their parts too


class _Family:
    """Files that are inputs of one run, and whose results may be among them."""

    def __init__(
        self,
        paths: Sequence[Path],
        seen: Seen,
        place: Places,
        template: Template | None,
        out: Path | None = None,
        *,
        anywhere: bool = False,
    ) -> None:
        """The results of these files are next to them, directly in `out`, or `anywhere`."""
        self._paths = paths
        self._seen = seen
        self._place = place
        self._out = out
        self._anywhere = anywhere
        self._patterns = _patterns(template)

    @cached_property
    def _near(self) -> Mapping[Place, Set[str]]:
        """Names and stems of the files, in lower case, by the folders that may hold their results."""
        found: dict[Place, set[str]] = {}
        for path in self._paths:
            for folder in (path.parent, *(() if self._out is None else (self._out,))):
                found.setdefault(self._place(folder), set()).update((path.stem.lower(), path.name.lower()))
        return found

    @cached_property
    def _far(self) -> Mapping[str, Sequence[Path]]:
        """The files by name and stem in lower case, if their results may be in any folder."""
        found: dict[str, list[Path]] = {}
        for path in self._paths if self._anywhere else ():
            for name in {path.stem.lower(), path.name.lower()}:
                found.setdefault(name, []).append(path)
        return found

    def made(self, path: Path) -> bool:
        """True if `target_of` produces such a name for another file of the family, and dagan made the file.

        In another folder than its source, its record must state the size of that file: names are often repeated there.
        """
        for pattern in self._patterns if "_" in path.name or len(self._patterns) > 1 else ():
            found = pattern.fullmatch(path.stem)
            if not found or (stem := found["stem"].lower()) == path.stem.lower():
                continue
            bare, _, kind = stem.rpartition("_")
            names = {stem, f"{bare}.{kind}"}
            is_near = not names.isdisjoint(self._near.get(self._place(path.parent), ()))
            far = [] if is_near else [file for name in names for file in self._far.get(name, ())]
            record = self._seen.record(path) if is_near or far else None
            if record is not None and (is_near or any(may_be(file, record[SOURCE]) for file in far)):
                return True
        return False


class _Search:
    """Collects sources, skipped paths and failures while the names are resolved."""

    def __init__(
        self,
        names: Sequence[str | Path],
        recursive: bool,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        out: Path | None,
        template: Template | None,
        seen: Seen,
        only: Container[Path] | None,
    ) -> None:
        self.sources: list[Source] = []
        self.skipped: list[Skipped] = []
        self.failed: list[tuple[Path, BadInput]] = []
        self.below: dict[Path, Path] = {}
        self._recursive = recursive
        self._include = include
        self._exclude = exclude
        self._out = place_of(out) if out else None
        self._template = template
        self._seen = seen
        self._place = Places()
        self._named = _Family([Path(name) for name in names], seen, self._place, template, out)
        self._added: set[Place] = set()
        self._only = only

    def file(self, path: Path) -> None:
        """Add a file that was named itself."""
        if kind := self._seen.kind(path):
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
        members: list[tuple[Path, Path]] = []
        for place, folders, files in os.walk(root, onerror=lambda error: self._unreadable(error, root)):
            folder = Path(place)
            folders[:] = [name for name in sorted(folders) if self._enters(folder / name)]
            below = folder.relative_to(root)
            members += [(folder / name, below) for name in sorted(files)]
        self._members(members)

    def pattern(self, pattern: str) -> None:
        """Expand a pattern as a shell that supports `**` does; folders it matches are searched."""
        root = _fixed_part(pattern)
        matches = [Path(match) for match in sorted(set(_expanded(pattern)))]
        if not matches:
            self._fail(Path(pattern), f"nothing matches {pattern}", "check the pattern and the folder")
        self._members([(match, match.relative_to(root).parent) for match in matches if not match.is_dir()])
        if "**" not in pattern:
            for match in matches:
                if match.is_dir():
                    self.folder(match)

    def _members(self, members: list[tuple[Path, Path]]) -> None:
        """Add files that were not named themselves, or record why they are skipped.

        Each comes with its folder, below the one that was named.
        """
        family = _Family([path for path, _ in members], self._seen, self._place, self._template, anywhere=True)
        for path, below in members:
            if self._only is not None and path not in self._only:
                continue
            if path.name.startswith("."):
                self._skip(path, "hidden")
            elif not self._wanted(path, below):
                self._skip(path, "excluded by --include or --exclude")
            elif not (kind := self._seen.kind(path)):
                self._other(path, below)
            elif family.made(path):
                self._skip(path, EARLIER_RESULT)
            else:
                self._add(Source(path, kind, below))

    def _other(self, path: Path, below: Path) -> None:
        """Record a file of a folder that has no image or video in it: a failure if its name promises one."""
        if named_kind(path):
            self.below[path] = below
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
            named = "an image" if kind == "picture" else "a video"
            what = f"{path} has the name of {named}, but its content is neither an image nor a video"
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

    def _wanted(self, path: Path, below: Path) -> bool:
        if not self._include and not self._exclude:
            return True
        below = below / path.name
        if any(_matches(below, pattern) for pattern in self._exclude):
            return False
        return not self._include or any(_matches(below, pattern) for pattern in self._include)

    def _add(self, source: Source) -> None:
        if (place := self._place(source.path)) in self._added:
            self._skip(source.path, "already named")
            return
        self._added.add(place)
        self._seen.hold(source.path)
        self.sources.append(source)

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(path, reason))

    def _fail(self, path: Path, what: str, hint: str) -> None:
        self.failed.append((path, BadInput(what, hint=hint)))

    def _unreadable(self, error: OSError, root: Path) -> None:
        path = Path(error.filename)
        self.below[path] = path.relative_to(root).parent
        self._fail(path, f"cannot list {path}: {(error.strerror or str(error)).lower()}", "check its permissions")


def _patterns(template: Template | None) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of the stems of results: those by default, and those that a template makes."""
    own = template.pattern if template else None
    return (_RESULT,) if own is None else (_RESULT, own)


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
