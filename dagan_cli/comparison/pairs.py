"""Find what is compared: files as they are named, or the images of folders paired by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.errors import BadInput, BadOption, DaganError, NoInput
from dagan_cli.media.find import EARLIER_RESULT, Found, Kind, find_inputs, stems_of_result
from dagan_cli.media.named import kind_of, require_local
from dagan_cli.media.sniff import named_kind


@dataclass(frozen=True, slots=True)
class Item:
    """One image or video, and its counterparts."""

    name: str
    kind: Kind
    paths: tuple[Path | DaganError, ...]  # one for each argument, or the reason why there is none; the first is a path


@dataclass(frozen=True, slots=True)
class Pairs:
    """Everything to compare."""

    labels: tuple[str, ...]  # short names of the arguments
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are compared."""
        return tuple(path for item in self.items for path in item.paths if isinstance(path, Path))


def find_pairs(arguments: Sequence[Path]) -> Pairs:
    """Pair the first argument with each of the others: files, or folders with images of the same names.

    In folders, images are paired by their paths in the folder without the suffix, also if a result has the name that
    dagan gives it, such as `baby_x4.png` of `baby.png`; else by their names if these are in one place only.
    Raises NoInput if the first argument, or each of the others, cannot be used; BadOption for files and folders mixed.
    """
    for path in arguments:
        require_local(path)
    folders = [path.is_dir() for path in arguments]
    if any(folders) and not all(folders):
        file, folder = arguments[folders.index(False)], arguments[folders.index(True)]
        what = f"{folder} is a folder, and {file} is not"
        raise BadOption(what, hint="compare files with a file, or folders with a folder")
    pairs = _of_folders(arguments) if all(folders) else _of_files(arguments)
    usable = [any(isinstance(path, Path) for path in item.paths[1:]) for item in pairs.items]
    if len(arguments) > 1 and not any(usable):
        first = next(path for path in pairs.items[0].paths if isinstance(path, DaganError))
        raise NoInput(f"there is nothing to compare: {first}", hint=first.hint)
    return pairs


def _of_files(arguments: Sequence[Path]) -> Pairs:
    reference = arguments[0]
    kind = kind_of(reference)
    paths: list[Path | DaganError] = [reference]
    for path in arguments[1:]:
        try:
            own = kind_of(path)
        except NoInput as error:
            paths.append(error)
            continue
        words = [_word(reference, kind), _word(path, own)]
        other = BadInput(", ".join(words), hint="compare images with an image, or videos with a video")
        paths.append(path if own == kind else other)
    return Pairs(_labels(arguments), (Item(reference.name, kind, tuple(paths)),))


def _of_folders(arguments: Sequence[Path]) -> Pairs:
    found = [find_inputs([folder], recursive=True) for folder in arguments]
    references = [source.path for source in found[0].sources if source.kind == "picture"]
    failed = [path for path, _ in found[0].failed if named_kind(path) == "picture"]
    if not references and not failed:
        raise NoInput(f"no image in {arguments[0]}", hint="use a folder of images, or name videos one by one")
    names = [_Names(folder, each) for folder, each in zip(arguments[1:], found[1:], strict=True)]
    items = [
        Item(_inner(path, arguments[0]), "picture", (path, *(each.counterpart(path, arguments[0]) for each in names)))
        for path in sorted([*references, *failed])
    ]
    videos = sum(source.kind == "video" for source in found[0].sources)
    notes = (f"videos in {arguments[0]} are not compared, {videos} in all: name each by itself",) if videos else ()
    return Pairs(_labels(arguments), tuple(items), notes)


class _Names:
    """The images in a folder of results, by the names of what they can be results of."""

    def __init__(self, folder: Path, found: Found) -> None:
        self._folder = folder
        earlier = [skipped.path for skipped in found.skipped if skipped.reason == EARLIER_RESULT]
        plain = [source.path for source in found.sources if source.kind == "picture"]
        plain += [path for path, _ in found.failed if named_kind(path) == "picture"]
        # An earlier result stands next to its source: the result is what is to be compared.
        self._ways = (
            self._by(earlier, result=True, inner=True),
            self._by(plain, result=False, inner=True),
            self._by(plain, result=True, inner=True),
            self._by(plain, result=False, inner=False),
            self._by([*plain, *earlier], result=True, inner=False),
        )

    def _by(self, paths: Sequence[Path], *, result: bool, inner: bool) -> dict[str, list[Path]]:
        """Return the images by what their names say, in the folder or (not `inner`) without it."""
        names: defaultdict[str, list[Path]] = defaultdict(list)
        for path in paths:
            folder = path.relative_to(self._folder).parent.as_posix() if inner else ""
            for stem in stems_of_result(path.stem, None) if result else (path.stem.lower(),):
                names[f"{folder}/{stem}".lower()].append(path)
        return names

    def counterpart(self, reference: Path, folder: Path) -> Path | DaganError:
        """Return the result of an image, or why there is none."""
        inner, stem = reference.relative_to(folder).parent.as_posix(), reference.stem
        several: list[Path] = []
        for way, place in zip(self._ways, (inner, inner, inner, "", ""), strict=True):
            paths = way.get(f"{place}/{stem}".lower(), [])
            exact = [path for path in paths if path.name == reference.name] or paths
            if len(exact) == 1:
                return exact[0]
            several = several or exact
        if several:
            what = f"{len(several)} images in {self._folder} can be the result of {reference.name}: "
            what += ", ".join(path.name for path in several[:3]) + (" ..." if len(several) > 3 else "")
            return NoInput(what, hint="keep one of them in the folder, or name the two files")
        what = f"no image in {self._folder} is named {stem}, like {reference}"
        return NoInput(what, hint="name each result like its reference")


def _inner(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _word(path: Path, kind: Kind) -> str:
    return f"{path} is {'an image' if kind == 'picture' else 'a video'}"


def _labels(arguments: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the arguments, or their paths where names repeat; numbered where these repeat too."""
    names = [path.name or str(path) for path in arguments]
    if len(set(names)) < len(names):
        names = [str(path) for path in arguments]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)
    )
