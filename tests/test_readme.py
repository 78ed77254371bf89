"""The README is true: its commands parse, and it names every verb, exit code and model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dagan_cli.__main__ import with_verb
from dagan_cli.commands.app import app
from weights.catalog import CATALOG

README = (Path(__file__).parent.parent / "README.md").read_text()
GROUP: Any = typer.main.get_command(app)


def _commands() -> list[str]:
    """What stands in backticks or code blocks and starts with `dagan`, the last stage of a pipe alone."""
    quoted = re.findall(r"`([^`\n]+)`", README) + re.findall(r"^(dagan .+?)(?:\s{2,}#.*)?$", README, re.MULTILINE)
    stages = [text.replace("\\|", "|").split("|")[-1].split("<")[0].strip() for text in quoted]
    return sorted({stage for stage in stages if re.match(r"dagan \S", stage)})


@pytest.mark.parametrize("line", _commands())
def test_a_command_of_the_readme_parses(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    for word in words:  # with_verb asks whether a word is a file
        if word.endswith((".jpg", ".png", ".mp4")) and not word.startswith("-") and "://" not in word:
            Path(word).touch()
    words = with_verb(words)
    command = GROUP
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, line
        command, words = command.commands[words[0]], words[1:]
    if words and words[0] != "--help":  # else it only names the verb
        command.make_context("dagan", list(words))


def test_the_readme_shows_every_verb_and_both_make_targets():
    verbs = set(GROUP.commands)
    shown = {words[1] for line in _commands() if len(words := shlex.split(line)) > 1}
    assert verbs <= shown | {"upscale"}
    assert "make demo" in README
    assert "make test" in README


def test_the_readme_names_every_published_model():
    assert all(f"`{model.name}`" in README for model in CATALOG)
