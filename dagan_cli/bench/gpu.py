"""`make gpu`: measure a GPU in at most eight minutes, without internet, into gpu.json and a page of text.

usage: python -m dagan_cli.bench.gpu [FOLDER] [--device auto|cuda|cpu] [--small] [--only SECTION ...]

Each section runs in a process of its own with a time limit, so that one that fails, hangs or breaks the device leaves
the others alone. Both files are written after every section: a run that is killed keeps what it has measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from dagan_cli.errors import DaganError
from dagan_cli.files import whole_or_absent
from dagan_cli.version import __version__

LIMIT = 470  # seconds for all sections: eight minutes, less what starting and writing take
FOLDER = Path("docs/gpu")
SECTIONS = {  # with the seconds that each may take; `sections.py` has all but the first
    "machine": 40,
    "correctness": 60,
    "ceiling": 40,
    "frames": 120,
    "folder": 50,
    "overlap": 80,
    "tests": 80,
}
_NEEDED = ("av", "numpy", "PIL", "pytest", "safetensors", "torch", "typer")
_MARK = "measured: "  # begins the lines of a section's values; libraries may print others

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code: 0, or 1 if a section failed."""
    parser = argparse.ArgumentParser(prog="python -m dagan_cli.bench.gpu", description="Measure a GPU.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="for gpu.json and gpu.txt")
    parser.add_argument("--device", default="auto", help="auto (a CUDA device, or nothing is measured), cuda, cpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--only", choices=list(SECTIONS), nargs="+", default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--child", choices=list(SECTIONS), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        return _measure(asked.child, asked.device, is_small=asked.small)
    limits = {name: limit for name, limit in SECTIONS.items() if name in asked.only}
    return run(asked.folder, limits, asked.device, is_small=asked.small)


def run(
    folder: Path,
    limits: dict[str, int],
    device: str = "auto",
    *,
    is_small: bool = False,
    total: float = LIMIT,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> int:
    """Measure the sections of `limits`, each for so many seconds at most, `total` in all; return the exit code."""
    began = perf_counter()
    found: Result = {"dagan": __version__, "date": date.today().isoformat(), "seconds": 0.0, "sections": {}}
    why = _why_not(device)
    keeps = why is not None and (folder / "gpu.json").exists()
    for name, limit in limits.items():
        left = min(limit, total - (perf_counter() - began))
        if why is not None and name != "machine":
            section: Result = {"status": "skipped", "reason": why, "seconds": 0.0, "values": {}}
        elif left < 1:
            section = {"status": "skipped", "reason": "no time is left", "seconds": 0.0, "values": {}}
        else:
            section = _section(name, "cpu" if device == "auto" and why else device, left, is_small=is_small)
        found["sections"][name] = section
        found["seconds"] = round(perf_counter() - began, 1)
        if not keeps:
            _write(folder, found)
        say("\n".join(_lines(name, section)))
    where = "is left as it is: nothing new was measured" if keeps else "and gpu.txt are written"
    say(f"{found['seconds']:.0f} s; {folder / 'gpu.json'} {where}")
    return int(any(section["status"] == "failed" for section in found["sections"].values()))


def page(found: Result) -> str:
    """Return the result as a page of text."""
    facts = found["sections"].get("machine", {}).get("values", {})
    place = facts.get("gpu", "a CPU")
    head = f"dagan {found['dagan']} on {place}, torch {facts.get('torch', '?')}, {found['date']}, {found['seconds']} s"
    lines = [line for name, section in found["sections"].items() for line in ("", *_lines(name, section))]
    return "\n".join([head, *lines, ""])


def _why_not(device: str) -> str | None:
    """Return why nothing can be measured, or None."""
    if device != "auto":
        return None
    if find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return None if torch.cuda.is_available() else "there is no CUDA device"


def machine(device: str) -> Iterator[tuple[str, Any]]:
    """Report what the rest is measured on, and what is missing."""
    yield "python", platform.python_version()
    yield "cores", os.cpu_count()
    yield "missing", [name for name in _NEEDED if find_spec(name) is None]
    import torch

    yield "torch", torch.__version__
    yield "cuda", torch.cuda.is_available()
    if torch.cuda.is_available() and device != "cpu":
        facts = torch.cuda.get_device_properties(torch.device("cuda" if device == "auto" else device))
        yield "gpu", facts.name
        yield "memory_bytes", facts.total_memory
        yield "capability", f"{facts.major}.{facts.minor}"
        yield "cuda_version", torch.version.cuda


def _section(name: str, device: str, limit: float, *, is_small: bool) -> Result:
    """Measure one section in a process of its own, which is killed at its limit with all that it has started."""
    started = perf_counter()
    command = [sys.executable, "-m", "dagan_cli.bench.gpu", "--child", name, "--device", device]
    command += ["--small"] if is_small else []
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    status, reason = "done", ""
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        status, reason = "stopped", f"it took longer than {limit:.0f} s"
        _kill(child)
        out, err = _rest(child)
    except BaseException:
        _kill(child)
        raise
    values = dict(_parsed(out))
    if status == "done" and child.returncode:
        told = [line for line in err.splitlines() if line.strip()]
        status, reason = "failed", str(values.pop("failed", told[-1] if told else f"exit code {child.returncode}"))
    elif "skipped" in values:
        status, reason = "skipped", values.pop("skipped")
    return {"status": status, "reason": reason, "seconds": round(perf_counter() - started, 1), "values": values}


def _kill(child: subprocess.Popen) -> None:
    """End the section's process and those that it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()


def _rest(child: subprocess.Popen) -> tuple[str, str]:
    """Return what a killed process has printed; compilers that it has started in sessions of their own may not end."""
    try:
        return child.communicate(timeout=5)
    except subprocess.TimeoutExpired as error:
        out = error.stdout or ""
        return (out.decode(errors="replace") if isinstance(out, bytes) else out), ""


def _parsed(out: str) -> Iterator[tuple[str, Any]]:
    for line in out.splitlines():
        if line.startswith(_MARK):
            try:
                name, value = json.loads(line.removeprefix(_MARK))
            except ValueError:  # it was killed while it wrote
                continue
            yield name, value


def _measure(name: str, device: str, *, is_small: bool) -> int:
    """Measure one section in this process; print each value as soon as it is there."""

    def tell(what: str, value: Any) -> None:
        print(f"\n{_MARK}{json.dumps([what, value])}", flush=True)

    try:
        for what, value in machine(device) if name == "machine" else _values(name, device, is_small=is_small):
            tell(what, value)
    except ModuleNotFoundError as error:
        tell("skipped", f"{error.name} is not installed")
    except DaganError as error:
        tell("failed", str(error))
        return 1
    return 0


def _values(name: str, device: str, *, is_small: bool) -> Iterator[tuple[str, Any]]:
    import torch

    from dagan_cli.bench.sections import SECTIONS, Scope, small

    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    yield from SECTIONS[name](small(place) if is_small else Scope(device=place))


def _write(folder: Path, found: Result) -> None:
    for name, text in (("gpu.json", json.dumps(found, indent=2) + "\n"), ("gpu.txt", page(found))):
        with whole_or_absent(folder / name) as file:
            file.write(text.encode())


def _lines(name: str, section: Result) -> Iterator[str]:
    reason = f": {section['reason']}" if section["reason"] else ""
    yield f"{name}: {section['status']}{reason} ({section['seconds']:.0f} s)"
    for what, value in section["values"].items():
        yield f"  {what}: {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the section's process first
    sys.exit(main())
