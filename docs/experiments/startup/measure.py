"""Show where the seconds of a command go, in one or two checkouts, which take turns.

    python docs/experiments/startup/measure.py --other OLDER -- upscale in.png -s 4 --device cpu -o out.png -y

Each run is a fresh process, in which the loading of every module and a few functions are timed. A moment counts for
what started last: importing torch while the model is read counts as torch. Seconds are those of the processors, which
other programs on the machine hardly change; the last rows are seconds of the clock, of the command without the timing.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

PACKAGES = ("torch", "numpy", "typer", "rich", "av", "PIL", "safetensors", "sympy", "huggingface_hub")
STEPS = {  # of our own: what they do is shown under this name
    ("dagan_cli.upscaler", "load_network"): "the model's file",
    ("dagan_cli.engine.engine", "Engine.__init__"): "the engine",
    ("dagan_cli.engine.engine", "Engine.network"): "the engine",
    ("dagan_cli.engine.engine", "Engine._measured"): "measuring memory",
    ("dagan_cli.engine.engine", "Engine._apply"): "the network",
    ("dagan_cli.analysis.measure", "analyse_image"): "analysing the source",
    ("dagan_cli.upscale.batch", "find_inputs"): "finding the inputs",
    ("dagan_cli.media.images.write", "write_picture"): "encoding",
    ("dagan_cli.commands.app", "_app_for"): "the command line",
    ("dagan_cli.commands.shown.streams", "finish"): "exit",
}
ROWS = ("Python", *(f"import {name}" for name in PACKAGES), "import the rest", "import dagan")
ROWS += (*dict.fromkeys(STEPS.values()), "everything else")


class Clock:
    """Processor time of the process by label of the main thread; the innermost label counts."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._last = 0.0
        self._labels = ["Python"]

    def enter(self, label: str) -> None:
        self._count()
        self._labels.append(label)

    def leave(self) -> None:
        self._count()
        self._labels.pop()

    def _count(self) -> None:
        now = time.process_time()
        self.spent[self._labels[-1]] = self.spent.get(self._labels[-1], 0.0) + now - self._last
        self._last = now

    def timed(self, label: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            self.enter(label)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        return call


def watch(clock: Clock) -> None:
    """Time the loading of every module, and the steps once their module is loaded."""
    sound = PathFinder.find_spec

    def found(name: str, *args: Any) -> Any:
        spec = sound(name, *args)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            root = name.partition(".")[0]
            label = root if root in PACKAGES else "the rest"
            label = "dagan" if root in ("dagan_cli", "weights") else label
            loader: Any = spec.loader
            run = clock.timed(f"import {label}", loader.exec_module)
            loader.exec_module = lambda module: (run(module), _time_steps(clock, name, module))
        return spec

    PathFinder.find_spec = found  # type: ignore[method-assign]


def _time_steps(clock: Clock, name: str, module: Any) -> None:
    for (where, path), label in STEPS.items():
        if where == name:
            *owners, last = path.split(".")
            owner = getattr(module, owners[0], None) if owners else module
            if hasattr(owner, last):
                setattr(owner, last, clock.timed(label, getattr(owner, last)))


def run_here(into: Path, arguments: list[str]) -> None:
    """Run a command in this process, and write the seconds by label as JSON when it ends."""
    clock = Clock()
    clock.enter("everything else")

    def write() -> None:
        clock.enter("exit")
        into.write_text(json.dumps({"spent": clock.spent, "total": time.process_time()}))

    atexit.register(write)  # the program may end the process by itself
    watch(clock)
    sys.argv = ["dagan", *arguments]
    clock.timed("import dagan", find_spec)("dagan_cli.__main__")
    import dagan_cli.__main__ as door

    getattr(door, "program", door.main)()


def once(checkout: Path, arguments: list[str]) -> tuple[dict[str, float], float, float]:
    """Run the command in a checkout; return the seconds by label, of the untimed command, and of its processors."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled once
    before = _spent_by_children()
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "spent.json"
        command = [sys.executable, __file__, "--here", str(into), *arguments]
        subprocess.run(command, cwd=checkout, env=environment, capture_output=True, check=True)
        seen = json.loads(into.read_text())
    spent: dict[str, float] = seen["spent"]
    spent["exit"] = spent.get("exit", 0.0) + _spent_by_children() - before - seen["total"]
    before, started = _spent_by_children(), time.monotonic()
    command = [sys.executable, "-m", "dagan_cli", *arguments]
    subprocess.run(command, cwd=checkout, env=environment, capture_output=True, check=True)
    return spent, time.monotonic() - started, _spent_by_children() - before


def _spent_by_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    if sys.argv[1:2] == ["--here"]:
        run_here(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--other", type=Path, help="an older checkout, shown in the first column")
    parser.add_argument("arguments", nargs="+", help="of dagan, after --")
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[3]
    checkouts = [here] if given.other is None else [given.other.resolve(), here]
    seen: dict[Path, list[tuple[dict[str, float], float, float]]] = {checkout: [] for checkout in checkouts}
    for _ in range(given.runs):
        for checkout in checkouts:
            seen[checkout].append(once(checkout, given.arguments))
    for label in ROWS:
        _print(label, [median(spent.get(label, 0.0) for spent, _, _ in seen[checkout]) for checkout in checkouts])
    _print("processors, untimed", [median(cpu for _, _, cpu in seen[checkout]) for checkout in checkouts])
    _print("clock, untimed, median", [median(wall for _, wall, _ in seen[checkout]) for checkout in checkouts])
    _print("clock, untimed, best", [min(wall for _, wall, _ in seen[checkout]) for checkout in checkouts])


def _print(label: str, values: list[float]) -> None:
    if max(values) >= 0.005:
        print(f"| {label} | {' | '.join(f'{value:.2f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    main()
