"""`dagan config`: where the user's own defaults are, and which apply."""

from __future__ import annotations

from typing import Any

import typer

from dagan_cli.commands.console import echo, echo_path, in_json
from dagan_cli.commands.options import SETTINGS, AsJson, Debug, GroupedCommand, friendly_errors
from dagan_cli.commands.settings.command import applied, configured_command
from dagan_cli.commands.settings.sources import config_file, flag_of
from dagan_cli.commands.shown.tables import table

config_app = typer.Typer(
    help="Show your own defaults for `dagan upscale`.", rich_markup_mode=None, context_settings=SETTINGS
)


@config_app.command(cls=GroupedCommand)
def path() -> None:
    """Print the path of config.toml, whether it exists or not."""
    echo_path(config_file())


@config_app.command(cls=GroupedCommand)
def show(as_json: AsJson = False, debug: Debug = False) -> None:
    """Print each option of `dagan upscale` that differs from its built-in default, and where it is set."""
    with friendly_errors(debug):
        rows = _changed()
        if as_json:
            echo(in_json(rows))
        elif rows:
            shown = [[row["option"], _text(row["value"]), row["source"]] for row in rows]
            echo(table(["option", "value", "from"], shown, left=3))
        else:
            echo(f"all options have their built-in defaults; set others in {config_file()}")


def _changed() -> list[dict[str, Any]]:
    """Return the options whose default is not the built-in one. Raises BadOption."""
    command = configured_command()
    context = command.make_context("upscale", [])
    rows = []
    for option in command.params:
        setting = applied(context).get(option.name)
        if setting is not None and setting.value != option.default:
            value = str(setting.value) if hasattr(setting.value, "__fspath__") else setting.value
            row = {"option": flag_of(option), "value": value, "default": option.default}
            rows.append(row | {"source": setting.source})
    return rows


def _text(value: Any) -> str:
    return in_json(value) if isinstance(value, bool | list) else str(value)
