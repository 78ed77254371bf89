"""The command whose options have defaults of the user's own, and what becomes known of their origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dagan_cli.commands.options import GroupedCommand, friendly_errors
from dagan_cli.commands.settings.layers import Layer, Setting, combined
from dagan_cli.commands.settings.sources import (
    NO_RECIPE,
    Recipe,
    find_recipe,
    flag_of,
    named_option,
    read_config,
    read_environment,
    read_recipe,
    use_model_folders,
)
from dagan_cli.errors import BadModel, BadOption

_EVERYTHING = "all"
_APPLIED = "dagan.settings"  # where a context keeps the settings that apply
_GIVEN = "the command line"


class ConfiguredCommand(GroupedCommand):
    """A command whose options take their defaults from recipes, the environment and config.toml.

    An option takes its value from the first of these that has it: the command line, a recipe named there, the
    environment, config.toml. A recipe that the environment or config.toml names comes right after the options there.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        for parameter in self.params:
            parameter.show_envvar = False  # type: ignore[attr-defined]  # the epilog names all of them at once

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line over these defaults; those that are invalid end the program with an error."""
        if not ctx.resilient_parsing:
            given, *_ = self.make_parser(ctx).parse_args(args=list(args))
            if "help" not in given:
                with friendly_errors(bool(given.get("debug"))):
                    ctx.meta[_APPLIED] = found = _settings(self, ctx, given)
                    if _EVERYTHING not in given.get("reset", ()):
                        use_model_folders()
                ctx.default_map = {name: setting.value for name, setting in found.items()}
                ctx.auto_envvar_prefix = None  # the environment is among these settings, in its place
        return super().parse_args(ctx, args)


def configured_command() -> Any:
    """Return `dagan upscale` as a command, for its options."""
    import typer.main

    from dagan_cli.commands.app import make_app  # which imports this module

    group: Any = typer.main.get_command(make_app("upscale"))
    return group.commands["upscale"]


def require_valid(recipes: Iterable[Recipe]) -> None:
    """Raise BadOption for a recipe with an unknown option or an invalid value."""
    command = configured_command()
    context = command.context_class(command, info_name="upscale")
    for recipe in recipes:
        read_recipe(recipe, command, context)


def applied(context: Any) -> dict[str, Setting]:
    """Return the settings that apply to options that the command line leaves out, by the name of the option."""
    return context.meta[_APPLIED]


def applied_flags(context: Any) -> frozenset[str]:
    """Return the flags of the options that were not given, and have a default of the user's own: "--crf"."""
    return frozenset(flag for option in _options(context) for flag in option.opts)


@contextmanager
def sources_named(context: Any) -> Iterator[None]:
    """Add to an error about an option that was not given where its value is from, and how to do without."""
    try:
        yield
    except (BadOption, BadModel) as error:
        what, hint = with_source(context, str(error), error.hint, of_model=isinstance(error, BadModel))
        if what == str(error):
            raise
        raise type(error)(what, hint=hint) from error


def with_source(context: Any, what: str, hint: str, *, of_model: bool = False) -> tuple[str, str]:
    """Return an error and its hint, with where an option that it names is from if it was not given."""
    for option in _options(context):
        flag = flag_of(option)
        is_named = any(re.search(rf"(?<![\w-]){each}(?![\w-])", what) for each in option.opts)
        if is_named or (of_model and option.name == "model"):
            source = applied(context)[option.name].source
            return f"{what} ({flag} is from {source})", f"{hint}; or do without it: --reset {flag[2:]}"
    return what, hint


def _options(context: Any) -> list[Any]:
    return [option for option in context.command.params if option.name in applied(context)]


def _settings(command: Any, ctx: Any, given: dict[str, Any]) -> dict[str, Setting]:
    """Return the settings that apply next to the options `given` on the command line."""
    typed = {name: Setting(value, _GIVEN) for name, value in given.items() if value is not None}
    reset = given.get("reset") or ()
    without = {named_option(name, command, "in --reset") for name in reset if name != _EVERYTHING}
    layers: list[Layer] = [typed]
    if _EVERYTHING not in reset:
        layers += [read_environment(command, ctx), read_config(command, ctx)]
    for place, layer in enumerate(layers):
        if "recipe" in layer and "recipe" not in without:
            named = layer["recipe"]
            if named.value != NO_RECIPE:
                recipe = find_recipe(named.value, "" if layer is typed else named.source)
                layers.insert(place + 1, read_recipe(recipe, command, ctx))
            break
    found = combined(layers, without)
    return {name: setting for name, setting in found.items() if name not in typed}
