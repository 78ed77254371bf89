"""The documentation as tests read it: its pages, and the `dagan` commands in them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main

from dagan_cli.__main__ import with_verb
from dagan_cli.commands.app import app
from dagan_cli.commands.options import UsageError

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "gallery" / "README.md")
RUN = "<!-- run -->"  # the line before a block whose commands a test runs
GROUP: Any = typer.main.get_command(app)

_BLOCK = re.compile(rf"^(?P<mark>{RUN}\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`([^`\n]+)`")
_FILES = (".jpg", ".png", ".mp4", ".mkv", ".avi")
_FOLDERS = ("films",)  # that pages name without a verb


def script(path: str) -> ModuleType:
    """Return a script of the documentation as a module; path: below `docs`."""
    file = ROOT / "docs" / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int  # of its first line of text
    kind: str  # of its fence: "sh"
    text: str
    is_run: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text()
    found = _BLOCK.finditer(text)
    lines = ((each, text.count("\n", 0, each.start("text")) + 1) for each in found)
    name = page.relative_to(ROOT).as_posix()
    return [Block(name, line, each["kind"], each["text"], bool(each["mark"])) for each, line in lines]


def commands(page: Path) -> list[tuple[str, ...]]:
    """Return the `dagan` commands of a page, each once, as words: those in blocks, and those in backticks."""
    shells = [block.text for block in blocks(page) if block.kind in ("", "sh")]
    prose = _BLOCK.sub("", page.read_text())
    quoted = [each.replace("\\|", "|") for each in _QUOTED.findall(prose)]
    found = [words for text in (*shells, *quoted) for words in commands_in(text)]
    return sorted({words for words in found if len(words) > 1})


def commands_in(text: str) -> list[tuple[str, ...]]:
    """Return the `dagan` commands of a shell script, without redirections, also those in pipes and `srun` scripts."""
    found: list[tuple[str, ...]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if "dagan" not in line:
            continue
        lexer = shlex.shlex(re.sub(r"(?<=\s)\d>", ">", line), posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        lexer.commenters = ""  # only a # after a blank starts a comment
        words: list[str] | None = None
        is_target = False
        try:
            tokens = list(lexer)
        except ValueError:  # prose with an apostrophe
            continue
        for token in tokens:
            if token.startswith("#"):
                break
            if set(token) <= set("|;&<>"):
                is_target = "<" in token or ">" in token
                if not is_target and words:
                    found.append(tuple(words))
                    words = None
            elif is_target:
                is_target = False
            elif words is not None:
                words.append(token)
            elif token == "dagan":
                words = [token]
        if words:
            found.append(tuple(words))
    return found


@cache
def verbs() -> frozenset[str]:
    return frozenset(GROUP.commands)


def parse(words: tuple[str, ...], folder: Path) -> None:
    """Parse a command as the program does, without running it; raises AssertionError, or click's error.

    The files that it names are made in `folder`, the current one: a first word that is a file needs no verb.
    """
    for word in words[1:]:
        if word.endswith(_FILES) and not word.startswith("-") and "://" not in word:
            (folder / word).parent.mkdir(parents=True, exist_ok=True)
            (folder / word).touch()
    if words[1] in _FOLDERS:
        (folder / words[1]).mkdir(exist_ok=True)
    left = with_verb(list(words[1:]))
    command = GROUP
    while hasattr(command, "commands") and left and not left[0].startswith("-"):
        assert left[0] in command.commands, shlex.join(words)
        command, left = command.commands[left[0]], left[1:]
    if left and left[0] not in ("--help", "--install-completion"):  # else it only names the verb
        try:
            command.make_context("dagan", list(left))
        except UsageError as error:
            if type(error).__name__ != "MissingParameter":  # prose names an option without the rest
                raise
