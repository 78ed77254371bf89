"""Name the outputs: a target for each source, so that no result takes the place of an input or of another result."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from dagan_cli.errors import BadOption
from dagan_cli.media.find import Found, Place, Places, Source
from dagan_cli.media.made.index import place_in, state_of
from dagan_cli.media.made.seen import Seen
from dagan_cli.media.sniff import named_kind
from dagan_cli.media.template import LONGEST_NAME, Facts, Template


@dataclass(frozen=True, slots=True)
class Naming:
    """Output location and naming scheme; made by `plan_naming`."""

    out: Path | None  # None: next to each source
    out_is_file: bool
    mark: str  # distinguishes a result from its source: "x4"
    part: str = ""  # of a video, that is upscaled: "from-1.5_to-3"
    template: Template | None = None  # in place of the mark and the part
    facts: Mapping[Path, Facts] = field(default_factory=dict)  # by the path of the source, for the template


def plan_naming(
    found: Found,
    out: str | Path | None,
    mark: str,
    part: str = "",
    *,
    template: Template | None = None,
    facts: Mapping[Path, Facts] | None = None,
) -> Naming:
    """Decide whether `out` is a file or a folder; the other arguments are those of `Naming`.

    It is a file if there is one input file and `out` has a suffix and is not a folder; else it is a folder, created on
    the first write. Raises BadOption if it must be a folder, and a file of that name exists or its suffix is that of an
    image or a video.
    """
    beside = Naming(None, False, mark, part, template, facts or {})
    if out is None:
        return beside
    is_folder = os.path.isdir(out) or str(out).endswith((os.sep, "/"))
    if found.is_one_file and not is_folder and Path(out).suffix:
        return replace(beside, out=Path(out), out_is_file=True)
    if os.path.exists(out) and not is_folder:
        raise BadOption(f"-o {out} is a file, but the results need a folder", hint="specify a folder with -o")
    if named_kind(Path(out)) and not is_folder:
        what = f"-o {out} names one file, but a folder or several inputs need a folder"
        raise BadOption(what, hint=f"-o {Path(out).with_suffix('')}, or -o {out}{os.sep} for a folder of that name")
    return replace(beside, out=Path(out))


def target_of(source: Source, naming: Naming, suffix: str, *, with_kind: bool = False) -> Path:
    """Return the path of the result of `source`: `{stem}_{mark}{suffix}`, or the output file if one was named.

    A template replaces the mark and the part, which otherwise follows the mark of a video. `with_kind` adds the
    source's own suffix to the name: `a.png` -> `a_png_x4.webp`.
    """
    if naming.out and naming.out_is_file:
        return naming.out
    return _folder_of(source, naming) / _name_of(source, naming, suffix, with_kind=with_kind)


def _folder_of(source: Source, naming: Naming) -> Path:
    return _joined(naming.out, source.below) if naming.out else source.path.parent


@lru_cache(64)  # the sources of a folder follow each other
def _joined(out: Path, below: Path) -> Path:
    return out / below


def _name_of(source: Source, naming: Naming, suffix: str, *, with_kind: bool = False) -> str:
    own = f"_{source.path.suffix[1:]}" if with_kind and source.path.suffix else ""
    part = f"_{naming.part}" if naming.part and source.kind == "video" else ""
    stem = f"{source.path.stem}{own}"
    if naming.template is not None:
        return f"{naming.template.fill(stem, part, naming.facts[source.path])}{suffix}"
    return f"{stem}_{naming.mark}{part}{suffix}"


def plan_targets(
    sources: Sequence[Source],
    naming: Naming,
    suffixes: Sequence[str],
    *,
    apart: Sequence[Path] = (),
    seen: Seen | None = None,
) -> list[Path | BadOption]:
    """Return the target of each source, with the suffix of its result; targets are unique, and none is a source.

    Sources that would share a target (`a.png` and `a.jpg` to WebP) all get their own suffix added to the name, so that
    names do not depend on the order. Those that still would (`x/a.png` and `y/a.png`) keep their folders below the one
    that they have in common, see `told_apart`. Neither is one of the files `apart`, which the run uses itself. In place
    of an unusable target, the list holds the error to report. `seen` knows the files of the sources.
    """
    place, seen = Places(), seen or Seen()
    targets = [target_of(source, naming, suffix) for source, suffix in zip(sources, suffixes, strict=True)]
    if shared := _repeated(targets, place):
        targets = [
            target_of(source, naming, suffix, with_kind=True) if place(target) in shared else target
            for source, suffix, target in zip(sources, suffixes, targets, strict=True)
        ]
        targets = _in_folders(sources, targets, naming, suffixes, place)
        shared = _repeated(targets, place)
    inputs = {seen.place(source.path) for source in sources}
    own = {name for path in apart for name in (seen.place(path), place(path)) if name}
    links = _links_below(naming.out, {target.parent for target in targets})
    return [_obstacle(target, shared, inputs, own, links, naming, place) or target for target in targets]


def told_apart(
    sources: Sequence[Source], naming: Naming, targets: Sequence[Path | BadOption]
) -> list[tuple[Path, Path]]:
    """Return the paths of sources and targets in a folder that only tells them apart from others of that name."""
    if not naming.out or naming.out_is_file:
        return []
    folders = {below: str(naming.out / below) for below in {source.below for source in sources}}
    return [
        (source.path, target)
        for source, target in zip(sources, targets, strict=True)
        if isinstance(target, Path) and str(target.parent) != folders[source.below]
    ]


def _in_folders(
    sources: Sequence[Source], targets: list[Path], naming: Naming, suffixes: Sequence[str], place: Places
) -> list[Path]:
    """Return the targets; those that are shared get the folders of their sources below the one they have in common."""
    shared = _repeated(targets, place)
    folders = {
        index: os.path.abspath(source.path.parent)
        for index, (source, target) in enumerate(zip(sources, targets, strict=True))
        if place(target) in shared
    }
    if not naming.out or naming.out_is_file or len({os.path.splitdrive(path)[0] for path in folders.values()}) != 1:
        return targets
    common = os.path.commonpath(folders.values())
    moved = {at: replace(sources[at], below=Path(os.path.relpath(path, common))) for at, path in folders.items()}

    def renamed(with_kind: Set[Place]) -> list[Path]:
        found = list(targets)
        for at, source in moved.items():
            found[at] = target_of(source, naming, suffixes[at])
            if place(found[at]) in with_kind:
                found[at] = target_of(source, naming, suffixes[at], with_kind=True)
        return found

    return renamed(_repeated(renamed(frozenset()), place))


def _obstacle(
    target: Path,
    shared: Set[Place],
    inputs: Set[bytes],
    own: Set[bytes | Place],
    links: dict[Path, Path],
    naming: Naming,
    place: Places,
) -> BadOption | None:
    template = naming.template
    if shared and place(target) in shared:
        hint = "name one output folder for each with -o"
        if template is not None and template.pattern is None:
            hint = f"add {{stem}} to --name {template.text!r}"
        return BadOption(f"several inputs would be written to {target}", hint=hint)
    if template is not None and target.name.startswith("."):
        return BadOption(f"--name {template.text!r} makes a hidden file, {target}", hint="add {stem} to it")
    if links and (link := links.get(target.parent)):
        return BadOption(
            f"{link} is a link, and leads out of the folder of the results", hint="name its folder with -o"
        )
    file = place_in(state_of(target))
    if file in own or (not file and place(target) in own):
        return BadOption(f"{target} is a file that this run uses", hint="choose another file or folder with -o")
    if file and file in inputs:
        return BadOption(f"{target} would overwrite an input", hint="choose another file or folder with -o")
    if len(os.fsencode(target.name)) > LONGEST_NAME:
        return BadOption(f"the file name of {target} is too long", hint="choose a shorter one with -o or --name")
    return None


def _links_below(out: Path | None, folders: Iterable[Path]) -> dict[Path, Path]:
    """Return, by folder, the link to a folder below `out` that leads to it: nobody named that one."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if out is not None and folder.is_relative_to(out):
            for each in (folder, *folder.parents):
                if each == out:
                    break
                if each.is_symlink():
                    found[folder] = each
    return found


def _repeated(targets: Iterable[Path], place: Places) -> set[Place]:
    return {each for each, count in Counter(map(place, targets)).items() if count > 1}
