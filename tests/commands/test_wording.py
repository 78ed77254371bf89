"""The words that users read: help texts stand alone, errors name what is wrong, and shell completion offers choices."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dagan_cli.commands.app import app
from weights.catalog import CATALOG

ROOT = Path(__file__).parents[2]
ERRORS = {"BadInput", "BadModel", "BadOption", "CannotWrite", "Diverged", "Mismatch", "NoInput", "OutOfMemory"}
# Word order and words of another language: see the list of patterns that was worked off once.
FOREIGN = re.compile(
    r"\b(anew|so many|so far of|came of it|became of|becomes of|spoilt?|twin|begun|at hand|is none|is no time|likewise"
    r"|of which|by way of|goes on|went on)\b"
)
LEANING = re.compile(r"(Of|As|By|For|That|In place|From|To|With|On) ")  # what starts so leans on the line above


def commands(group: Any, path: tuple[str, ...] = ("dagan",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


SHOWN = [(path, command) for path, command in commands(typer.main.get_command(app)) if not command.hidden]
OPTIONS = [
    (path, parameter)
    for path, command in SHOWN
    for parameter in command.params
    if not getattr(parameter, "hidden", False) and parameter.name not in ("install_completion", "show_completion")
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "command"), SHOWN, ids=[" ".join(path) for path, _ in SHOWN])
def test_the_help_of_a_command_is_a_sentence_that_starts_with_a_verb(path, command):
    first = command.help.splitlines()[0]
    assert re.match(r"[A-Z][a-z]+,? ", first), first
    assert not first.startswith(("What", "How", "Whether", "Where", "Is ", "Does ")), first
    assert first.rstrip().endswith("."), first
    assert not FOREIGN.search(command.help)


@pytest.mark.slow
def test_the_help_of_an_option_stands_alone():
    def stands_alone(text: str) -> bool:
        good = re.match(r"[A-Z]", text) and text.rstrip(")]").endswith(".")
        return bool(good) and not LEANING.match(text) and not FOREIGN.search(text)

    assert len(OPTIONS) > 150
    texts = {" ".join((*path, option.name)): getattr(option, "help", None) or "" for path, option in OPTIONS}
    assert {name: text for name, text in texts.items() if not stands_alone(text)} == {}


@pytest.mark.parametrize(("path", "command"), SHOWN, ids=[" ".join(path) for path, _ in SHOWN])
def test_a_value_has_a_name_or_a_list_of_choices(path, command):
    """A bare `<str>` says nothing."""
    text = command.get_help(command.make_context(path[-1], ["--help"], resilient_parsing=True))
    assert not re.findall(r"<(?:str|path|file|text|list\[\w+\])>", text), text


def messages() -> Iterator[tuple[str, ast.expr]]:
    """The message of every error that is raised, and the place of it."""
    for folder in ("dagan_cli", "trainer", "weights"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                    if node.args:
                        yield f"{file.relative_to(ROOT)}:{node.lineno}", node.args[0]
                    for keyword in node.keywords:
                        if keyword.arg == "hint":
                            yield f"{file.relative_to(ROOT)}:{node.lineno} (hint)", keyword.value


MESSAGES = list(messages())


def words_of(node: ast.expr) -> str:
    """The fixed words of a message."""
    return " ".join(
        part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


@pytest.mark.slow
def test_errors_read_as_english():
    assert len(MESSAGES) > 500
    assert {place: words_of(node) for place, node in MESSAGES if FOREIGN.search(words_of(node))} == {}


def test_errors_of_the_command_line_name_the_option_or_the_file():
    def names_it(message: ast.expr) -> bool:
        words = words_of(message)
        shown = any(isinstance(part, ast.FormattedValue) for part in ast.walk(message))
        return (
            shown or not words or "--" in words or bool(re.search(r"\b(-[a-z0-9]|input|INPUT|images|model)\b", words))
        )

    ours = {place: node for place, node in MESSAGES if "(hint)" not in place and "commands/" in place}
    assert len(ours) > 15
    assert {place: words_of(node) for place, node in ours.items() if not names_it(node)} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dagan upscale -n dagan-x4", [model.name for model in CATALOG if model.name.startswith("dagan-x4")]),
        ("dagan upscale -n bi", ["bicubic"]),
        ("dagan upscale -n fid", ["fidelity"]),
        ("dagan upscale --recipe v", ["vhs"]),
        ("dagan recipes show sc", ["scan", "screen"]),
        ("dagan upscale -c ff", ["ffv1"]),
        ("dagan upscale --precision ", ["auto", "fp16", "bf16", "fp32"]),
        ("dagan upscale --progress ", ["auto", "bar", "json", "none"]),
        ("dagan upscale --audio ", ["copy", "none"]),
        ("dagan upscale --deinterlace o", ["off", "on"]),
        ("dagan upscale -f p", ["png", "ppm"]),
        ("dagan upscale --size 1", ["1080p", "1440p"]),
        ("dagan train --preset wide", ["wide-x2", "wide-x4"]),
    ],
)
def test_the_shell_is_offered_the_choices(line, offered):
    environment = os.environ | {
        "_DAGAN_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-m", "dagan_cli"], env=environment, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert sorted(done.stdout.split()) == sorted(offered), done.stderr
