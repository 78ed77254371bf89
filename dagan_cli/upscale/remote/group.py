"""Inputs that are upscaled in one go: the request for their files in the spool, and what these stand for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from dagan_cli.errors import DaganError
from dagan_cli.media.find import Listed
from dagan_cli.media.made.beside import path_beside
from dagan_cli.media.remote.address import Address
from dagan_cli.media.sniff import looks_like_video
from dagan_cli.upscale.events import Item
from dagan_cli.upscale.remote.ahead import Load
from dagan_cli.upscale.remote.existing import stand_in
from dagan_cli.upscale.remote.sending import Results
from dagan_cli.upscale.remote.sources import STREAM, Entry
from dagan_cli.upscale.remote.spool import discard
from dagan_cli.upscale.request import Request

_FLAGS = """
    --codec --crf --preset --pix-fmt -e --audio --streams --start --end --frames --deinterlace --square
    --format --quality --lossless --name
"""  # that may have no effect, which is told once, of all inputs


@dataclass(slots=True)
class Group:
    """Inputs whose results go to one place, and their files."""

    loads: list[Load]
    paths: dict[Entry, Path] = field(default_factory=dict)  # of the inputs that are here
    results: Results | None = None  # folder of the spool for the results; None: they are local
    told: set[Path] = field(default_factory=set)  # files whose Items are told
    is_other: bool = False  # the leftovers are not what this run makes
    _stand_ins: set[Path] = field(default_factory=set)
    _leftovers: set[Path] = field(default_factory=set)  # results of an earlier run that were not sent

    @property
    def first(self) -> Entry:
        return self.loads[0].family[0]

    @property
    def place(self) -> Address | None:
        """The folder, or the file, that the results go to. Those of a folder keep their folders below it."""
        return self.first.root.out if self.first.root.is_folder else self.first.target

    @property
    def has_film(self) -> bool:
        return any(path != Path(STREAM) and looks_like_video(path) for path in self.paths.values())

    @property
    def film_key(self) -> str:
        """A name for the work on a film: the same for the same result."""
        return Address("", f"{self.place}\n{self.first.below}\n{self.first.stem.lower()}").key

    def put_stand_ins(self) -> None:
        """Put a file in place of every existing result, and find the results that an earlier run did not send."""
        assert self.results is not None
        out = self.results.folder
        for load in self.loads:
            for entry in load.fetching:
                folder = out / entry.below if entry.root.is_folder else out
                for each in load.existing.get(entry, ()):
                    if (path := folder / each.name) not in self._stand_ins:
                        _remove(path)
                        self._stand_ins.add(stand_in(each, folder))
        if self.results.is_film:
            found = {path for path in out.rglob("*") if path.is_file()} - self._stand_ins
            self._leftovers = {path for path in found if "/." not in f"/{path.relative_to(out).as_posix()}"}

    def forget_leftovers(self) -> None:
        """Remove the results that an earlier run did not send, and the inputs that are done."""
        for path in (*self._leftovers, *(self.told if self.first.root.is_folder else ())):
            _remove(path)
        self._leftovers, self.is_other = set(), False

    def request(self, outer: Request, *, is_one_file: bool) -> Request:
        """Return the request for the files that have no Item yet."""
        root = self.first.root
        inputs: tuple[str, ...]
        if root.is_folder:
            inputs = tuple(str(load.folder) for load in self.loads if load.folder is not None)
        else:
            left = [path for path in self.paths.values() if path not in self.told]
            inputs = tuple(STREAM if path == Path(STREAM) else Listed(path) for path in left)
        output = outer.output
        if self.results is not None:
            folder = self.results.folder
            output = str(folder / root.out.name) if root.out and root.out_is_file else os.path.join(folder, "")
        elif output not in (None, STREAM) and not is_one_file:
            output = os.path.join(output or "", "")
        return replace(
            outer,
            inputs=inputs,
            output=output,
            recursive=True,
            include=(),
            exclude=(),
            shard=None,  # these are of this run's share
            overwrite=outer.overwrite and not self._leftovers,
            defaulted=outer.defaulted | set(_FLAGS.split()),
        )

    def is_leftover(self, path: Path | None) -> bool:
        """True if this is a result that an earlier run did not send."""
        return path in self._leftovers

    def shown(self, path: Path) -> Path:
        """Return an input as it is shown."""
        return next((entry.path for entry, own in self.paths.items() if own == path), path)

    def address(self, path: Path | None) -> Address | None:
        """Return what a result in the spool stands for; None for a local one."""
        if self.results is None or self.place is None or path is None:
            return None
        if not path.is_relative_to(self.results.folder):
            return None
        if self.first.root.out_is_file:
            return self.place
        return self.place.child(path.relative_to(self.results.folder).as_posix())

    def item(self, item: Item) -> Item:
        """Return an Item with addresses in place of files of the spool."""
        place = self.address(item.output)
        return replace(
            item,
            input=self.shown(item.input),
            output=place.shown if place else item.output,
            reason=self.text(item.reason),
            hint=self.text(item.hint),
            warnings=tuple(map(self.text, item.warnings)),
        )

    def text(self, text: str) -> str:
        """Return a text with addresses in place of files of the spool."""
        names = {str(path): str(entry.path) for entry, path in self.paths.items() if isinstance(entry.place, Address)}
        if self.results is not None and self.place is not None:
            place = self.place.parent if self.first.root.out_is_file else self.place
            names[str(self.results.folder)] = str(place).rstrip("/")
        names |= {str(load.folder): str(load.family[0].root.place).rstrip("/") for load in self.loads if load.folder}
        for own, shown in names.items():
            text = text.replace(own, shown)
        return text

    def error(self, error: DaganError) -> DaganError:
        """Return an error with addresses in place of files of the spool."""
        error.args, error.hint = (self.text(str(error)),), self.text(error.hint)
        return error


def join(first: Load, other: Load) -> bool:
    """True if two families can be upscaled in one go: images whose results go to one place."""
    one, two = first.family[0], other.family[0]
    if any(entry.kind == "video" for load in (first, other) for entry in load.family):
        return False
    if one.root.is_folder or two.root.is_folder:
        return one.root is two.root
    return not one.root.out_is_file and str(one.target) == str(two.target) and Path(STREAM) != one.place


def _remove(path: Path) -> None:
    discard(path_beside(path))
    discard(path)
