"""`dagan recipes`: list and print the sets of options that `--recipe` knows."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from dagan_cli.commands.console import echo, echo_path, in_json
from dagan_cli.commands.options import SETTINGS, AsJson, Debug, GroupedCommand, friendly_errors
from dagan_cli.commands.settings.command import require_valid
from dagan_cli.commands.settings.sources import Recipe, find_recipe, recipe_names, recipes, recipes_file
from dagan_cli.commands.shown.tables import table

recipes_app = typer.Typer(
    help="List and print the recipes of `dagan upscale`, and your own.",
    rich_markup_mode=None,
    context_settings=SETTINGS,
)


@recipes_app.command("list", cls=GroupedCommand)
def list_(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the recipes, with the options and the reason of each."""
    with friendly_errors(debug):
        known = recipes().values()
        require_valid(known)
        if as_json:
            echo(in_json([_facts(recipe) for recipe in known]))
            return
        rows = [
            [each.name, "package" if each.is_packaged else str(each.file), _as_flags(each), each.why] for each in known
        ]
        echo(table(["name", "from", "options", "why"], rows, left=4))


@recipes_app.command(cls=GroupedCommand)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a recipe.", autocompletion=recipe_names)],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print a recipe as TOML, as it can be written into recipes.toml."""
    with friendly_errors(debug):
        recipe = find_recipe(name)
        require_valid([recipe])
        if as_json:
            echo(in_json(_facts(recipe)))
            return
        title = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else in_json(name)
        values = {"why": recipe.why, **recipe.values}
        echo("\n".join([f"[{title}]", *(f"{key} = {in_json(value)}" for key, value in values.items())]))


@recipes_app.command(cls=GroupedCommand)
def path() -> None:
    """Print the path of recipes.toml, where your own recipes are, whether it exists or not."""
    echo_path(recipes_file())


def _facts(recipe: Recipe) -> dict[str, Any]:
    return {"name": recipe.name, "why": recipe.why, "options": recipe.values, "file": str(recipe.file)}


def _as_flags(recipe: Recipe) -> str:
    """Return the options of a recipe as they would be given on the command line."""
    words = []
    for key, value in recipe.values.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag} {each}" for each in (value if isinstance(value, list) else [value])]
    return " ".join(words)
