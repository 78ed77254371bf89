"""Report of a run: one JSON document, written even if the run fails or is stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagan_cli.errors import BadInput, NoInput
from dagan_cli.files import open_regular, require_writable, whole_or_absent
from dagan_cli.upscale.events import BadReport, Item, paths_to_json
from dagan_cli.upscale.inputs.retry import REPORT_HEAD, names_of
from dagan_cli.version import __version__

if TYPE_CHECKING:
    from dagan_cli.upscale.request import Request
    from dagan_cli.upscaler import Upscaler


STATUSES = ("done", "skipped", "failed", "partial", "stopped", "untried")


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


def build_report(items: list[Item], used: list[Upscaler], seconds: float, request: Request) -> dict[str, Any]:
    """Return items, totals and models as JSON; `model` is the first one used, `models` lists all.

    `results` says where results go, for a later run of what is left.
    """
    keys = ("name", "architecture", "sha256", "scale", "order", "detail", "denoise", "window", "grain")
    models = [{key: getattr(upscaler, key) for key in keys} for upscaler in used]
    pixels = sum(
        i.frames * i.out_size[0] * i.out_size[1] for i in items if i.out_size and i.status in ("done", "partial")
    )
    counts = {status: sum(i.status == status for i in items) for status in STATUSES}
    return {
        "dagan": __version__,
        "model": models[0] if models else None,
        "models": models,
        "device": used[0].choice.name if used else None,
        "runtime": ", ".join(sorted(set().union(*(one.engine.runtimes for one in used)))) or None,
        "precision": str(used[0].choice.dtype).removeprefix("torch.") if used else None,
        "shard": str(request.shard) if request.shard else None,
        "results": _results(items, request),
        "items": [item.to_json() for item in items],
        "totals": counts
        | {
            "frames": sum(item.frames for item in items),
            "megapixels": round(pixels / 1e6, 3),
            "seconds": round(seconds, 3),
        },
    }


def _results(items: list[Item], request: Request) -> dict[str, Any]:
    """Return where results go, and what their names depend on."""
    output = None if request.output is None else Path(request.output)
    is_file = output is not None and any(item.output == output for item in items)
    if output is not None and not any(item.output for item in items):  # nothing says if it would have been one
        is_file = bool(
            len(items) == 1 and output.suffix and not output.is_dir() and not any(map(os.path.isdir, request.inputs))
        )
    places = paths_to_json(folder=Path.cwd(), output=output)
    return {**places, "is_file": is_file, "is_piped": "-" in request.inputs, **names_of(request)}


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report. Raises CannotWrite."""
    with whole_or_absent(path) as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())


def exit_code(items: list[Item]) -> int:
    """Return 0 if all inputs are done, 1 if some are not; if all failed for the same reason, its own code."""
    if all(item.status in ("done", "skipped", "planned") for item in items):
        return 0
    if any(item.status != "failed" for item in items):
        return 1
    codes = {item.exit_code for item in items}
    if codes == {BadInput.exit_code} and not any(item.is_in_the_way for item in items):
        return NoInput.exit_code
    return codes.pop() if len(codes) == 1 else 1
