"""Read settings: `config.toml`, recipes and `DAGAN_UPSCALE_*`, checked as the command line is, with their origin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from dagan_cli.commands.options import UsageError, as_bad_option
from dagan_cli.commands.settings.layers import Setting
from dagan_cli.errors import BadOption

CONFIG = "DAGAN_CONFIG"  # names another file than config.toml in the user's configuration folder
PREFIX = "DAGAN_UPSCALE"
NO_RECIPE = "none"

_LONGEST = 2**20  # bytes of a file
_TABLE = "upscale"
_MODELS = "models"  # another table, with one key
_FOLDERS, _FOLDERS_VARIABLE = "folders", "DAGAN_MODELS"  # that key, and the variable that outranks it
_FOR_ONE_RUN = ("help", "reset")  # options that only the command line has
_MAY_BE_NUMBERS = ("gpu", "tile", "batch", "preset", "start", "end")  # texts on the command line


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named set of options."""

    name: str
    why: str  # one sentence
    values: Mapping[str, Any]  # as in the file
    file: Path

    @property
    def is_packaged(self) -> bool:
        return self.file == _PACKAGED

    @property
    def source(self) -> str:
        return f"the recipe {self.name}" if self.is_packaged else f"the recipe {self.name} in {self.file}"


_PACKAGED = Path(__file__).with_name("recipes.toml")


def config_file() -> Path:
    """Return the path of config.toml, existing or not."""
    named = os.environ.get(CONFIG)
    return Path(named) if named else Path(typer.get_app_dir("dagan"), "config.toml")


def recipes_file() -> Path:
    """Return the path of the user's own recipes, existing or not: next to config.toml."""
    return config_file().parent / "recipes.toml"


def recipes() -> dict[str, Recipe]:
    """Return all recipes by name; the user's own replace those of the package. Raises BadOption."""
    return {recipe.name: recipe for file in (_PACKAGED, recipes_file()) for recipe in _recipes_in(file)}


def find_recipe(name: str, source: str = "") -> Recipe:
    """Return the recipe of this name, which `source` asks for. Raises BadOption, with the nearest name."""
    known = recipes()
    if name in known:
        return known[name]
    origin = f" (from {source})" if source else ""
    raise BadOption(
        f"unknown recipe {name!r}{origin}", hint=_nearest(name, known, "`dagan recipes list` shows all recipes")
    )


def recipe_names(incomplete: str) -> list[str]:
    """Return the names of recipes for shell completion; a file that cannot be read has none."""
    try:
        known = recipes()
    except BadOption:
        known = {recipe.name: recipe for recipe in _recipes_in(_PACKAGED)}
    return [name for name in (*known, NO_RECIPE) if name.startswith(incomplete)]


def read_config(command: Any, context: Any) -> dict[str, Setting]:
    """Read the settings of config.toml. Raises BadOption, which names the file and the key."""
    path = config_file()
    tables = _read(path)
    for name, table in tables.items():
        if name == _MODELS:
            continue  # `use_model_folders` has checked it
        if name != _TABLE:
            what = "table" if isinstance(table, dict) else "key"
            hint = f"write the options below [{_TABLE}]"
            if name not in _by_key(command):
                hint = _nearest(name, [_TABLE, _MODELS], hint)
            raise BadOption(f"unknown {what} {name} in {path}", hint=hint)
        if not isinstance(table, dict):
            raise BadOption(f"{_TABLE} in {path} is not a table", hint=f"write [{_TABLE}], and the options below it")
    return _checked(tables.get(_TABLE, {}), command, context, str(path))


def use_model_folders() -> None:
    """Make the folders of models of config.toml known to this process, unless DAGAN_MODELS is set. Raises BadOption."""
    if os.environ.get(_FOLDERS_VARIABLE):
        return
    path = config_file()
    table = _read(path).get(_MODELS, {})
    if not isinstance(table, dict):
        raise BadOption(f"{_MODELS} in {path} is not a table", hint=f"write [{_MODELS}], and {_FOLDERS} below it")
    if unknown := next((key for key in table if key != _FOLDERS), None):
        raise BadOption(f"unknown option {unknown} in [{_MODELS}] of {path}", hint=f"it has only {_FOLDERS}")
    folders = table.get(_FOLDERS, [])
    if not isinstance(folders, list) or not all(isinstance(folder, str) and "\0" not in folder for folder in folders):
        raise BadOption(f"invalid {_FOLDERS} in {path}", hint=f'write a list of texts: {_FOLDERS} = ["~/models"]')
    if folders:
        os.environ[_FOLDERS_VARIABLE] = os.pathsep.join(folders)


def read_recipe(recipe: Recipe, command: Any, context: Any) -> dict[str, Setting]:
    """Return the settings of a recipe. Raises BadOption, which names the file, the recipe and the key."""
    if "recipe" in recipe.values:
        raise BadOption(f"--recipe in {recipe.source}: recipes do not nest", hint="list its options instead")
    return _checked(recipe.values, command, context, recipe.source)


def read_environment(command: Any, context: Any) -> dict[str, Setting]:
    """Return the settings of `DAGAN_UPSCALE_*`. Raises BadOption, which names the variable."""
    options = {f"{PREFIX}_{name.upper()}": option for name, option in options_of(command).items()}
    for variable, value in os.environ.items():
        if value and variable.startswith(f"{PREFIX}_") and variable not in options:
            hint = _nearest(variable, options, f"unset {variable}")
            raise BadOption(f"the environment variable {variable} names no option", hint=hint)
    found = {}
    for variable, option in options.items():
        value = option.value_from_envvar(context)
        if value is not None:
            found[option.name] = Setting(_converted(option, value, context, variable), variable)
    return found


def options_of(command: Any) -> dict[str, Any]:
    """Return the options of a command that can have a default of the user's own, by name."""
    return {
        option.name: option
        for option in command.params
        if option.param_type_name == "option" and option.name not in _FOR_ONE_RUN
    }


def flag_of(option: Any) -> str:
    """Return the flag of an option that has its name: "--pix-fmt"."""
    return f"--{option.name.replace('_', '-')}"


def named_option(name: str, command: Any, where: str) -> str:
    """Return the name of the option that a key names. Raises BadOption, with the nearest key."""
    known = _by_key(command)
    if (key := name.replace("-", "_")) not in known:
        keys = [each.replace("_", "-") for each in known]
        hint = _nearest(key.replace("_", "-"), keys, "`dagan upscale --help` lists the options")
        raise BadOption(f"unknown option {name} {where}", hint=hint)
    return known[key].name


def _by_key(command: Any) -> dict[str, Any]:
    """Return the options by each of their long names, with underscores."""
    return {
        flag[2:].replace("-", "_"): option
        for option in options_of(command).values()
        for flag in option.opts
        if flag.startswith("--")
    }


def _read(path: Path) -> dict[str, Any]:
    """Read a TOML file; one that is missing is empty, unless the environment names it. Raises BadOption."""
    import tomllib

    from dagan_cli.files import read_regular

    is_named = bool(os.environ.get(CONFIG)) and path == config_file()
    if str(path) == os.devnull:
        return {}
    try:
        return tomllib.loads(read_regular(path, _LONGEST).decode())
    except FileNotFoundError as error:
        if not is_named:
            return {}
        raise BadOption(f"{CONFIG} names {path}, which does not exist", hint=f"unset {CONFIG}, or make it") from error
    except NotADirectoryError:
        return {}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadOption(f"cannot read {path}: {reason}", hint=f"repair it, or set {CONFIG} to another file") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a number of thousands of digits
        hint = 'write one setting per line, such as crf = 18 or model = "dagan-x4"'
        raise BadOption(f"{path} is not TOML: {error}", hint=hint) from error


def _recipes_in(path: Path) -> list[Recipe]:
    found = []
    for name, table in _read(path).items():
        if not isinstance(table, dict):
            raise BadOption(f"{name} in {path} is not a recipe", hint="write [NAME], and the options below it")
        if name == NO_RECIPE:
            raise BadOption(f"a recipe in {path} is named {name}, which means no recipe", hint="choose another name")
        values = dict(table)
        why = values.pop("why", "")
        if not isinstance(why, str):
            raise BadOption(f"why in the recipe {name} in {path} is not a text", hint='write why = "one sentence"')
        found.append(Recipe(name, why, values, path))
    return found


def _checked(values: Mapping[str, Any], command: Any, context: Any, source: str) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for key, value in values.items():
        name = named_option(key, command, f"in {source}")
        if name in found:
            raise BadOption(f"{key} in {source} is set twice", hint="an underscore and a dash are the same; leave one")
        option = options_of(command)[name]
        _require_kind(option, key, value, context, source)
        if name in _MAY_BE_NUMBERS and isinstance(value, int | float):
            value = str(value)
        found[name] = Setting(_converted(option, value, context, source), source)
    return found


def _require_kind(option: Any, key: str, value: Any, context: Any, source: str) -> None:
    """Raise BadOption for a value of a type that the option never has; the library would convert some of them."""
    texts = value if isinstance(value, list) else [value]
    hint = None
    if option.is_flag != isinstance(value, bool):
        hint = f"write {key} = true, or {key} = false" if option.is_flag else "write a number, or a text in quotes"
    elif option.multiple != isinstance(value, list):
        hint = 'write a list of texts, such as ["a", "b"]' if option.multiple else "write one value, without brackets"
    elif not option.is_flag and not all(isinstance(text, str) for text in texts) and _takes_text(option, context):
        hint = "write texts in quotes"
    elif any("\0" in text for text in texts if isinstance(text, str)):
        hint = "leave out the NUL character"
    if hint:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise BadOption(f"invalid {key} = {shown} in {source}", hint=hint)


def _takes_text(option: Any, context: Any) -> bool:
    """True if any text is a value of the option, so that numbers are none."""
    if option.name in _MAY_BE_NUMBERS:
        return False
    try:
        option.process_value(context, ["text"] if option.multiple else "text")
    except UsageError:
        return False
    return True


def _converted(option: Any, value: Any, context: Any, source: str) -> Any:
    """Return the value as the command receives it. Raises BadOption, which names the option and the source."""
    try:
        return option.process_value(context, value)
    except UsageError as error:
        refused = as_bad_option(error, "dagan upscale --help")
        raise BadOption(f"{refused} (from {source})", hint=refused.hint) from error


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint that suggests the nearest known name, in any case of letters, or another one if none is near."""
    from difflib import get_close_matches

    names = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f"did you mean {names[near[0]]}?" if near else otherwise
