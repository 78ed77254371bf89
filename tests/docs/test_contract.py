"""docs/contract.md names everything that scripts may rely on."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from dagan_cli import errors
from tests.support.documentation import ROOT
from tests.support.tiny import clip, picture

TEXT = (ROOT / "docs" / "contract.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", TEXT))


def keys(value: object) -> set[str]:
    """Return the keys of all objects in a document."""
    if isinstance(value, list):
        return {key for each in value for key in keys(each)}
    if isinstance(value, dict):
        return {*value, *(key for each in value.values() for key in keys(each))}
    return set()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_every_field_of_a_report_is_documented(options, tmp_path, cli):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ran = cli("upscale", tmp_path, "-s", 2, "-n", "lanczos", "-o", tmp_path / "out", "--json", *options)
    assert keys(json.loads(ran.out)) - NAMED == set()


@pytest.mark.slow
def test_every_field_of_scores_is_documented(tmp_path, cli):
    film = clip(tmp_path / "a.mkv", "-an", seconds=0.2)
    picture(tmp_path / "a.png")
    for files in ((film, film), (tmp_path / "a.png", tmp_path / "a.png", tmp_path / "none.png")):
        ran = cli("compare", *files, "--json")
        assert keys(json.loads(ran.out)) - NAMED == set()


def test_every_event_of_progress_is_documented():
    source = (ROOT / "dagan_cli" / "commands" / "shown" / "progress.py").read_text()
    events = set(re.findall(r'"event": "(\w+)"', source))
    assert len(events) > 8
    assert events - NAMED == set()


def test_every_exit_code_is_documented():
    kinds = (each for each in vars(errors).values() if isinstance(each, type))
    codes = {each.exit_code for each in kinds if issubclass(each, errors.DaganError)}
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", TEXT, re.MULTILINE) for code in row.split(",")}
    assert codes | {0, 129, 130, 143} == listed


def test_every_variable_of_ours_is_documented():
    files = ("git", "grep", "-hoE", '"DAGAN_[A-Z_]+"', "--", "dagan_cli", "weights", "trainer")
    found = subprocess.run(files, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    ours = {name.strip('"').removesuffix("_") for name in found} - {"DAGAN_MADE"}  # that is a tag of files
    assert {name for name in ours if not name.startswith("DAGAN_UPSCALE")} - NAMED == set()
    assert "DAGAN_UPSCALE_*" in NAMED
