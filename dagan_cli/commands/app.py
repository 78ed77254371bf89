"""The command line: registers the commands, parses, and turns wrong usage into a two-line error."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
import typer.main

from dagan_cli.commands.bench import bench
from dagan_cli.commands.compare import compare
from dagan_cli.commands.console import echo, fail
from dagan_cli.commands.doctor import doctor
from dagan_cli.commands.evaluate import evaluate
from dagan_cli.commands.models import models_app
from dagan_cli.commands.options import SETTINGS, GroupedCommand, GroupedCommands, UsageError, as_bad_option
from dagan_cli.commands.preview import preview
from dagan_cli.commands.probe import probe
from dagan_cli.commands.settings.command import ConfiguredCommand
from dagan_cli.commands.settings.config import config_app
from dagan_cli.commands.settings.recipes import recipes_app
from dagan_cli.commands.settings.sources import PREFIX, use_model_folders
from dagan_cli.commands.training.app import train_app
from dagan_cli.commands.training.train import train
from dagan_cli.commands.upscale import upscale
from dagan_cli.commands.verify import verify
from dagan_cli.errors import BadOption
from dagan_cli.version import __version__

_OF_MODELS = (
    "eval",
    "preview",
    "bench",
    "models",
)  # commands that find models by name; `upscale` reads its settings by itself

_COMPLETION = ("--install-completion", "--show-completion")

COMMANDS = {
    "upscale": upscale,
    "preview": preview,
    "compare": compare,
    "eval": evaluate,
    "verify": verify,
    "probe": probe,
    "bench": bench,
    "doctor": doctor,
}
CONFIGURED: dict[str, Any] = {
    "cls": ConfiguredCommand,
    "context_settings": {"auto_envvar_prefix": PREFIX},
    "epilog": "Each option can have another default: crf = 18 below [upscale] in the file that `dagan config path` "
    f"prints, or {PREFIX}_CRF=18 in the environment.",
}
GROUPS = {
    "models": (models_app, str(models_app.info.help)),
    "train": (train_app, train.__doc__),
    "config": (config_app, str(config_app.info.help)),
    "recipes": (recipes_app, str(recipes_app.info.help)),
}


def make_app(only: str | None = None, *, listed: bool = False) -> typer.Typer:
    """The command line with all commands, or with one of them.

    With `listed` the commands have their help and no options, which is enough to list them. Typer takes a tenth of a
    second to build the options of all commands, so a program run builds no more than it needs.
    """
    made = typer.Typer(
        name="dagan",
        help="Upscale images and video with a dual-attention Runge-Kutta GAN, and train new weights for it.",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: rich would take longer to load than everything else
        context_settings=SETTINGS,
    )
    made.callback(invoke_without_command=True)(_root)
    for name, command in COMMANDS.items():
        if only in (None, name):
            how: dict[str, Any] = CONFIGURED if command is upscale and not listed else {"cls": GroupedCommand}
            made.command(name, help=command.__doc__, **how)(_nothing if listed else command)
    for name, (group, text) in GROUPS.items():
        if listed:
            made.command(name, help=text, cls=GroupedCommand)(_nothing)
        elif only in (None, name):
            made.add_typer(group, name=name, cls=GroupedCommands)
    return made


def _root(version: Annotated[bool, typer.Option("-V", "--version", help="Show the version.")] = False) -> None:
    if version:
        echo(f"dagan {__version__}")
        raise typer.Exit


def _nothing() -> None:
    """Stand in for a command that is only listed."""


app = make_app()


def run_command(arguments: list[str]) -> int:
    """Parse the arguments and run the command; return the exit code. Wrong usage is a two-line error."""
    if len(arguments) > 1 and arguments[0] in _COMPLETION:  # typer would ignore the rest
        what = f"{arguments[0]} takes nothing else, such as {arguments[1]}"
        return fail(BadOption(what, hint=f"dagan {arguments[0]}, in the shell that it is for"))
    if (text := _help(arguments)) is not None:
        echo(text)
        return 0
    if arguments and arguments[0] in _OF_MODELS and not {*arguments} & {*SETTINGS["help_option_names"]}:
        try:
            use_model_folders()
        except BadOption as error:
            return fail(error)
    try:
        os.getcwd()
    except OSError:  # PyTorch's libraries would end the process
        what = "the working directory is not there: it was removed or moved"
        return fail(BadOption(what, hint="change to another folder, and run the command again"))
    try:
        return _app_for(arguments)(arguments, prog_name="dagan", standalone_mode=False) or 0
    except UsageError as error:
        usage: Any = error
        named = usage.ctx.command_path if usage.ctx else _named(arguments)
        file = next(
            (word for word in arguments if word.startswith("-") and word != "-" and os.path.lexists(word)), None
        )
        hint = f"{named} --help" if file is None else f"write ./{file} if you mean the file of that name"
        return fail(as_bad_option(usage, hint))
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


def _app_for(arguments: list[str]) -> typer.Typer:
    """The smallest command line that understands these arguments."""
    if "_DAGAN_COMPLETE" in os.environ:
        return app
    named = arguments[0] if arguments else ""
    return make_app(named) if named in COMMANDS or named in GROUPS else make_app(listed=True)


def _help(arguments: list[str]) -> str | None:
    """The help of a command, where the arguments ask for nothing else.

    It needs no parsing: typer parses by pydantic, which takes longer to load than everything else together.
    """
    if not arguments or arguments[-1] not in SETTINGS["help_option_names"] or "_DAGAN_COMPLETE" in os.environ:
        return None
    command: Any = typer.main.get_command(_app_for(arguments))
    context = command.context_class(command, info_name="dagan", **command.context_settings)
    for name in arguments[:-1]:
        command = getattr(command, "commands", {}).get(name)
        if command is None:
            return None
        context = command.context_class(command, info_name=name, parent=context, **command.context_settings)
    return command.get_help(context)
