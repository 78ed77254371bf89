"""Options that several of the commands of `dagan train` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dagan_cli.errors import BadOption

DATA, RUN, SCHEDULE, GAN = "Data", "Run", "Schedule", "Adversarial phase"
PACK = "File for decoded images, if they exceed memory; made if missing."


def preset_names(incomplete: str) -> list[str]:
    from trainer.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


LpipsWeights = Annotated[Path | None, typer.Option("--lpips", metavar="FILE", help="LPIPS weights, to validate with.")]
Data = Annotated[
    list[Path], typer.Option("--data", metavar="FOLDER", help="Folder of high-resolution images; repeatable.")
]
RunsFolder = Annotated[
    Path, typer.Option("--run", metavar="FOLDER", help="Folder of all runs; finished ones are not repeated.")
]
Part = Annotated[
    str, typer.Option("--part", metavar="I/N", help="Share of the runs for this process, such as 1/2 and 2/2.")
]


def part_of(given: str) -> tuple[int, int]:
    which, _, of = given.partition("/")
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise BadOption(f"invalid --part {given!r}", hint="for example --part 1/2 and --part 2/2")
    return int(which), int(of)
