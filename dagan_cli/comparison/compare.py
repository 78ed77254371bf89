"""`dagan compare`: score results against their reference, image by image, or videos frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.comparison.films import compare_films
from dagan_cli.comparison.pairs import Item
from dagan_cli.comparison.result import Compared
from dagan_cli.comparison.stills import compare_stills, read_still
from dagan_cli.errors import BadInput, DaganError
from dagan_cli.metrics.lpips import Lpips


class Stopped(Exception):
    """The user asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """How results are scored."""

    border: int = 0  # pixels that PSNR and SSIM leave out on each side
    judge: Lpips | None = None  # LPIPS, of images


def compare(
    item: Item,
    measures: Measures,
    tell: Callable[[int, int | None], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Compared]:
    """Yield a row for each result of an item; what cannot be compared has failed, and does not end the others.

    `tell` receives the number of frames done, and their total if known. Raises Stopped soon after `stop` returns True.
    """
    reference = item.paths[0]
    if isinstance(reference, DaganError):
        raise TypeError("the first path is that of the reference")
    if item.kind == "video":
        yield from _films(item, reference, measures, tell, stop)
        return
    try:
        original = read_still(reference)
    except BadInput as error:
        yield from (_failed(item, reference, column, error) for column in range(1, len(item.paths)))
        return
    for column, path in enumerate(item.paths[1:], 1):
        if stop():
            raise Stopped
        if isinstance(path, DaganError):
            yield _failed(item, reference, column, path)
            continue
        try:
            scores, size, notes = compare_stills(original, read_still(path), measures.border, measures.judge)
        except BadInput as error:
            yield _failed(item, reference, column, error)
            continue
        yield Compared(
            item=item.name,
            kind="picture",
            column=column,
            reference=reference,
            result=path,
            size=size,
            scores=scores,
            notes=notes,
        )


def _films(
    item: Item,
    reference: Path,
    measures: Measures,
    tell: Callable[[int, int | None], None],
    stop: Callable[[], bool],
) -> Iterator[Compared]:
    def told(done: int, total: int | None) -> None:
        if stop():
            raise Stopped
        tell(done, total)

    paths = {column: path for column, path in enumerate(item.paths) if column and isinstance(path, Path)}
    try:
        found = dict(zip(paths, compare_films(reference, list(paths.values()), measures.border, told), strict=True))
    except BadInput as error:
        found = dict.fromkeys(paths, error)
    for column, path in enumerate(item.paths[1:], 1):
        film = path if isinstance(path, DaganError) else found[column]
        if isinstance(film, DaganError):
            yield _failed(item, reference, column, film)
        else:
            yield Compared(
                item=item.name,
                kind="video",
                column=column,
                reference=reference,
                result=paths[column],
                size=film.size,
                scores=film.means,
                notes=film.notes,
                film=film.scores,
            )


def _failed(item: Item, reference: Path, column: int, error: DaganError) -> Compared:
    path = item.paths[column]
    result = path if isinstance(path, Path) else None
    return Compared(item=item.name, kind=item.kind, column=column, reference=reference, result=result, failed=error)
