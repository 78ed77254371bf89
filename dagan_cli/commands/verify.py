"""`dagan verify`: does an upscaled file keep what its source holds?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dagan_cli.commands.console import echo, in_json
from dagan_cli.commands.options import AsJson, Audio, Debug, friendly_errors, moment
from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.commands.shown.tables import table
from dagan_cli.upscale.events import Advance, Start

_SAME = "The value passed to `dagan upscale`."


def verify(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="The file that was upscaled.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The upscaled file.")],
    start: Annotated[str | None, typer.Option("--start", metavar="TIME", help=_SAME)] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help=_SAME)] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help=_SAME)] = None,
    audio: Audio = "copy",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check that OUTPUT keeps all that INPUT holds. Compares frames, timestamps, streams, tags and scale."""
    with friendly_errors(debug):
        from dagan_cli.inspection.verify import verify as verify_
        from dagan_cli.upscale.request import Part

        with Reporter("auto", quiet=False, verbose=False) as reporter:
            reporter.show(Start(0, 1, output))
            found = verify_(
                source,
                output,
                Part(moment("--start", start), moment("--end", end), frames),
                sound=audio == "copy",
                tell=lambda done, total: reporter.show(Advance(done, total, "frames")),
            )
        if as_json:
            echo(in_json(found.to_json()))
        else:
            rows = [[row.result, row.what, row.expected, row.found, row.remark] for row in found.checks]
            echo(table(["", "what", "expected", "found", "remark"], rows, left=5))
        if complaint := found.complaint():
            raise complaint
