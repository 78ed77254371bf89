"""The documentation is true: what its pages show runs on small files, and what needs more than a CPU parses."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documentation import PAGES, ROOT, Block, blocks, commands, parse
from tests.support.tiny import clip, picture

BLOCKS = [block for page in PAGES for block in blocks(page) if block.is_run]
COMMANDS = sorted({words for page in PAGES for words in commands(page)})

SLOW_MOTION = "testsrc2=size=48x32:rate=1/8"  # so that a minute is a few frames
# Settings, a command of ours, and what a shell does with its output and its exit code.
_SIMPLE = re.compile(
    r"(?P<settings>(?:\w+=\S+ |\w+='[^']*' )*)dagan (?P<words>[^|<>&$]*?)"
    r"(?:\s(?P<to>2?)> (?P<file>\S+))?(?P<rest> \|\| .*)?"
)


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whatever the pages name, as small as it can be."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("photo.jpg", "photo.png", "old.jpg", "page.tif"):
        picture(folder / name)
    for name in ("scans/a.png", "scans/below/b.png", "photos/a.jpg", "photos/b.png", "textures/wood/oak.png"):
        picture(folder / name, mode="RGBA" if "textures" in name else "RGB", seed=len(name))
    for name in ("originals/a.png", "held-out/a.png", "photos/large.png"):
        picture(folder / name, (64, 64))
    for name, *codecs in (
        ("in.mp4", "-c:v", "libx264", "-c:a", "aac"),
        ("in.mkv", "-c:v", "libx264", "-c:a", "aac"),
        ("film.mkv", "-c:v", "libx264", "-g", "1", "-c:a", "aac"),
        ("tape.avi", "-c:v", "mpeg4", "-c:a", "mp2"),
        ("deep.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", "-c:a", "aac"),
    ):
        clip(folder / name, *codecs, seconds=80, source=SLOW_MOTION)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_the_commands_of_a_page_run(block: Block, small_files: Path, tmp_path: Path, cli, monkeypatch) -> None:
    shutil.copytree(small_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for line in block.text.splitlines():
        command = re.sub(r"(^|\s+)# .*$", "", line).strip()
        if not command:
            continue
        simple = _SIMPLE.fullmatch(command)
        if simple is None or " -o -" in command:
            run(command, tmp_path)
            continue
        with monkeypatch.context() as patch:
            for setting in shlex.split(simple["settings"]):
                patch.setenv(*setting.split("=", 1))
            ran = cli(*shlex.split(simple["words"]))
        if simple["file"]:
            (tmp_path / simple["file"]).write_text(ran.err if simple["to"] else ran.out)
        if ran.code:
            run(f"(exit {ran.code}){simple['rest'] or ''}", tmp_path, ran.err)


def run(command: str, folder: Path, reason: str = "") -> None:
    """Run a line in a shell that finds `dagan` and this Python; its failure is that of the test."""
    program = folder / ".bin" / "dagan"
    if not program.exists():
        program.parent.mkdir()
        settings = f"DAGAN_UPSCALE_RUNTIME=torch PYTHONPATH={shlex.quote(str(ROOT))}"  # compile nothing
        program.write_text(f'#!/bin/sh\n{settings} exec {sys.executable} -m dagan_cli "$@"\n')
        program.chmod(0o755)
        program.with_name("python3").symlink_to(sys.executable)
    script = f'set -euo pipefail; export PATH="$PWD/.bin:$PATH"; {command}'
    ran = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"{command}\n{reason}{ran.stderr}"


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_a_command_of_a_page_parses(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse(words, tmp_path)


def test_blocks_and_commands_are_found(tmp_path):
    page = ROOT / "docs" / "tasks.md"
    assert sum(block.is_run for block in blocks(page)) > 10
    assert ("dagan", "upscale", "-", "-s", "2", "-o", "-") in commands(page)
