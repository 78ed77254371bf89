"""`dagan verify`: check that an output keeps what its input holds, in rows, for images and video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadInput, BadOption, Mismatch
from dagan_cli.inspection.checks import Check
from dagan_cli.inspection.picture import verify_picture
from dagan_cli.inspection.video import verify_video
from dagan_cli.media.named import kind_of
from dagan_cli.upscale.request import Part
from dagan_cli.version import __version__


@dataclass(frozen=True, slots=True)
class Verification:
    """All rows of a comparison, and the factor between the sizes."""

    input: Path
    output: Path
    checks: tuple[Check, ...]
    factor: float

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(row for row in self.checks if row.failed)

    def to_json(self) -> dict[str, Any]:
        names = [str(path).encode("utf-8", "backslashreplace").decode() for path in (self.input, self.output)]
        return {
            "dagan": __version__,
            "input": names[0],
            "output": names[1],
            "ok": not self.failed,
            "scale": round(self.factor, 6),
            "checks": [row.to_json() for row in self.checks],
        }

    def complaint(self) -> Mismatch | None:
        """Return the error to raise if anything differs or is lost."""
        if not self.failed:
            return None
        names = list(dict.fromkeys(row.what.split(",")[0] for row in self.failed))
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return Mismatch(
            f"{self.output} does not keep all of {self.input}: {', '.join(names[:4])}{more}",
            hint="run dagan upscale -y again; if that does not help, please report it",
        )


def verify(
    source: Path,
    output: Path,
    part: Part | None = None,
    *,
    sound: bool = True,
    tell: Callable[[int, int | None], None] = lambda done, total: None,
) -> Verification:
    """Compare an output with its source.

    `part` is the part of a video that was upscaled. Without `sound` the output need not hold audio. `tell` receives the
    number of frames done, and their total if known. Raises NoInput for anything but files of images or videos,
    BadInput for a damaged one, BadOption for a part of an image.
    """
    part = part or Part()
    kinds = [kind_of(path) for path in (source, output)]
    if output.samefile(source):
        raise BadOption("input and output are the same file", hint="dagan verify INPUT OUTPUT")
    if kinds[0] != kinds[1]:
        words = ["an image" if kind == "picture" else "a video" for kind in kinds]
        raise BadInput(f"{source} is {words[0]}, {output} is {words[1]}", hint="name a file and its own result")
    if kinds[0] == "video":
        rows, factor = verify_video(source, output, part, sound=sound, tell=tell)
    elif part.is_whole:
        rows, factor = verify_picture(source, output, tell)
    else:
        raise BadOption(
            f"{source} is an image; --start, --end and --frames need a video", hint="leave these options out"
        )
    return Verification(source, output, tuple(rows), factor)
