"""Report of a run: one JSON document, written even if the run fails or is stopped."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dagan_cli.errors import BadInput, NoInput
from dagan_cli.files import open_regular, require_writable, whole_or_absent
from dagan_cli.media.remote.address import UrlPath, is_url, redacted
from dagan_cli.upscale.events import BadReport, Item, paths_to_json
from dagan_cli.upscale.inputs.retry import REPORT_HEAD, names_of
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.used import Used
from dagan_cli.version import __version__

T = TypeVar("T")

STATUSES = ("done", "skipped", "failed", "partial", "stopped", "untried")
_NO_ITEMS = '"items": []'
_ROWS = 1000  # items whose rows are in memory at once


def require_free(path: Path) -> None:
    """Raise BadReport unless a report may be written to `path`: nothing is there, an empty file, or an older report.

    Raises CannotWrite for a read-only folder: the report is written at the end, after all the work.
    """
    try:
        with open_regular(path) as file:
            head = file.read(len(REPORT_HEAD))
    except FileNotFoundError:
        head = b""
    except OSError as error:
        what = f"cannot write --report {path}: {(error.strerror or str(error)).lower()}"
        raise BadReport(what, hint="name a file; --json prints the report on stdout") from error
    if head not in (b"", REPORT_HEAD):
        raise BadReport(f"--report {path} exists and is not a report of dagan", hint="name another file for the report")
    require_writable(path)


def report_pieces(
    items: Sequence[Item],
    used: Sequence[Used],
    seconds: float,
    request: Request,
    nodes: Sequence[dict[str, Any]] = (),
    *,
    in_lines: bool = False,
) -> Iterator[str]:
    """Yield the report as JSON, piece by piece, as a hundred thousand rows would take more memory than the run.

    It is one line of printable ASCII characters; or, if `in_lines`, indented, with a line for each item.
    """
    text = json.dumps(_summary(items, used, seconds, request, nodes), indent=2 if in_lines else None)
    before, after = text.replace("\x7f", "\\u007f").split(_NO_ITEMS)
    row, end = ("\n    ", "\n  ]") if in_lines and items else ("", "]")
    yield before + _NO_ITEMS[:-1]
    for start in range(0, len(items), _ROWS):
        rows = ",".join(row + json.dumps(item.to_json()) for item in items[start : start + _ROWS])
        yield ("," if start else "") + rows.replace("\x7f", "\\u007f")
    yield end + after


def _summary(
    items: Sequence[Item], used: Sequence[Used], seconds: float, request: Request, nodes: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return all of a report but the items; `model` is the first one used, `models` lists all.

    `results` says where results go, for a later run of what is left.
    """
    models = _unequal(one.model() for one in used)
    pixels = sum(
        i.frames * i.out_size[0] * i.out_size[1] for i in items if i.out_size and i.status in ("done", "partial")
    )
    numbers = Counter(item.status for item in items)
    counts = {status: numbers[status] for status in STATUSES}
    return {
        "dagan": __version__,
        "model": models[0] if models else None,
        "models": models,
        "device": ", ".join(_unequal(one.device for one in used if one.device)) or None,
        "runtime": ", ".join(sorted({runtime for one in used for runtime in one.runtimes})) or None,
        "precision": ", ".join(_unequal(one.precision for one in used if one.precision)) or None,
        "shard": str(request.shard) if request.shard else None,
        "results": _results(items, request),
        **({"nodes": list(nodes)} if nodes else {}),
        "items": [],
        "totals": counts
        | {
            "frames": sum(item.frames for item in items),
            "megapixels": round(pixels / 1e6, 3),
            "seconds": round(seconds, 3),
        },
    }


def _results(items: Sequence[Item], request: Request) -> dict[str, Any]:
    """Return where results go, and what their names depend on."""
    output = None if request.output is None else Path(request.output)
    if request.output is not None and is_url(request.output):
        output = UrlPath(redacted(request.output))
    is_file = output is not None and any(item.output == output for item in items)
    if output is not None and not any(item.output for item in items):  # nothing says if it would have been one
        is_file = bool(
            len(items) == 1 and output.suffix and not output.is_dir() and not any(map(os.path.isdir, request.inputs))
        )
    places = paths_to_json(folder=Path.cwd(), output=output)
    return {**places, "is_file": is_file, "is_piped": "-" in request.inputs, **names_of(request)}


def _unequal(values: Iterable[T]) -> list[T]:
    """Return each value once, in order."""
    found: list[T] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def write_report(
    path: Path,
    items: Sequence[Item],
    used: Sequence[Used],
    seconds: float,
    request: Request,
    nodes: Sequence[dict[str, Any]] = (),
) -> None:
    """Write the report; `nodes` are those of a cluster. Raises CannotWrite."""
    with whole_or_absent(path) as file:
        for piece in report_pieces(items, used, seconds, request, nodes, in_lines=True):
            file.write(piece.encode())
        file.write(b"\n")


def exit_code(items: list[Item]) -> int:
    """Return 0 if all inputs are done, 1 if some are not; if all failed for the same reason, its own code."""
    if all(item.status in ("done", "skipped", "planned") for item in items):
        return 0
    if any(item.status != "failed" for item in items):
        return 1
    codes = {item.exit_code for item in items}
    if codes == {BadInput.exit_code} and not any(item.is_usable for item in items):
        return NoInput.exit_code
    return codes.pop() if len(codes) == 1 else 1
