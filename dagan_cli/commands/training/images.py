"""`dagan train degrade`: images to measure models for degraded sources on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dagan_cli.commands.console import printable, say
from dagan_cli.commands.options import Debug, friendly_errors, one_of


def degrade(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of high-resolution images.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the small, degraded images.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind", metavar="KIND", help="Degradation: web is blur, noise, JPEG 60; video is noise, x264 CRF 28."
        ),
    ],
    scale: Annotated[int, typer.Option("-s", "--scale", min=2, max=8, help="Downscaling factor.")] = 4,
    debug: Debug = False,
) -> None:
    """Downscale and degrade images in a fixed way. `dagan eval FOLDER --inputs OUTPUT` compares models on them."""
    with friendly_errors(debug):
        from trainer.data.degrade_folder import degrade_folder
        from trainer.degradations import FIXED

        for path in degrade_folder(folder, output, one_of("--kind", kind, FIXED), scale):
            say(printable(str(path)))


def spoil(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER")],
    kind: Annotated[str, typer.Option("--kind", metavar="KIND")],
    scale: Annotated[int, typer.Option("-s", "--scale", min=2, max=8)] = 4,
    debug: Debug = False,
) -> None:
    """Old name of `dagan train degrade`."""
    say("warning: `dagan train spoil` is now called `dagan train degrade`")
    degrade(folder, output, kind, scale, debug)
