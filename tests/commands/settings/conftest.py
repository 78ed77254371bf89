"""A configuration folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest


class Folder:
    """The configuration folder of a user: write config.toml and recipes.toml."""

    def __init__(self, path: Path) -> None:
        self.config = path / "config.toml"
        self.recipes = path / "recipes.toml"

    def set(self, *lines: str) -> None:
        self.config.write_text("\n".join(("[upscale]", *lines)))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Folder:
    (tmp_path / "configuration").mkdir()
    made = Folder(tmp_path / "configuration")
    made.set()
    monkeypatch.setenv("DAGAN_CONFIG", str(made.config))
    return made
