"""Training configurations as text: a whole one as TOML, single values as `name=value`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dagan_cli.errors import BadOption
from dagan_cli.files import read_regular
from dagan_cli.model.config import GeneratorConfig
from trainer.config import GanConfig, TrainConfig

LONGEST = 2**20  # bytes of a file
_KINDS: dict[str, type] = {"": TrainConfig, "generator": GeneratorConfig, "gan": GanConfig}


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file. Raises BadOption if it is unreadable, is not TOML, or has unknown or invalid values."""
    try:
        return TrainConfig.from_dict(tomllib.loads(read_regular(path, LONGEST).decode()))
    except OSError as error:
        raise BadOption(f"cannot read {path}: {error.strerror}", hint="check the path given to --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadOption(
            f"{path} is not TOML: {error}", hint="see `dagan train --print-config` for an example"
        ) from error


def to_toml(config: TrainConfig) -> str:
    """Write all values for `read_config`. An unset value becomes a comment, as TOML has no null."""
    return "\n".join(_table(config.to_dict(), ""))


def with_values(config: TrainConfig, assignments: list[str], option: str = "--set") -> TrainConfig:
    """Replace values: `lr=5e-4`, `generator.blocks=4`, `gan.loss=hinge`, `gan.layers.conv3_4=1.0`.

    `none` unsets a value, unless the key has `none` among its choices. Raises BadOption for anything that is not an
    assignment of a known key and a valid value; its message names the option.
    """
    plain = config.to_dict()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise BadOption(f"{option} {assignment!r} is not name=value", hint="for example gan.lr=1e-4")
        *tables, key = name.strip().split(".")
        into = plain
        for table in tables:
            if into.get(table) is None:
                into[table] = {}
            into = into[table]
            if not isinstance(into, dict):
                raise BadOption(
                    f"{option} {assignment!r}: {table} is not a table", hint="see `dagan train --print-config`"
                )
        is_a_choice = "none" in get_args(get_type_hints(_KINDS.get(".".join(tables), dict)).get(key))
        into[key] = "none" if is_a_choice and text.strip().lower() == "none" else _value(text.strip())
    return TrainConfig.from_dict(plain)


def _value(text: str) -> Any:
    """Parse a TOML value; words need no quotes."""
    if text.lower() in ("none", "null"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _table(values: dict[str, Any], prefix: str) -> list[str]:
    """Write single values first: lines after a [table] belong to it."""
    single = {name: value for name, value in values.items() if not isinstance(value, dict)}
    lines = [f"# {name} =" if value is None else f"{name} = {_literal(value)}" for name, value in single.items()]
    for name, value in values.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{name}]", *_table(value, f"{prefix}{name}.")]
    return lines if prefix else [*lines, ""]


def _literal(value: Any) -> str:
    """Write a value as JSON: its strings, numbers (also 1e-05), booleans and lists are valid TOML."""
    return json.dumps(value)
