"""Record `dagan` in a terminal as an SVG: the real output of real commands on the sample clip.

usage: python docs/terminal/record.py

It writes session.svg next to itself. The bar, which a run removes at its end, is shown as it was at about half.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
DRAW = HERE.parent / "samples" / "draw.py"
COLUMNS = 112
COMMANDS = (
    "dagan upscale clip.mp4 -s 2 --dry-run",
    "dagan upscale clip.mp4 -s 2",
    "dagan verify clip.mp4 clip_x2.mp4",
)
_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[\?\d+[hl]|\r|\n")
_FRAMES = re.compile(r"(\d+) of (\d+) frames,")


def main() -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, DRAW, folder], check=True)
        for number, command in enumerate(COMMANDS):
            if number:
                console.print()
            console.print(Text.assemble(("$ ", "green"), (command, "bold")))
            for line in seen(command, Path(folder)):
                console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title="dagan", code_format=without_fonts(CONSOLE_SVG_FORMAT), unique_id="dagan")
    (HERE / "session.svg").write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE))


def seen(command: str, folder: Path) -> list[str]:
    """Run a command in a terminal; return the lines that it leaves.

    Above the last line of an upscaling stands its bar, as it was at about half.
    """
    bar, distance, lines = "", 1.0, list[str]()
    for lines in screens(command, folder):
        for line in lines:
            if found := _FRAMES.search(line):
                away = abs(int(found[1]) / int(found[2]) - 0.5)
                if away < distance:
                    bar, distance = line, away
    left = [line for line in lines if line.strip()]
    return [*left[:-1], bar, *left[-1:]] if bar and "upscale" in command else left


def screens(command: str, folder: Path) -> Iterator[list[str]]:
    """Yield the lines on the screen after each piece of output; colours stay as they are written."""
    arguments = [sys.executable, "-m", "dagan_cli", *command.split()[1:]]
    settings = os.environ | {"COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    settings |= {"DAGAN_CONFIG": os.devnull, "PYTHONPATH": str(HERE.parents[1])}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(arguments, cwd=folder, env=settings, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    lines, row = [""], 0
    for text in output(ours):
        place = 0
        for control in _CONTROL.finditer(text):
            lines[row] += text[place : control.start()]
            place = control.end()
            if control[0] == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif control[2] == "A":
                row -= int(control[1] or 1)
            elif control[2] == "K":
                lines[row] = ""
            elif control[2] == "m":
                lines[row] += control[0]
        lines[row] += text[place:]
        yield list(lines)
    if process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}")


def output(terminal: int) -> Iterator[str]:
    """Yield what is written to a terminal, in pieces that cut no control sequence, until it is closed."""
    held = ""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux's way to report the end
            data = b""
        if not data:
            os.close(terminal)
            yield held
            return
        held += data.decode("utf-8", "replace")
        whole = len(held) if "\x1b" not in held[-8:] else held.rindex("\x1b")
        yield held[:whole]
        held = held[whole:]


def without_fonts(template: str) -> str:
    """Return rich's template without its fonts, which a browser would fetch from another server."""
    plain = re.sub(r"@font-face \{\{.*?\}\}", "", template, flags=re.DOTALL).replace(
        "Fira Code, monospace", "monospace"
    )
    return plain.replace("font-family: arial;", "font-family: sans-serif;")


if __name__ == "__main__":
    main()
