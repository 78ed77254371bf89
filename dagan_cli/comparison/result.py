"""Result of a comparison: scores of each result against its reference, in numbers and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from dagan_cli.errors import DaganError
from dagan_cli.media.find import Kind
from dagan_cli.version import __version__

Numbers = Mapping[str, float | None]  # scores by the names of SCORES; None where there is no value, such as at a cut


class Score(NamedTuple):
    """A measure of quality."""

    name: str  # in JSON
    title: str
    unit: str
    digits: int  # decimal places that are shown
    higher_is_better: bool


SCORES = (
    Score("psnr_y", "PSNR-Y", "dB", 2, True),
    Score("ssim_y", "SSIM-Y", "", 4, True),
    Score("psnr_rgb", "PSNR RGB", "dB", 2, True),
    Score("lpips", "LPIPS", "", 4, False),
    Score("vmaf", "VMAF", "", 2, True),
    Score("xpsnr_y", "XPSNR-Y", "dB", 2, True),
    Score("flicker", "flicker", "", 3, False),
)
STILLS = "psnr_y", "ssim_y", "psnr_rgb", "lpips"
FILMS = "psnr_y", "ssim_y", "vmaf", "xpsnr_y", "flicker"

STILLS_PROTOCOL = "Y of BT.601 studio range, float; PSNR and SSIM on the scale of 255"
FILMS_PROTOCOL = (
    "Luma as stored, on the scale of 8-bit code values; frames are paired by their times; means over frames, infinite "
    "values left out; VMAF v0.6.1 and XPSNR by FFmpeg"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmScores:
    """Scores of each frame of a video, on the frames of its reference."""

    seconds: Sequence[float]  # times of all frames of the reference, from the start of the file
    numbers: Mapping[str, Sequence[float | None]]  # per score one value for each of these frames; None: no value
    matched: Sequence[bool]  # per frame: the result has a frame of that time
    unmatched: tuple[int, int]  # frames of the reference, and of the result, that have no partner
    later: float  # seconds; a time of the reference plus this is that of the result, each from the start of its file
    reliable: float | None  # mean share of pixels, 0 to 1, on which flicker is measured; None if on none

    def worst(self, most: int, apart: float = 0.5) -> list[int]:
        """Return the numbers of the frames of lowest PSNR-Y, worst first, at least `apart` seconds from each other."""
        psnr = self.numbers.get("psnr_y", ())
        order = sorted((value, i) for i, value in enumerate(psnr) if value is not None and isfinite(value))
        chosen: list[int] = []
        for _, i in order:
            if len(chosen) == most:
                break
            if all(abs(self.seconds[i] - self.seconds[other]) >= apart for other in chosen):
                chosen.append(i)
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Scores of one result: a row of the table."""

    item: str  # name of the image or video
    kind: Kind
    column: int  # number of the result among the arguments, from 1; 0 is the reference
    reference: Path
    result: Path | None  # None if there is no file of that name
    size: tuple[int, int] | None = None  # (width, height) that was compared
    scores: Numbers = field(default_factory=dict)  # infinity for equal pixels
    notes: tuple[str, ...] = ()
    film: FilmScores | None = None
    failed: DaganError | None = None  # why there are no scores

    def to_json(self) -> dict[str, Any]:
        """Return the row of the document; see `Comparison.to_json`."""
        row: dict[str, Any] = {
            "item": _text(self.item),
            "kind": "image" if self.kind == "picture" else "video",
            "reference": _text(self.reference),
            "result": None if self.result is None else _text(self.result),
            "size": None if self.size is None else list(self.size),
            "scores": {name: _number(value) for name, value in self.scores.items()},
            "notes": [_text(note) for note in self.notes],
            "failed": None if self.failed is None else {"error": _text(self.failed), "hint": _text(self.failed.hint)},
        }
        if (film := self.film) is not None:
            where = [i for i, matched in enumerate(film.matched) if matched]
            row["unmatched_frames"] = dict(zip(("reference", "result"), film.unmatched, strict=True))
            row["flicker_reliable"] = _number(film.reliable)
            row["worst_seconds"] = [round(film.seconds[i], 6) for i in film.worst(5)]
            times: list[float | None] = [round(film.seconds[i], 6) for i in where]
            by_name = {name: [_number(values[i]) for i in where] for name, values in film.numbers.items()}
            row["frames"] = {"seconds": times} | by_name
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All rows, and the mean of each result."""

    arguments: tuple[Path, ...]  # the reference, then the results
    labels: tuple[str, ...]  # short names of the arguments
    rows: tuple[Compared, ...]
    notes: tuple[str, ...] = ()  # about the comparison as a whole

    @property
    def failed(self) -> tuple[Compared, ...]:
        return tuple(row for row in self.rows if row.failed)

    @property
    def shown(self) -> tuple[Score, ...]:
        """The scores that any row has."""
        return tuple(score for score in SCORES if any(score.name in row.scores for row in self.rows))

    def means(self, column: int) -> Numbers:
        """Return the mean of each score over the rows of one result that have it; equal pixels make it infinite."""
        own = [row.scores for row in self.rows if row.column == column and not row.failed]
        found = {score.name: [row[score.name] for row in own if score.name in row] for score in self.shown}
        return {name: mean(values) for name, values in found.items() if values}

    def to_json(self, protocol: Sequence[str] = ()) -> dict[str, Any]:
        """Return the document of `--json`.

        `scores` and `means` hold, by name: psnr_y, psnr_rgb and xpsnr_y in dB, where null is infinity, the value of
        equal pixels; ssim_y up to 1; lpips, 0 for equal images; vmaf from 0 to 100; flicker in 8-bit code values, where
        null means that nothing could be measured. A measure that was left out is missing. `items` has a row for each
        result of each image or video. In a row of a video, `frames` lists the values of all paired frames by name, with
        their times in seconds; `flicker_reliable` is the share of pixels on which flicker was measured, and
        `worst_seconds` are the times of the frames of lowest PSNR-Y. `failed` of a row is null, or an error with a
        hint; then it has no scores. `means` has one entry for each result. Without rows, all arguments are results, and
        there is no reference: null.
        """
        texts = [_text(path) for path in self.arguments]
        rated = bool(self.rows)
        return {
            "dagan": __version__,
            "reference": texts[0] if rated else None,
            "results": texts[1:] if rated else texts,
            "protocol": list(protocol),
            "notes": [_text(note) for note in self.notes],
            "items": [row.to_json() for row in self.rows],
            "means": [
                {
                    "result": texts[column],
                    "items": sum(row.column == column and not row.failed for row in self.rows),
                    "scores": {name: _number(value) for name, value in self.means(column).items()},
                }
                for column in range(1, len(texts) if rated else 1)
            ],
        }


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that there are; None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def shown(score: Score, numbers: Numbers) -> str:
    """Return a score as text: "31.20", "inf", or "" where there is none."""
    value = numbers.get(score.name)
    return "" if value is None else f"{value:.{score.digits}f}"


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _text(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
