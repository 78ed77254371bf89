"""Inputs that an earlier run left: read from its report, to be done as that run would have done them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagan_cli.errors import BadOption
from dagan_cli.files import place_of, read_regular
from dagan_cli.media.find import Found, Listed, Source, find_inputs
from dagan_cli.media.made.stored import read_record
from dagan_cli.media.remote.address import is_url
from dagan_cli.media.sniff import named_kind
from dagan_cli.upscale.events import STDOUT, path_from_json
from dagan_cli.upscale.inputs.scope import Scope

if TYPE_CHECKING:
    from dagan_cli.upscale.request import Request

REPORT_HEAD = b'{\n  "dagan": "'  # how every report starts
OPEN = ("failed", "partial", "stopped", "untried")  # what is tried again
_SETTLED = ("done", "skipped", "planned")
_MOST = 1 << 28  # bytes of a report that are read: half a million inputs
_FLAG = "--retry-failed"


@dataclass(frozen=True, slots=True)
class _Row:
    """Result of one input of the earlier run."""

    input: Path
    output: Path | None
    below: Path
    status: str


@dataclass(frozen=True, slots=True)
class Retry:
    """An earlier run, as its report says."""

    path: Path  # of the report
    rows: tuple[_Row, ...]
    output: str | None  # the file, or the folder with a separator at its end; None: next to each input
    names: dict[str, str | None]  # what the names of its results depended on

    @classmethod
    def of(cls, path: Path) -> Retry:
        """Read a report. Raises BadOption if it is missing, damaged or none of dagan."""
        try:
            data = read_regular(path, _MOST)
        except OSError as error:
            what = f"cannot read {_FLAG} {path}: {(error.strerror or str(error)).lower()}"
            raise BadOption(what, hint="name a file that --report has written") from error
        if not data.startswith(REPORT_HEAD):
            raise BadOption(f"{_FLAG} {path} is not a report of dagan", hint="name a file that --report has written")
        try:
            report = json.loads(data)
            results = report["results"]
            folder = _elsewhere(path_from_json(results, "folder"))
            rows = tuple(_row(row, folder) for row in report["items"])
            names = {name: results[name] for name in ("mark", "part", "template")}
            output = path_from_json(results, "output")
            is_file, is_piped = results["is_file"], results["is_piped"]
            places = [results["output"], *(row[name] for row in report["items"] for name in ("input", "output"))]
            is_remote = any(is_url(place or "") for place in places)
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
            raise BadOption(
                f"{_FLAG} {path} is damaged", hint="name the inputs instead: what is done is skipped"
            ) from error
        if is_remote:
            raise BadOption(f"{_FLAG} {path} names URLs", hint="run the same command again: what is done is skipped")
        if is_piped:
            raise BadOption(f"the input of {_FLAG} {path} was stdin", hint="pipe it into the same command again")
        if output is None or output == STDOUT:
            return cls(path, rows, output and str(output), names)
        return cls(path, rows, str(folder / output) + ("" if is_file else os.sep), names)

    @property
    def incomplete(self) -> frozenset[Path]:
        """Results that were written, and are not whole; only those that dagan made."""
        partial = (row.output for row in self.rows if row.status == "partial")
        return frozenset(path for path in partial if path is not None and read_record(path) is not None)

    def scope(self, request: Request) -> Scope:
        """Return the inputs to try again, and the others of that run."""
        again = {row.input: row for row in self.rows if row.status in OPEN}
        how = {"recursive": request.recursive, "include": request.include, "exclude": request.exclude}
        found = find_inputs([Listed(path) for path in again], template=request.template, **how)
        is_one_file = len(self.rows) == 1 and self.rows[0].below == Path() and not again.keys() - {*_paths(found)}
        sources = tuple(replace(source, below=_below(source, again)) for source in found.sources)
        below = {path: again[path].below for path, _ in found.failed if path in again}
        same_names = self.names == names_of(request) and _same_place(self.output, request.output)
        return Scope(
            replace(found, sources=sources, below=below, is_one_file=is_one_file),
            {source: suffix for row in self.rows for source, suffix in _other(row)},
            {row.input: row.output for row in again.values() if row.output} if same_names else {},
        )


def names_of(request: Request) -> dict[str, str | None]:
    """Return what the names of results depend on, next to the inputs themselves."""
    template = request.template and request.template.text
    return {"mark": request.goal.name, "part": request.part.name, "template": template}


def _elsewhere(folder: Path | None) -> Path:
    """Return the folder that the paths of a report are relative to, if it is not this one."""
    return Path() if folder is None or not folder.is_dir() or os.path.samefile(folder, os.curdir) else folder


def _row(row: dict[str, Any], folder: Path) -> _Row:
    """Read an item. Raises ValueError, KeyError, TypeError."""
    source, output, below = (path_from_json(row, name) for name in ("input", "output", "below"))
    if source is None or below is None or below.is_absolute() or ".." in below.parts:
        raise ValueError("not an item")
    if row["status"] not in (*OPEN, *_SETTLED):
        raise ValueError("not a status")
    return _Row(folder / source, output and folder / output, below, row["status"])


def _other(row: _Row) -> list[tuple[Source, str]]:
    """Return an input that is done, with the suffix of its result."""
    if row.status in OPEN or row.output is None or row.output == row.input:
        return []
    return [(Source(row.input, named_kind(row.input) or "picture", row.below), row.output.suffix)]


def _paths(found: Found) -> list[Path]:
    return [*(source.path for source in found.sources), *(path for path, _ in found.failed)]


def _below(source: Source, again: dict[Path, _Row]) -> Path:
    """Return the folder of a source below the folder that was named; it may be in one that could not be listed."""
    if (row := again.get(source.path)) is not None:
        return row.below
    row = next(again[folder] for folder in source.path.parents if folder in again)
    return row.below / row.input.name / source.below


def _same_place(one: str | None, other: str | None) -> bool:
    return one == other or (one is not None and other is not None and place_of(Path(one)) == place_of(Path(other)))
