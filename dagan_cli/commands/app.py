"""The command line: registers the commands, parses, and turns wrong usage into a two-line error."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
import typer.main

from dagan_cli.commands.bench import bench
from dagan_cli.commands.console import fail
from dagan_cli.commands.doctor import doctor
from dagan_cli.commands.evaluate import evaluate
from dagan_cli.commands.models import models_app
from dagan_cli.commands.options import SETTINGS, GroupedCommand, GroupedCommands
from dagan_cli.commands.probe import probe
from dagan_cli.commands.train import train_app
from dagan_cli.commands.upscale import upscale
from dagan_cli.commands.verify import verify
from dagan_cli.errors import BadOption
from dagan_cli.version import __version__

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # click's; newer typers carry a copy of click

_FLAG = r"Invalid value for (?:'-\w' / )?'(--[\w-]+)'[^:]*: "
_CHOICE = re.compile(_FLAG + r"(?:Value error, )?(.+) is not one of (.+)")
_TYPE = re.compile(_FLAG + r"Input should be (.+?)(?:, .*)?$")

app = typer.Typer(
    name="dagan",
    help="Upscale images and video with a dual-attention Runge-Kutta GAN, and train new weights for it.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would take longer to load than everything else
    context_settings=SETTINGS,
)
for name, command in {
    "upscale": upscale,
    "eval": evaluate,
    "verify": verify,
    "probe": probe,
    "bench": bench,
    "doctor": doctor,
}.items():
    app.command(name, cls=GroupedCommand)(command)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train", cls=GroupedCommands)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("-V", "--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(f"dagan {__version__}")
        raise typer.Exit


def run_command(arguments: list[str]) -> int:
    """Parse the arguments and run the command; return the exit code. Wrong usage is a two-line error."""
    try:
        return app(arguments, prog_name="dagan", standalone_mode=False) or 0
    except UsageError as error:
        usage: Any = error
        what = " ".join(usage.format_message().split()).rstrip(".")
        if choice := _CHOICE.match(what):
            return fail(
                BadOption(f"invalid {choice[1]} {choice[2]}", hint=f"use one of {choice[3].replace(chr(39), '')}")
            )
        if kind := _TYPE.match(what):
            what = f"invalid {kind[1]}: it should be {kind[2]}"
        return fail(BadOption(what, hint=f"{usage.ctx.command_path if usage.ctx else _named(arguments)} --help"))
    except typer.Abort:
        return 130


def _named(arguments: list[str]) -> str:
    """The command that the arguments name: "dagan train release"."""
    command, path = typer.main.get_command(app), ["dagan"]
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument)
        if command is None:
            break
        path.append(argument)
    return " ".join(path)
