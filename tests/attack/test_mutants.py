"""A damaged file is refused, or it is what it was: thousands of mutants of each kind that dagan reads back.

DAGAN_MUTANTS says how many of each; `tests/attack/mutants.py` makes them, in a process with little memory to spare.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attack.conftest import FULL, Figure
from tests.conftest import SEED

COUNT = int(os.environ.get("DAGAN_MUTANTS", "3000" if FULL else "60"))
LONGEST = 1.0  # seconds of processor time for one of them
LARGEST = 200 << 20  # bytes of memory beyond what the process has before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "state", "journal"])
def test_no_mutant_is_taken_for_what_it_is_not(
    kind: str, tmp_path: Path, figure: Figure, capsys: pytest.CaptureFixture[str]
):
    command = [sys.executable, "-m", "tests.attack.mutants", kind, str(COUNT), str(SEED), str(tmp_path)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60 + COUNT)
    last = tmp_path / "last"
    assert ran.returncode == 0, f"after {last.read_text() if last.exists() else 'nothing'}: {ran.stderr[-2000:]}"
    found = json.loads(ran.stdout)
    row = f"{found['tried']} tried, {found['refused']} refused, {found['equal']} accepted as equal"
    row += f", slowest {1000 * found['slowest']:.0f} ms, most memory {found['peak'] / 2**20:.1f} MiB"
    figure(f"mutants of a {kind}", row)
    if "DAGAN_MUTANTS" in os.environ and not FULL:
        with capsys.disabled():
            print(f"\nmutants of a {kind}: {row}\n  {found['by way']}")
    assert found["wrong"] == []
    assert found["tried"] == COUNT == found["refused"] + found["equal"]
    assert found["refused"] > 0.8 * COUNT
    assert found["slowest"] < LONGEST, found["slowest mutant"]
    assert found["peak"] < LARGEST, found["largest mutant"]
