"""Find the inputs of a run with remote files, and where their results go."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dagan_cli.errors import BadInput, BadOption, CannotWrite, DaganError
from dagan_cli.media.find import Kind, Skipped, find_inputs, stems_of_result
from dagan_cli.media.remote.address import HTTP, Address, UrlPath, is_url, parse, redacted, unsafe_name
from dagan_cli.media.remote.patience import Cancelled, Permanent, patiently
from dagan_cli.media.remote.store import Listed, Stores
from dagan_cli.media.sniff import named_kind
from dagan_cli.upscale.inputs.shard import Shard
from dagan_cli.upscale.request import Request

STREAM = "-"
_MOST = 10_000_000  # files of a folder
_NAMED = 1000  # files that are no inputs, and are named with -v
_OWN_FOLDER = ("s3", "gs", "az")  # results go next to inputs there; other stores are seldom the user's own


class NeedsOutput(BadOption):
    """A result has no place, as -o was not given."""


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """A file that was named, or a folder."""

    place: Address | Path
    is_folder: bool
    out: Address | None  # folder in a store for the results, or the file; None: `-o` is local
    out_is_file: bool = False


class Entry(NamedTuple):
    """An input. There may be a million of them."""

    root: Root
    relative: str  # path below a folder, or the name of a file, in front of it the folders that its result keeps
    size: int | None  # bytes

    @property
    def place(self) -> Address | Path:
        root = self.root
        return root.place.child(self.relative) if root.is_folder and isinstance(root.place, Address) else root.place

    @property
    def path(self) -> Path:
        """The input as it is shown."""
        place = self.place
        return place.shown if isinstance(place, Address) else Path("stdin") if place == Path(STREAM) else place

    @property
    def below(self) -> str:
        return self.relative.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.relative.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]

    @property
    def kind(self) -> Kind:
        """What its name promises; a picture if nothing."""
        return named_kind(Path(self.name)) or "picture"

    @property
    def target(self) -> Address | None:
        """The folder of its result, or the file."""
        root = self.root
        if root.out is None or root.out_is_file or not self.below:
            return root.out
        return root.out.child(f"{self.below}/")


Family = list[Entry]  # inputs whose results could have one name, and are planned together


@dataclass(slots=True)
class Inputs:
    """All inputs of a run, and what was found besides."""

    blocks: list[list[Entry]] = field(default_factory=list)  # each of one folder, sorted, or of one family
    failed: list[tuple[Path, DaganError]] = field(default_factory=list)
    earlier: list[Path] = field(default_factory=list)  # results of dagan that were named
    skipped: list[Skipped] = field(default_factory=list)  # the first of them
    more: Counter[str] = field(default_factory=Counter)  # reasons of the others
    left: int = 0  # inputs that other shards take
    _folders: dict[Root, list[Entry]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.blocks)) + len(self.failed) + len(self.earlier)

    def families(self) -> Iterator[Family]:
        """Yield all inputs in their order, by families."""
        for block in self.blocks:
            for _, family in groupby(block, _sorting):
                yield list(family)

    def reasons(self) -> str:
        counts = self.more + Counter(each.reason for each in self.skipped)
        return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())

    def skip(self, place: Address, reason: str) -> None:
        """Note why something in a folder is no input; what is there beyond the first thousand is only counted."""
        if len(self.skipped) < _NAMED:
            self.skipped.append(Skipped(place.shown, reason))
        else:
            self.more[reason] += 1

    def add_folder(self, entries: list[Entry]) -> None:
        """Add the files of a folder."""
        if entries:
            entries.sort(key=lambda entry: (*_sorting(entry), entry.name))
            self.blocks.append(entries)
            self._folders[entries[0].root] = entries

    def add_named(self, entries: list[Entry]) -> None:
        """Add files that were named, each once; those of one family come where the first of it was named."""
        families: dict[object, Family] = {}
        seen: set[object] = set()
        for entry in entries:
            place = entry.place
            key = (place.protocol, place.path, place.query) if isinstance(place, Address) else os.path.realpath(place)
            if key not in seen:
                seen.add(key)
                families.setdefault((str(entry.root.out), *_sorting(entry)), []).append(entry)
        self.blocks += families.values()

    def keep(self, shard: Shard) -> None:
        """Keep a share of the families: what could have one name stays together."""
        before = len(self)
        self.blocks = [[entry for entry in block if shard.has(Path(*_sorting(entry)))] for block in self.blocks]
        self.left = before - len(self)

    def has_source(self, entry: Entry, request: Request) -> bool:
        """True if the name of an input of a folder is that of a result of another input of the folder."""
        block = self._folders.get(entry.root, [])
        for stem in stems_of_result(entry.stem, request.template):
            at = bisect_left(block, (entry.below, stem), key=_sorting)
            if stem != entry.stem.lower() and at < len(block) and _sorting(block[at]) == (entry.below, stem):
                return True
        return False


def _sorting(entry: Entry) -> tuple[str, str]:
    return entry.below, entry.stem.lower()


def has_remote(request: Request) -> bool:
    """True if an input or the output is a URL."""
    return any(is_url(name) for name in (*request.inputs, request.output or ""))


def destination(request: Request) -> Address | None:
    """Return the address that -o names; None for a local one, or none. Raises BadOption."""
    if request.output is None or not is_url(request.output):
        return None
    try:
        out = parse(request.output)
    except BadInput as error:
        raise BadOption(f"-o: {error}", hint=error.hint) from None
    if out.protocol in HTTP:
        what = f"-o {out}: files on web servers are only read"
        raise BadOption(what, hint="name a local folder, or a bucket such as s3://BUCKET/FOLDER/")
    return out


def find(request: Request, stores: Stores, should_stop: Callable[[], bool]) -> Inputs:
    """Find all inputs. Those that cannot be used are recorded. Raises BadOption, and Cancelled once it is stopped."""
    out = destination(request)
    found = Inputs()
    named: list[Entry] = []
    local = [name for name in request.inputs if not is_url(name)]
    is_one = len(request.inputs) == 1
    if local == [STREAM] and is_one:
        named.append(_named(Path(STREAM), "stdin", None, request, out, is_one))
    elif local:
        named += _local(local, request, out, found, is_one)
    for name in request.inputs:
        if is_url(name):
            shown = redacted(name)
            try:
                entries = _remote(parse(name), request, out, stores, found, is_one, should_stop)
            except (BadInput, NeedsOutput) as error:
                found.failed.append((UrlPath(shown), error))
            except Permanent as error:
                found.failed.append((UrlPath(shown), as_input_error(UrlPath(shown), error)))
            else:
                if entries and entries[0].root.is_folder:
                    found.add_folder(entries)
                else:
                    named += entries
    found.add_named(named)
    if request.shard is not None:
        found.keep(request.shard)
    return found


def _named(
    place: Address | Path, relative: str, size: int | None, request: Request, out: Address | None, is_one: bool
) -> Entry:
    """Return the Entry of a file that was named. Raises BadOption for an output that it cannot have."""
    if out is not None:
        is_file = is_one and not out.is_folder and bool(PurePosixPath(out.name).suffix)
        if named_kind(Path(out.name)) and not is_file and not out.is_folder:
            what = f"-o {out} names one file, but a folder or several inputs need a folder"
            raise BadOption(what, hint=f"-o {out}/ for a folder of that name")
        return Entry(Root(place, False, out, is_file), relative, size)
    if request.output is not None or isinstance(place, Path):
        return Entry(Root(place, False, None), relative, size)
    return Entry(Root(place, False, _beside(place)), relative, size)


def _beside(place: Address) -> Address:
    """Return the folder of an input, for its result. Raises NeedsOutput where results are not written by default."""
    if place.protocol not in _OWN_FOLDER:
        what = f"{place} needs -o: results are not written next to inputs in {place.protocol}://"
        raise NeedsOutput(what, hint="name a file or a folder, such as -o . for the current one")
    return place if place.is_folder else place.parent


def _local(names: list[str], request: Request, out: Address | None, found: Inputs, is_one: bool) -> list[Entry]:
    """Return the local inputs of a run whose output, or other inputs, are remote."""
    local_out = Path(request.output) if out is None and request.output not in (None, STREAM) else None
    sources = find_inputs(
        names,
        recursive=request.recursive,
        include=request.include,
        exclude=request.exclude,
        out=local_out,
        template=request.template,
    )
    found.failed += sources.failed
    found.earlier += sources.earlier
    found.skipped += sources.left_out
    entries = []
    for source in sources.sources:
        relative = (PurePosixPath(source.below.as_posix()) / source.path.name).as_posix()
        size = os.stat(source.path).st_size if os.path.exists(source.path) else None
        entries.append(_named(source.path, relative, size, request, out, is_one and sources.is_one_file))
    return entries


def _remote(
    place: Address,
    request: Request,
    out: Address | None,
    stores: Stores,
    found: Inputs,
    is_one: bool,
    should_stop: Callable[[], bool],
) -> list[Entry]:
    """Return the inputs that an address stands for. Raises BadInput, Permanent, BadOption and Cancelled."""
    if "*" in place.path and place.protocol not in HTTP:
        hint = f"name its folder, with --include {PurePosixPath(place.name).name or '*'!r}"
        raise BadInput(f"{place} is a pattern, and those of remote files are not expanded", hint=hint)
    store = stores.of(place)
    if place.protocol in HTTP:
        if not place.name:
            raise BadInput(f"{place} names no file", hint="name a file; a web server lists none")
    elif place.is_folder or (
        not named_kind(Path(place.name)) and patiently(lambda: store.look(place), should_stop) is None
    ):
        return _members(place, request, out, stores, found, should_stop)
    if reason := unsafe_name(place.name):
        raise BadInput(f"cannot read {place}: {reason}", hint="give it another name, or download it first")
    return [_named(place, place.name, None, request, out, is_one)]


def _members(
    folder: Address,
    request: Request,
    out: Address | None,
    stores: Stores,
    found: Inputs,
    should_stop: Callable[[], bool],
) -> list[Entry]:
    """Return the inputs in a folder: by their names, as each look into a file is a request."""
    if out is not None and named_kind(Path(out.name)) and not out.is_folder:
        what = f"-o {out} names one file, but a folder or several inputs need a folder"
        raise BadOption(what, hint=f"-o {out}/ for a folder of that name")
    root = Root(folder, True, out or (None if request.output is not None else _beside(folder)))
    inside = ""  # of the folder, the one with the results
    if out is not None and out.protocol == folder.protocol:
        inside = f"{out.path.rstrip('/')}/".removeprefix(f"{folder.path.rstrip('/')}/")
        inside = "" if inside == f"{out.path.rstrip('/')}/" else inside
    entries: list[Entry] = []
    count = 0
    for listed in stores.of(folder).names(folder, recursive=request.recursive):
        if should_stop():
            raise Cancelled
        reason = _left_out(listed, request, inside)
        if not reason and (unsafe := unsafe_name(listed.relative)):
            shown = UrlPath(f"{folder}/{listed.relative!r}")
            found.failed.append((shown, BadInput(f"cannot read {shown}: {unsafe}", hint="give it another name")))
        elif reason:
            found.skip(folder.child(listed.relative), reason)
        else:
            entries.append(Entry(root, listed.relative, listed.size))
        if (count := count + 1) > _MOST:
            raise Permanent(f"it holds more than {_MOST:,} files", "name folders inside it, one by one")
    if not count:
        raise Permanent("there is no such file or folder", "check the name, and that these credentials may see it")
    return entries


def _left_out(listed: Listed, request: Request, inside: str) -> str:
    """Return why something in a folder is no input, or ""."""
    path = PurePosixPath(listed.relative)
    if inside and f"{listed.relative}/".startswith(inside):
        return "the output folder"
    if any(part.startswith(".") and part not in (".", "..") for part in path.parts):
        return "hidden"
    if listed.is_folder:
        return "a subfolder (needs -r)"
    if not _wanted(path, request):
        return "excluded by --include or --exclude"
    if not named_kind(Path(path.name)):
        return "neither an image nor a video by its name"
    return ""


def _wanted(path: PurePosixPath, request: Request) -> bool:
    if not (request.include or request.exclude):
        return True
    texts = path.name.lower(), path.as_posix().lower()

    def matches(patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(text, pattern.lower()) for pattern in patterns for text in texts)

    return not matches(request.exclude) and (not request.include or matches(request.include))


def as_input_error(shown: Path, error: Permanent) -> BadInput:
    return BadInput(f"cannot read {shown}: {error}", hint=error.hint)


def as_output_error(shown: Path, error: Permanent) -> CannotWrite:
    return CannotWrite(f"cannot write {shown}: {error}", hint=error.hint)
