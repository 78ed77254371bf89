"""Run a request of `dagan upscale`: draw its progress, and report however it ends."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dagan_cli.commands.console import StopSignals, echo
from dagan_cli.commands.shown.plan import plan_table
from dagan_cli.commands.shown.progress import ProgressMode, Reporter
from dagan_cli.errors import BadOption, CannotWrite, DaganError
from dagan_cli.upscale.events import Abandoned, BadReport, Event, Item, Stopped

if TYPE_CHECKING:
    from dagan_cli.upscale.request import Request


def run_and_report(
    request: Request,
    report: Path | None,
    as_json: bool,
    mode: ProgressMode,
    explain: Callable[[str, str], tuple[str, str]],
    *,
    verbose: bool,
    quiet: bool,
) -> int:
    """Run the request; return the exit code.

    `explain` adds to an error about an option, and to its hint, where the option is from.
    Errors that concern all inputs are raised after the report is written. Raises CannotWrite for the report.
    """
    from dagan_cli.upscale.inputs.watch import run_watching
    from dagan_cli.upscale.remote.sources import has_remote
    from dagan_cli.upscale.report import exit_code, report_pieces, write_report
    from dagan_cli.upscale.work import Engines

    if has_remote(request):
        from dagan_cli.upscale.remote.run import run
    else:
        from dagan_cli.upscale.batch import run

    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    told: dict[object, Item] = {}  # of an input that is done again, the last one
    started = time.monotonic()
    with StopSignals().caught() as stop, Reporter(mode, quiet=quiet, verbose=verbose) as reporter:

        def tell(event: Event) -> None:
            if isinstance(event, Item):
                if event.exit_code == BadOption.exit_code:
                    reason, hint = explain(event.reason, event.hint)
                    event = replace(event, reason=reason, hint=hint)
                told[event.input if request.watch else len(told)] = event
            reporter.show(event)

        engines = Engines(request, tell)

        def account() -> None:
            seconds, items = time.monotonic() - started, list(told.values())
            try:
                if as_json:
                    for piece in report_pieces(items, engines.used, seconds, request, engines.nodes):
                        echo(piece, end="")
                    echo("")
                elif request.dry_run and any(item.status != "untried" for item in items):
                    echo(plan_table(items))
            finally:  # also if stdout is full
                if report is not None:
                    write_report(report, items, engines.used, seconds, request, engines.nodes)

        try:
            (run_watching if request.watch else run)(request, engines, tell, stop)
            code = exit_code(list(told.values()))
        except Stopped:
            reporter.stopped()
            code = stop.exit_code
        except Abandoned:
            code = CannotWrite.exit_code
        except BadReport:
            raise
        except BaseException:
            with suppress(DaganError):  # the first error is the one to report
                account()
            raise
        for used in engines.used if verbose else ():
            if used.why:
                reporter.note(f"{used.name}: {used.why}")
        reporter.close()
    account()
    return code
