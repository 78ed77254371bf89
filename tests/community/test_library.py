"""spandrel is imported also where torchvision does not fit PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagan_cli.community.library import import_spandrel
from dagan_cli.errors import BadModel

ROOT = Path(__file__).parent.parent.parent
TORCHVISION = """
import torch
for name in ("nms", "qnms"):
    @torch.library.register_fake(f"torchvision::{name}")
    def fake(*_): ...
"""


def imported(folder: Path) -> subprocess.CompletedProcess[str]:
    """Import spandrel in a process of its own, with the packages of a folder first."""
    code = "from dagan_cli.community.library import import_spandrel; print(import_spandrel().answer)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.slow
def test_the_operators_that_torchvision_misses_are_declared(tmp_path):
    (tmp_path / "torchvision.py").write_text(TORCHVISION)
    (tmp_path / "spandrel.py").write_text("import torchvision\nanswer = 42\n")
    assert imported(tmp_path).stdout == "42\n"


@pytest.mark.slow
def test_another_failure_is_said_with_what_to_install(tmp_path):
    (tmp_path / "spandrel.py").write_text("raise ImportError('no module einops')\n")
    message = imported(tmp_path).stderr
    assert "spandrel cannot be imported (no module einops)" in message
    assert 'pip install "dagan[community]"' in message


def test_without_spandrel_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("dagan_cli.community.library.is_installed", lambda: False)
    with pytest.raises(BadModel) as error:
        import_spandrel()
    assert error.value.hint == 'pip install "dagan[community]"'
