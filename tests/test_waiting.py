"""Threads wait briefly wherever dagan comes before PyTorch, unless the user has said how they shall wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dagan_cli.waiting import SPINS

SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def after(script: str, **given: str) -> list[str]:
    """What a new process has in its environment, as a process that it starts sees it."""
    tell = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; print(os.environ)'])"
    show = f"import os; print([os.environ.get(name) for name in {SETTINGS}])"
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    child = tell.replace("import os; print(os.environ)", show.replace("'", '"'))
    result = subprocess.run(
        [sys.executable, "-c", f"{script}\n{child}"], env=clean | given, capture_output=True, text=True, check=True
    )
    return result.stdout.split("\n")[:-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "given", "expected"),
    [
        ("import dagan_cli", {}, [SPINS, None]),
        ("import torch, dagan_cli", {}, [None, None]),  # too late
        ("import dagan_cli", {"GOMP_SPINCOUNT": "infinite"}, ["infinite", None]),
        ("import dagan_cli", {"OMP_WAIT_POLICY": "active"}, [None, "active"]),
    ],
)
def test_importing_dagan_before_torch_says_how_threads_wait(script, given, expected):
    assert after(script, **given) == [str(expected)]


def test_the_test_suite_itself_waits_briefly():
    assert os.environ.get("GOMP_SPINCOUNT") or os.environ.get("OMP_WAIT_POLICY")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"), [({}, f"GOMP_SPINCOUNT={SPINS}"), ({"OMP_WAIT_POLICY": "active"}, "active")]
)
def test_doctor_says_how_they_wait(given, told):
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    doctor = [sys.executable, "-m", "dagan_cli", "doctor"]
    result = subprocess.run(doctor, env=clean | given, capture_output=True, text=True, check=True)
    assert told in next(line for line in result.stdout.splitlines() if line.startswith("waiting"))
