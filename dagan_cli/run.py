"""One run of `dagan upscale`: work, draw it, and account for it, however it ends."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import typer

from dagan_cli.console import ProgressMode, Reporter, StopSignals, forecast_table
from dagan_cli.errors import CannotWrite, DaganError
from dagan_cli.report import build_report, exit_code, write_report
from dagan_cli.request import Item, Request
from dagan_cli.upscale import run
from dagan_cli.upscaler import Engines
from dagan_cli.work import Abandoned, Advance, Event, Start, Stopped


def run_and_report(
    request: Request, report: Path | None, as_json: bool, mode: ProgressMode, *, verbose: bool, quiet: bool
) -> int:
    """Returns the exit code. Raises what concerns all inputs, once the report is written, or CannotWrite for it."""
    items: list[Item] = []
    engines = Engines(request)
    started = time.monotonic()

    def account() -> None:
        document = build_report(items, engines.used, time.monotonic() - started)
        if as_json:
            typer.echo(json.dumps(document))
        elif planned := [item for item in items if item.forecast]:
            typer.echo(forecast_table(planned))
        if report is not None:
            write_report(report, document)

    with StopSignals().caught() as stop, Reporter(mode, quiet=quiet, verbose=verbose) as reporter:
        engines.fetching = reporter.fetching

        def tell(event: Event) -> None:
            match event:
                case Start(index, total, path):
                    reporter.start(index, total, path.name)
                case Advance(done, total, unit, resumed):
                    reporter.advance(done, total, unit, resumed)
                case Item():
                    items.append(event)
                    reporter.item(event)

        try:
            run(request, engines, tell, stop)
            code = exit_code(items)
        except Stopped:
            reporter.stopped()
            code = stop.exit_code
        except Abandoned:
            code = CannotWrite.exit_code
        except BaseException:
            with suppress(DaganError):  # the first error is the one to tell
                account()
            raise
        for used in engines.used:
            reporter.note(f"{used.name}: {used.choice.why}")
    account()
    return code
