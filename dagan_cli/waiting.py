"""Make PyTorch's CPU threads wait for each other only briefly, so that other work on the machine does not stall them.

At the end of each parallel loop, libgomp's threads spin for a while before they sleep. By default they spin so long
that a thread whose partner was descheduled burns the time the partner needs. libgomp reads its settings once, when
PyTorch loads it. Source: "GOMP_SPINCOUNT" in the libgomp manual.
"""

from __future__ import annotations

import os
import sys

SPINS = "10000"  # measured on an idle and on a busy machine: see docs/speed.md
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Set the number of spins for this process and those that it starts.

    Does nothing if the user has set one of libgomp's own settings, or if PyTorch is already loaded.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _SETTINGS):
        os.environ[_SETTINGS[0]] = SPINS


def described() -> str:
    """Describe the settings in force and their origin."""
    given = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    if not given:
        return "OpenMP's defaults: PyTorch was imported before dagan_cli"
    text = ", ".join(f"{name}={value}" for name, value in given.items())
    return text if given != {_SETTINGS[0]: SPINS} else f"{text}, waiting threads soon sleep"
