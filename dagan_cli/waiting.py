"""How PyTorch's CPU threads wait for each other: briefly, so that other work on the machine does not stall them.

At the end of each parallel loop, libgomp's threads spin for a while before they sleep. By default that takes so long
that a thread whose partner was put aside by the system burns the time the partner needs. libgomp reads its settings
once, when PyTorch loads it. Source: "GOMP_SPINCOUNT" in the libgomp manual.
"""

from __future__ import annotations

import os
import sys

SPINS = "10000"  # measured, quiet and beside other work: see README.md, "Speed"
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Set the number of spins for this process and those that it starts.

    Does nothing where the user has set one of libgomp's own settings, or where PyTorch is loaded and it is too late.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _SETTINGS):
        os.environ[_SETTINGS[0]] = SPINS


def described() -> str:
    """The settings in force, and whose they are."""
    given = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    if not given:
        return "OpenMP's own: PyTorch was imported before dagan_cli"
    text = ", ".join(f"{name}={value}" for name, value in given.items())
    return text if given != {_SETTINGS[0]: SPINS} else f"{text}, threads soon sleep when they wait"
