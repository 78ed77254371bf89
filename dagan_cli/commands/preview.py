"""`dagan preview`: an input at a few places through several models, on a page or in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagan_cli.commands.console import StopSignals, echo, in_json, printable, say
from dagan_cli.commands.options import (
    AUTO,
    IN_OUT,
    QUALITY,
    SIZE,
    AsJson,
    Debug,
    Device,
    Precision,
    Progress,
    RuntimeName,
    Size,
    friendly_errors,
    model_choices,
    page_path,
    switch,
)
from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.commands.shown.tables import columns, room, table, wrapped
from dagan_cli.errors import BadInput, BadOption, NoInput

if TYPE_CHECKING:
    from dagan_cli.media.find import Source
    from dagan_cli.preview.result import Preview


def preview(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="An image or a video.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PAGE",
            help="The page; default: {stem}_preview.html in the current folder.",
            rich_help_panel=IN_OUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, switch("-y", "--overwrite", help="Replace a file that is no page of dagan.", panel=IN_OUT)
    ] = False,
    inline: Annotated[
        bool, switch("--inline", help="Also draw the images in the terminal, if it can show them.", panel=IN_OUT)
    ] = False,
    scale: Annotated[
        float | None,
        typer.Option(
            "-s", "--scale", metavar="FACTOR", help="Final scale, such as 2 or 1.5; default: 4.", rich_help_panel=SIZE
        ),
    ] = None,
    size: Size = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-n",
            "--model",
            metavar="MODEL",
            help="A model to compare, as of `dagan upscale`; repeatable. Default: the one that auto takes, fidelity, "
            "real, and bicubic.",
            autocompletion=model_choices,
            rich_help_panel=SIZE,
        ),
    ] = None,
    denoise: Annotated[
        list[str] | None,
        typer.Option(
            "--denoise",
            metavar="0..1[,0..1...]",
            help="Strengths to compare: blends from the model (0) to the one for compressed, noisy or blurred sources "
            "(1); repeatable. Without -n, of the perceptual model.",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    device: Device = "auto",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    progress: Progress = "auto",
    debug: Debug = False,
) -> None:
    """Show INPUT at three places through several models, with the time and the command of the whole job."""
    with friendly_errors(debug):
        if as_json and inline:
            raise BadOption("both --json and --inline would write to stdout", hint="give one of them")
        from dagan_cli.preview.choices import Asked
        from dagan_cli.upscale.request import Goal

        goal = Goal.of(scale, size)
        chosen = {"--device": device, "--runtime": runtime, "--precision": precision}
        asked = Asked(
            models=tuple(None if name == AUTO else name for name in model or ()),
            strengths=_strengths(denoise or []),
            size=("-s", _number(goal.factor)) if goal.factor is not None else ("--size", goal.name),
            engine=tuple(word for flag, value in chosen.items() if value != "auto" for word in (flag, value)),
        )
        found = _source(source)
        page = _page(found.path, output, overwrite)

        from dagan_cli.engine.options import EngineOptions
        from dagan_cli.media.video.recipe import Encoding
        from dagan_cli.preview.preview import preview as preview_
        from dagan_cli.upscale.events import Stopped
        from dagan_cli.upscale.request import Request
        from weights.choice import ModelChoice

        request = Request(
            inputs=(source,),
            output=None,
            goal=goal,
            model=ModelChoice(),
            engine=EngineOptions(device=device, runtime=runtime, precision=precision),
            encoding=Encoding(),
        )
        with StopSignals().caught() as stop, Reporter(progress, quiet=False, verbose=False) as reporter:
            try:
                result = preview_(found, request, asked, reporter.show, stop)
            except Stopped:
                reporter.stopped()
                raise typer.Exit(stop.exit_code) from None
            except BadInput as error:
                raise _unusable(error) from error

        from dagan_cli.pages.writing import write_viewer

        write_viewer(page, result.viewer())
        if as_json:
            echo(in_json(result.to_json(page)))
            return
        echo(_text(result, page))
        if inline:
            from dagan_cli.commands.shown.strip import show_strip

            with StopSignals().caught() as stop:  # while the terminal is asked, its settings are others
                reason = show_strip(result)
            if reason is not None:
                say(f"--inline: {reason}; the page shows the images: {page}")
            raise typer.Exit(stop.exit_code if stop() else 0)


def _text(result: Preview, page: Path) -> str:
    """Return the models with the time of the whole job, their commands, and the notes."""
    from dagan_cli.preview.result import in_words

    rows = []
    for option in result.options:
        rows.append([option.model, in_words(option.seconds, option.at_least), option.command])
    width = room()
    text = table(["model", "whole job", "command"], rows, left=3, width=1 << 30)
    if width is not None and max(map(columns, text.splitlines())) > width:  # a command is to be copied in one piece
        lines = [line for model, time, command in rows for line in (f"{model}: {time}", f"  {printable(command)}")]
        text = "\n".join(lines)
    notes = [wrapped(note, width) for note in result.notes]
    notes += [wrapped(f"warning: {w}", width) for w in dict.fromkeys(w for o in result.options for w in o.warnings)]
    return "\n".join([text, "", *notes, printable(str(page))])


def _strengths(texts: list[str]) -> tuple[float, ...]:
    """Parse --denoise: numbers, each given alone or in a list with commas. Raises BadOption."""
    found = []
    for text in ",".join(texts).split(",") if texts else []:
        try:
            found.append(float(text))
        except ValueError:
            raise BadOption(f"invalid --denoise {text!r}", hint="use numbers from 0 to 1, such as 0.3,0.7") from None
    return tuple(dict.fromkeys(found))


def _number(factor: float) -> str:
    """Return a factor so that it is read as the same number."""
    return f"{factor:g}" if float(f"{factor:g}") == factor else repr(factor)


def _source(name: str) -> Source:
    """Return the input. Raises BadOption, and NoInput for whatever cannot be previewed."""
    import os

    from dagan_cli.media.find import Listed, find_inputs
    from dagan_cli.media.remote.address import is_url, redacted

    if name in ("", "-"):
        raise BadOption("preview reads its INPUT more than once: - is not possible", hint="save it as a file first")
    if is_url(name) and not name.lower().startswith("file:"):
        raise NoInput(f"{redacted(name)} is a URL, and a preview is of a file", hint="download it first")
    if os.path.isdir(name):
        raise BadOption(f"{name} is a folder, and a preview is of one file", hint="name one of its files")
    found = find_inputs([name if is_url(name) else Listed(name)])
    for _, error in found.failed:
        raise _unusable(error) from error
    if not found.sources:
        raise NoInput(f"{name} is no input", hint="name an image or a video")
    return found.sources[0]


def _unusable(error: BadInput) -> NoInput:
    """Return the error for the only input, which cannot be left out."""
    import re

    hint = re.sub(r"(, or )?leave it out( with --exclude)?$", "", error.hint).replace(", rename it", " or rename it")
    return NoInput(str(error), hint=hint or "name an image or a video")


def _page(path: Path, output: str | None, overwrite: bool) -> Path:
    """Return the path of the page.

    Raises BadOption if it is the input or no file of this machine, CannotWrite if it cannot be written.
    """
    from dagan_cli.files import place_of, require_older, require_replaceable, require_writable
    from dagan_cli.pages.rendering import MARK

    page = Path() if output is None else page_path(output, "preview.html")
    if output is None or page.is_dir():
        page /= f"{path.stem}_preview.html"
    if place_of(page) == place_of(path):
        raise BadOption(f"-o {page} is the input", hint="name another file, such as preview.html")
    if overwrite:
        require_replaceable(page)
    else:
        require_older(page, "page", MARK)
    require_writable(page)
    return page
