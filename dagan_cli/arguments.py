"""What the command line says in words, as values; nonsense is refused in the user's words. Raises BadOption."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from dagan_cli.errors import BadOption


def listed_inputs(source: str | None, nul: bool) -> list[str]:
    """The paths of `--files-from`: a file, or - for stdin. Each stays a path, whatever its name."""
    if source is None:
        return []
    from dagan_cli.media.find import read_list

    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise BadOption(f"cannot read the list {source}: {error.strerror}", hint="check --files-from") from error
    if not nul and b"\0" in data:
        raise BadOption(f"the list {source} holds NUL bytes", hint="add -0 if they separate its paths")
    return [os.path.join(".", path) if str(path) == "-" else str(path) for path in read_list(data, nul=nul)]


def result_folder(output: str | None, names: list[str]) -> Path | None:
    """Where results too large for memory wait: on the disk they will be written to."""
    place = output or names[0]
    folder = place if os.path.isdir(place) else os.path.dirname(place) or "."
    return Path(folder) if os.path.isdir(folder) else None


def tile_side(text: str) -> int | Literal["auto", "off"]:
    """auto, off, or the side in input pixels; 0 is off too."""
    if text == "auto" or text == "off":
        return text
    return whole_number("--tile", text) or "off"


def whole_number(flag: str, text: str) -> int:
    """A number from 0 up."""
    if not text.isdecimal():
        raise BadOption(f"{flag} {text!r} is not a whole number", hint=f"use {flag} auto, or a number")
    return int(text)


def one_of(flag: str, value: str, choices: tuple[Any, ...]) -> Any:
    """The value, if it is one of the choices."""
    if value not in choices:
        raise BadOption(f"there is no {flag} {value!r}", hint=f"use one of {', '.join(choices)}")
    return value


def window_of(value: str | None) -> Any:
    """What `--window` names; None where it is left to the model."""
    return None if value is None else one_of("--window", value, ("global", "local"))


def key_value(option: str) -> tuple[str, str]:
    """An option of an encoder, `key=value`."""
    key, separator, value = option.partition("=")
    if not separator or not key:
        raise BadOption(f"-e {option!r} is not key=value", hint="for example -e tune=film")
    return key, value


def moment(flag: str, text: str | None) -> float | None:
    """Seconds, from such as 12.5, 2:30 or 1:02:03.5."""
    if text is None:
        return None
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or any(number >= 60 for number in numbers[1:]) or text.startswith("-"):
        raise BadOption(f"{flag} {text!r} is no time", hint=f"use seconds, such as {flag} 12.5, or {flag} 1:02:03")
    return sum(number * 60**power for power, number in enumerate(reversed(numbers)))


def time_budget(text: str) -> float:
    """Seconds, from such as 90s, 20m or 3h."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 1)
    try:
        seconds = float(text.rstrip("smh")) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise BadOption(f"a budget of {text!r}", hint="use a time such as 90s, 20m or 3h")
    return seconds
