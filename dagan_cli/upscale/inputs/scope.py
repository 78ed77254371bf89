"""The inputs that a run works on, among others that have a say in the names of its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dagan_cli.media.find import Found, Source, has_name_of_result
from dagan_cli.upscale.inputs.shard import Shard


@dataclass(frozen=True, slots=True)
class Scope:
    """The inputs of a run, and others that it leaves alone: its results get the names that a run of all gives them."""

    found: Found
    others: Mapping[Source, str] = field(default_factory=dict)  # with the suffix of the result; "" if it is unknown
    former: Mapping[Path, Path] = field(default_factory=dict)  # results of an earlier run, by input
    left: int = 0  # inputs that other runs take

    def within(self, shard: Shard) -> Scope:
        """Return the share of the inputs that one of several runs takes."""
        found = self.found
        below = {source.path: source.below for source in found.sources} | dict(found.below)

        def is_mine(path: Path) -> bool:
            return shard.has(below.get(path, Path()) / path.name)

        sources = tuple(source for source in found.sources if is_mine(source.path))
        failed = tuple(entry for entry in found.failed if is_mine(entry[0]))
        skipped = tuple(each for each in found.skipped if not each.is_named or is_mine(each.path))
        mine = replace(found, sources=sources, failed=failed, skipped=skipped)
        others = dict(self.others) | {source: "" for source in found.sources if not is_mine(source.path)}
        return replace(self, found=mine, others=others, left=self.left + _count(found) - _count(mine))

    @property
    def heard(self) -> list[Source]:
        """The others that can change how results are named by default: only their headers need to be read.

        Those share a name with another input, perhaps once the kind is part of it, or may be in the way of a result.
        """
        names = Counter(name for source in (*self.found.sources, *self.others) for name in _names(source))
        return [
            source
            for source in self.others
            if any(names[name] > 1 for name in _names(source)) or has_name_of_result(source.path)
        ]


def _names(source: Source) -> set[str]:
    stem, kind = source.path.stem.lower(), source.path.suffix[1:].lower()
    return {stem, f"{stem}_{kind}"}


def _count(found: Found) -> int:
    return len(found.sources) + len(found.failed) + len(found.earlier)
