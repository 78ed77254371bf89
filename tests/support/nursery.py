"""Start `dagan` in real processes that share the time of loading it: a server loads it, and is forked for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.nursery_preload"])
PATIENCE = 120  # seconds


def start(arguments: list[object], log: Path, settings: Mapping[str, object] | None = None) -> ForkServerProcess:
    """Start `dagan` with these arguments; what it says goes to `log`. `settings` are values for names of modules."""
    process = _CONTEXT.Process(
        target=_dagan,
        args=([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments], log, dict(settings or {})),
    )
    process.start()
    return process


def _dagan(arguments: list[str], log: Path, settings: dict[str, object]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["dagan", *arguments]

    import torch

    from dagan_cli.__main__ import main

    torch.set_num_threads(1)
    for name, value in settings.items():
        module, _, name = name.rpartition(".")
        setattr(import_module(module), name, value)
    main()


def stop_at_random(processes: list[ForkServerProcess], chance: Random, most: float) -> int:
    """Stop and continue random processes until all have ended; returns how often one was stopped."""
    stops, until = 0, time.monotonic() + PATIENCE
    while any(process.is_alive() for process in processes) and time.monotonic() < until:
        time.sleep(chance.uniform(0, most))
        process = chance.choice(processes)
        with suppress(ProcessLookupError):  # it has just ended
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGSTOP)
                time.sleep(chance.uniform(0, most))
                os.kill(process.pid, signal.SIGCONT)
                stops += 1
    return stops


def kill_at(process: ForkServerProcess, ready: Callable[[], bool], moment: float) -> bool:
    """Kill a process so many seconds after it is `ready`; whether it was still at work."""
    until = time.monotonic() + PATIENCE
    while process.is_alive() and not ready() and time.monotonic() < until:
        time.sleep(0.005)
    process.join(moment)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL
