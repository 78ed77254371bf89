"""Names of results by a template of the user's own, such as "{stem}_{width}p"."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Formatter

from dagan_cli.errors import BadOption
from dagan_cli.media.sniff import named_kind

LONGEST_NAME = 255  # bytes, on every common file system
PART = r"(?:_from-\d+(?:\.\d+)?)?(?:_to-\d+(?:\.\d+)?)?(?:_frames-\d+)?"
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]\d+)?"
_FORMS = {"stem": "(?P<stem>.+)", "scale": _NUMBER, "model": ".+", "width": r"\d+", "height": r"\d+", "part": PART}
_SEPARATORS = tuple({"/", "\\", os.sep, "\0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the name of a result may state about it."""

    scale: float  # final factor
    model: str  # without folders
    width: int  # pixels of the result
    height: int


@dataclass(frozen=True, slots=True)
class Template:
    """Name of results without their suffix. Raises BadOption for one that makes no file names.

    Placeholders: stem (of the source), scale (the final factor), model, width and height (of the result), and part: of
    a video, with an underscore before it ("_from-60_to-70"), or nothing.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            pieces = list(self._pieces())
        except ValueError as error:
            what = f"invalid --name {self.text!r}: {error}"
            raise BadOption(what, hint="write placeholders as {stem}, and braces as {{ and }}") from error
        for _, name in pieces:
            if name is not None and name not in _FORMS:
                near = get_close_matches(name, _FORMS, n=1)
                known = ", ".join(f"{{{each}}}" for each in _FORMS)
                hint = f"did you mean {{{near[0]}}}?" if near else f"use {known}"
                raise BadOption(f"--name {self.text!r} has an unknown placeholder {{{name}}}", hint=hint)
        if any(separator in self.text for separator in _SEPARATORS):
            raise BadOption(f"--name {self.text!r} names a folder, not only a file", hint="name a folder with -o")
        if not self.text.strip():
            raise BadOption("--name is empty", hint="use placeholders, such as {stem}_x{scale}")
        if self.text.startswith("."):
            raise BadOption(f"--name {self.text!r} would make hidden files", hint="start it with another character")
        if suffix := os.path.splitext(self.text)[1] if named_kind(Path(self.text)) else "":
            hint = f"leave out {suffix}; -f chooses the format of images, and -o the container of a video"
            raise BadOption(f"--name {self.text!r} has a suffix, and every result gets its own", hint=hint)
        if sum(len(os.fsencode(literal)) for literal, _ in pieces) >= LONGEST_NAME:
            raise BadOption(f"--name {self.text[:40]!r}... is too long", hint="use a shorter one")

    def fill(self, stem: str, part: str, facts: Facts) -> str:
        """Return the name of one result, without its suffix; `part` starts with an underscore, or is empty."""
        values = {"stem": stem, "part": part, "scale": f"{facts.scale:.6g}", "model": facts.model}
        values |= {"width": str(facts.width), "height": str(facts.height)}
        return "".join(literal + (values[name] if name else "") for literal, name in self._pieces())

    @property
    def names_model(self) -> bool:
        """True if the names state the model."""
        return any(name == "model" for _, name in self._pieces())

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """The names that it makes, with the group `stem`; None if they do not hold the name of the source."""
        text, seen = "", False
        for literal, name in self._pieces():
            form = "(?P=stem)" if name == "stem" and seen else _FORMS[name] if name else ""
            seen = seen or name == "stem"
            text += re.escape(literal) + form
        return re.compile(text, re.IGNORECASE | re.DOTALL) if seen else None  # names may hold line breaks

    def _pieces(self) -> Iterator[tuple[str, str | None]]:
        """Yield literal texts, each with the placeholder that follows it. Raises ValueError for stray braces."""
        for literal, name, form, conversion in Formatter().parse(self.text):
            if form or conversion:
                raise ValueError(f"{{{name}}} takes no format")
            yield literal, name
