"""The page of a comparison: the worst images or frames of all results side by side, and all numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dagan_cli.comparison.films import times_of
from dagan_cli.comparison.pairs import Item, Pairs
from dagan_cli.comparison.result import SCORES, Compared, Comparison, Score, shown
from dagan_cli.comparison.stills import on_255, read_still
from dagan_cli.engine.colour import to_rgb
from dagan_cli.errors import BadInput, DaganError
from dagan_cli.media.video.source import Frame, open_video
from dagan_cli.pages.viewer import Column, Curve, View, Viewer
from dagan_cli.prefetch import prefetch

MOST = 12  # views of a page
_WINDOW = 960, 720  # (width, height) in pixels of what is shown of larger images
_STEP = 16  # pixels between the windows that are tried
_GREY = 128  # in place of what there is not
_CURVES = "psnr_y", "vmaf", "flicker"
_ENDS = 3  # views of a video that show its first, middle and last frame
_APART = 0.5  # seconds between the other frames that are shown

Missed = Callable[[Path | None, DaganError], None]  # a file, None for one that was not found, and why it is not shown
Images = list[np.ndarray | None]  # one for each argument, uint8 (H, W, 3); None if there is none


@dataclass(frozen=True, slots=True)
class _Moment:
    """A frame to show."""

    number: int  # of the reference, from 0; -1 without a reference
    seconds: float
    note: str


def make_page(
    title: str,
    pairs: Pairs,
    comparison: Comparison,
    protocol: Sequence[str],
    *,
    most: int = MOST,
    tell: Callable[[], None] = lambda: None,
    missed: Missed = lambda path, error: None,
) -> Viewer:
    """Describe the page: at most `most` views, the worst first. `tell` is called while files are read, and may raise.

    Without rows, as there is no reference, views are in the order of the names, and show where the results differ;
    `missed` is called for what cannot be shown, which no row reports. Raises BadInput if nothing can be shown.
    """
    rated = bool(comparison.rows)
    missed = (lambda path, error: None) if rated else missed
    scores = comparison.shown
    if pairs.items[0].kind == "video":
        views = list(_frames(pairs.items[0], comparison, most, tell, missed))
    else:
        views = list(_stills(pairs, comparison, most, tell, missed))
    if not views:
        raise BadInput("none of the images can be read, and so there is no page", hint="see the errors above")
    count = len(comparison.labels) - rated
    what = f"{count} result{'s' if count != 1 else ''}"
    lead = f"{what} next to {comparison.labels[0]}, worst first." if rated else f"{what}, without a reference."
    return Viewer(
        title=title,
        lead=lead,
        columns=_columns(comparison, rated=rated),
        views=views,
        scores=[_titled(score) for score in scores],
        table=_table(comparison, scores) if rated else (),
        curves=list(_curves(comparison)),
        notes=[*protocol, *comparison.notes, *_notes(comparison)],
    )


def _columns(comparison: Comparison, *, rated: bool) -> list[Column]:
    columns = []
    for column, label in enumerate(comparison.labels):
        means = comparison.means(column) if rated and column else {}
        facts = [(_titled(score), shown(score, means)) for score in comparison.shown if shown(score, means)]
        columns.append(Column(label, facts))
    return columns


def _table(comparison: Comparison, scores: Sequence[Score]) -> list[list[str]]:
    head = ["item", "result", *map(_titled, scores)]
    rows = [
        [row.item, comparison.labels[row.column], *(shown(score, row.scores) for score in scores)]
        for row in comparison.rows
        if not row.failed
    ]
    return [head, *rows]


def _notes(comparison: Comparison) -> Iterator[str]:
    for row in comparison.rows:
        for note in (*row.notes, *((f"not compared: {row.failed}",) if row.failed else ())):
            yield f"{row.item}, {comparison.labels[row.column]}: {note}"


def _curves(comparison: Comparison) -> Iterator[Curve]:
    films = {row.column: row.film for row in comparison.rows if row.film}
    for score in SCORES:
        if score.name in _CURVES and any(score.name in film.numbers for film in films.values()):
            seconds = next(iter(films.values())).seconds
            nothing: list[float | None] = [None] * len(seconds)
            values = [
                _finite(films[column].numbers.get(score.name, nothing)) if column in films else nothing
                for column in range(len(comparison.labels))
            ]
            yield Curve(_titled(score), seconds, values)


def _stills(
    pairs: Pairs, comparison: Comparison, most: int, tell: Callable[[], None], missed: Missed
) -> Iterator[View]:
    """Yield the images, those first whose worst result is the worst: by LPIPS if it was measured, else by PSNR-Y."""
    rows: dict[str, list[Compared]] = {}
    for row in comparison.rows:
        rows.setdefault(row.item, []).append(row)
    score = next(each for each in SCORES if each.name == ("lpips" if _has(comparison, "lpips") else "psnr_y"))

    def rank(item: Item) -> float:
        values = [row.scores.get(score.name) for row in rows.get(item.name, ()) if not row.failed]
        known = [value if not score.higher_is_better else -value for value in values if value is not None]
        return -max(known, default=-float("inf"))

    ordered = sorted(pairs.items, key=rank) if comparison.rows else list(pairs.items)
    left = most
    for item in ordered:
        if not left:
            return
        tell()
        own = rows.get(item.name, [])
        if comparison.rows and all(row.failed for row in own):
            continue
        images = [_read(path, missed) for path in item.paths]
        _miss_other_sizes(item.paths, images, missed)
        if images[0] is None or (not comparison.rows and sum(image is not None for image in images) < 2):
            continue
        note = f"worst by {score.title}" if comparison.rows and left == most and len(pairs.items) > 1 else ""
        yield _view(item.name, images, {row.column: row for row in own}, comparison, note)
        left -= 1


def _read(path: Path | DaganError, missed: Missed) -> np.ndarray | None:
    """Return an image as uint8 (H, W, 3); None if it cannot be read."""
    if isinstance(path, DaganError):
        missed(None, path)
        return None
    try:
        colour = read_still(path).colour
    except BadInput as error:
        missed(path, error)
        return None
    return colour if colour.dtype == np.uint8 else np.rint(np.nan_to_num(on_255(colour)).clip(0, 255)).astype(np.uint8)


def _miss_other_sizes(paths: Sequence[Path | DaganError], images: Images, missed: Missed) -> None:
    """Report images that are not of the size of the first one."""
    if (base := images[0]) is None:
        return
    for path, image in zip(paths, images, strict=True):
        if image is not None and image.shape != base.shape and isinstance(path, Path):
            have, want = (f"{each.shape[1]}x{each.shape[0]}" for each in (image, base))
            what = f"{path} is {have}, and {paths[0]} is {want}"
            missed(path, BadInput(what, hint="show results of one size together"))


def _frames(item: Item, comparison: Comparison, most: int, tell: Callable[[], None], missed: Missed) -> Iterator[View]:
    """Yield frames of a video: the worst ones, spread over it, and its first, middle and last one."""
    rows = {row.column: row for row in comparison.rows if row.film}
    moments = _moments(item, rows, most, tell)
    times = [moment.seconds for moment in moments]
    sizes = [row.size for row in rows.values() if row.size]
    size = (min(width for width, _ in sizes), min(height for _, height in sizes)) if sizes else None
    found: list[Images] = []
    for column, path in enumerate(item.paths):
        film = rows[column].film if column in rows else None
        own = [time + film.later for time in times] if film else times
        if isinstance(path, Path):
            found.append(_frames_at(path, own, size, tell, missed))
        else:
            missed(None, path)
            found.append([None] * len(times))
    firsts = [next((image for image in images if image is not None), None) for images in found]
    _miss_other_sizes(item.paths, firsts, missed)
    for moment, *images in zip(moments, *found, strict=True):
        if images[0] is None:
            continue
        title = f"frame {moment.number}, {_clock(moment.seconds)}" if moment.number >= 0 else _clock(moment.seconds)
        numbers = {
            column: {name: values[moment.number] for name, values in row.film.numbers.items()}
            for column, row in rows.items()
            if row.film
        }
        yield _view(title, list(images), rows, comparison, moment.note, numbers, moment.seconds)


def _moments(item: Item, rows: dict[int, Compared], most: int, tell: Callable[[], None]) -> list[_Moment]:
    """Choose the frames to show."""
    films = [row.film for row in rows.values() if row.film]
    if not films:
        reference = item.paths[0]
        if isinstance(reference, DaganError):
            return []
        with open_video(reference) as source, prefetch(times_of(source)) as frames:
            seconds = [time for time, _ in _telling(frames, tell)]
        places = sorted({round(i * (len(seconds) - 1) / max(1, most - 1)) for i in range(most)}) if seconds else []
        return [_Moment(-1, seconds[i], "") for i in places]
    seconds = films[0].seconds
    worst = {}  # frame: its lowest PSNR-Y
    for film in films:
        for i, value in enumerate(film.numbers["psnr_y"]):
            if value is not None and isfinite(value):
                worst[i] = min(value, worst.get(i, value))
    chosen: dict[int, str] = {}
    for i in sorted(worst, key=lambda i: (worst[i], i)):
        if len(chosen) >= max(1, most - _ENDS):
            break
        if all(abs(seconds[i] - seconds[other]) > _APART for other in chosen):
            chosen[i] = f"lowest PSNR-Y, {worst[i]:.2f} dB" if not chosen else "low PSNR-Y"
    for i, note in ((0, "first"), (len(seconds) // 2, "middle"), (len(seconds) - 1, "last")):
        if len(chosen) < most:
            chosen.setdefault(i, note)
    return [_Moment(i, seconds[i], note) for i, note in chosen.items()]


def _frames_at(
    path: Path, times: Sequence[float], size: tuple[int, int] | None, tell: Callable[[], None], missed: Missed
) -> Images:
    """Return the frame that is nearest to each time, within half a frame, as uint8 (H, W, 3).

    size: the (width, height) at the top left that is shown, before the frame is turned; None: all.
    """
    found: Images = [None] * len(times)
    if not times:
        return found
    best = [float("inf")] * len(times)
    last = max(times)
    try:
        with open_video(path) as source, prefetch(times_of(source)) as frames:
            for time, frame in _telling(frames, tell):
                near = frame.duration * float(frame.time_base) / 2
                for i, wanted in enumerate(times):
                    if (distance := abs(time - wanted)) <= near + 1e-9 and distance < best[i]:
                        found[i], best[i] = _as_rgb(frame, size, source.info.rotation), distance
                if time > last + near:
                    break
    except DaganError as error:  # reported with the scores, if there are any
        missed(path, error)
    return found


def _telling(frames: Iterator[tuple[float, Frame]], tell: Callable[[], None]) -> Iterator[tuple[float, Frame]]:
    for each in frames:
        tell()
        yield each


def _as_rgb(frame: Frame, size: tuple[int, int] | None, rotation: int) -> np.ndarray:
    """Return a frame as uint8 (H, W, 3), cropped, then turned counter-clockwise; its transfer is not converted."""
    rgb = to_rgb([torch.from_numpy(plane) for plane in frame.planes], frame.layout)
    width, height = size or (rgb.shape[-1], rgb.shape[-2])
    codes = rgb[:, :height, :width].mul(255).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(np.rot90(codes.permute(1, 2, 0).numpy(), round(rotation / 90)))


def _view(
    title: str,
    images: Images,
    rows: dict[int, Compared],
    comparison: Comparison,
    note: str,
    numbers: dict[int, dict[str, float | None]] | None = None,
    seconds: float | None = None,
) -> View:
    """Describe a place: images are cropped to what all have, and large ones to where they differ most."""
    notes = [note] if note else []
    rated = bool(comparison.rows)
    base = images[0]
    assert base is not None
    sizes = {column: row.size for column, row in rows.items() if row.size}
    usable = [
        image is not None and (column == 0 or (column in sizes if rated else image.shape == base.shape))
        for column, image in enumerate(images)
    ]
    missing = [label for label, good in zip(comparison.labels, usable, strict=True) if not good]
    if missing:
        notes.append(f"not shown: {', '.join(missing)}")
    kept = [image if good else None for image, good in zip(images, usable, strict=True)]
    height = min(image.shape[0] for image in kept if image is not None)
    width = min(image.shape[1] for image in kept if image is not None)
    whole = [np.full((height, width, 3), _GREY, np.uint8) if x is None else x[:height, :width] for x in kept]
    top, left = _place([image for image, good in zip(whole, usable, strict=True) if good])
    bottom, right = min(height, top + _WINDOW[1]), min(width, left + _WINDOW[0])
    if (bottom - top, right - left) != (height, width):
        notes.append(f"{right - left}x{bottom - top} pixels at {left}, {top} of {width}x{height}")
    texts = []
    for column in range(len(images)):
        own = numbers.get(column, {}) if numbers is not None else rows[column].scores if column in rows else {}
        texts.append([shown(score, own) for score in comparison.shown])
    return View(
        title=title,
        images=[[np.ascontiguousarray(image[top:bottom, left:right])] for image in whole],
        scores=texts if rated else (),
        note="; ".join(notes),
        seconds=seconds,
    )


def _place(images: list[np.ndarray]) -> tuple[int, int]:
    """Return (top, left) of the window in which images of one size differ most from the first one."""
    height, width, _ = images[0].shape
    wide, high = min(width, _WINDOW[0]), min(height, _WINDOW[1])
    if (wide, high) == (width, height) or len(images) < 2:
        return (height - high) // 2, (width - wide) // 2
    first = images[0].astype(np.float32)
    error = sum(np.square(image.astype(np.float32) - first).mean(axis=2) for image in images[1:])
    pooled = F.avg_pool2d(torch.from_numpy(np.asarray(error))[None, None], _STEP)[0, 0].double()
    total = F.pad(pooled.cumsum(0).cumsum(1), (1, 0, 1, 0))  # of all above and to the left
    rows, columns = (max(1, side // _STEP) for side in (high, wide))
    sums = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    best = int(sums.argmax())
    top, left = best // sums.shape[1] * _STEP, best % sums.shape[1] * _STEP
    return min(top, height - high), min(left, width - wide)


def _titled(score: Score) -> str:
    return f"{score.title}, {score.unit}" if score.unit else score.title


def _has(comparison: Comparison, name: str) -> bool:
    return any(score.name == name for score in comparison.shown)


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [value if value is not None and isfinite(value) else None for value in values]


def _clock(seconds: float) -> str:
    """Return a time such as 0:02.000 or 1:02:03.500."""
    minutes, rest = divmod(round(max(0.0, seconds) * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
