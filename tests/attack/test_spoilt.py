"""Damaged images and clips end with a documented exit code and advice: no crash, no hang, no trace.

DAGAN_SPOILT says how many of each; `tests/attack/spoilt.py` makes them, in a process that is watched.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.attack.conftest import FULL, Figure
from tests.attack.spoilt import LONGEST
from tests.conftest import SEED

COUNTS = {"images": 3000 if FULL else 32, "clips": 300 if FULL else 4}


def watched(kind: str, first: int, count: int, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The results of mutants from `first` on, and how the process ended if it was before the last."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.attack.spoilt", kind, str(SEED), str(first), str(count), str(folder)]
    lines: queue.Queue[str] = queue.Queue()
    found: list[dict[str, Any]] = []
    last: dict[str, Any] = {"began": first, "what": "before the first"}
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=root, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        assert process.stdout is not None

        def read() -> None:
            for line in process.stdout:  # type: ignore[union-attr]
                lines.put(line)
            lines.put("")

        reader = threading.Thread(target=read)
        reader.start()
        wait = 60 + LONGEST  # the originals are made first
        try:
            while line := lines.get(timeout=wait):
                wait, last = LONGEST, json.loads(line)
                if "began" not in last:
                    found.append(last)
        except queue.Empty:
            os.killpg(process.pid, signal.SIGKILL)  # with what it started
        process.wait()
        reader.join()
    if process.returncode == 0:
        return found, ""
    how = "hangs" if process.returncode == -9 else f"ends the process with {process.returncode}"
    return found, f"{last['what']} {how}: {(folder / 'errors').read_text()[-500:]}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "clips"])
def test_damaged_media_end_with_advice_or_a_result(kind: str, tmp_path: Path, figure: Figure):
    count = int(os.environ.get("DAGAN_SPOILT", COUNTS[kind]))
    found: list[dict[str, Any]] = []
    wrong: list[str] = []
    while len(found) < count or (len(_ends(found)) < 2 and len(found) < 10 * count):  # a few may all end alike
        more, end = watched(kind, len(found), max(1, count - len(found)), tmp_path)
        found += more
        if end:
            wrong.append(end)
            assert found or more, end
            found.append({"what": end, "codes": ["crash"], "wrong": [], "seconds": 0.0})
    wrong += [f"{each['what']}: {fault}" for each in found for fault in each["wrong"]]
    slowest = max(found, key=lambda each: each["seconds"])
    ends = _ends(found)
    row = f"{len(found)} tried, {len(wrong)} wrong, slowest {slowest['seconds']:.1f} s ({slowest['what']})"
    figure(f"damaged {kind}", f"{row}; {dict(ends)}")
    assert wrong == []
    assert len(ends) > 1  # some are refused, some are not


def _ends(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter("probe {}, upscale {}".format(*each["codes"]) for each in found if len(each["codes"]) == 2)
