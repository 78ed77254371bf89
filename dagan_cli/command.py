"""What every command of the command line shares: its settings, common flags, and how it ends in an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from dagan_cli.console import Reporter, fail
from dagan_cli.errors import DaganError

# Underscores and dashes in long flags are the same: scripts written for other upscalers run.
SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda name: name.replace("_", "-")}

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@contextmanager
def friendly_errors(debug: bool) -> Iterator[None]:
    """A DaganError becomes two lines and its exit code; anything else is a bug and keeps its traceback."""
    try:
        yield
    except DaganError as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def fetched(model: str) -> str:
    """The model by a name that needs no network any more: what is on the Hub is fetched, and pinned to its commit."""
    from weights.catalog import pinned

    with Reporter("auto", quiet=False, verbose=False) as reporter:
        return pinned(model, reporter.fetching)
