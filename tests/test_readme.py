"""The README is true: its commands parse, and it names every verb and model."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support.documentation import README, commands, parse, verbs
from weights.catalog import CATALOG

TEXT = README.read_text()
COMMANDS = commands(README)


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_a_command_of_the_readme_parses(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse(words, tmp_path)


def test_the_readme_shows_every_verb_and_both_make_targets():
    assert verbs() <= {words[1] for words in COMMANDS}
    assert "make demo" in TEXT
    assert "make test" in TEXT


def test_the_readme_names_every_published_model():
    assert all(f"`{model.name}`" in TEXT for model in CATALOG)


def test_what_the_readme_and_the_guide_link_to_exists():
    for page in (README, README.with_name("CONTRIBUTING.md")):
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        assert len(links) >= 2
        assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
