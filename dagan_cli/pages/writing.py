"""Write a page to look at results: one HTML file, at most `LARGEST` bytes, that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagan_cli.files import whole_or_absent
from dagan_cli.pages.charts import chart
from dagan_cli.pages.pictures import Fitted, fit
from dagan_cli.pages.rendering import environment
from dagan_cli.pages.viewer import View, Viewer
from dagan_cli.words import printable

if TYPE_CHECKING:
    from markupsafe import Markup

LARGEST = 20_000_000  # bytes of a page

_TABLE = 2_000_000  # characters of the table of all numbers; further rows are counted, not listed


def write_viewer(target: Path, viewer: Viewer) -> None:
    """Write the page; an existing file is replaced. Raises CannotWrite."""
    pieces = _pieces(viewer)
    with whole_or_absent(target) as file:
        for piece in pieces:
            file.write(piece.encode())


def viewer_html(viewer: Viewer) -> str:
    """Return the page as text."""
    return "".join(_pieces(viewer))


def _pieces(viewer: Viewer) -> Iterator[str]:
    """Yield the page in pieces, so that the text of only one picture is in memory at a time."""
    template = environment().get_template("viewer.html")
    rows, hidden_rows = _table(viewer)
    facts = {
        "viewer": viewer,
        "rows": rows,
        "hidden_rows": hidden_rows,
        "charts": [made for curve in viewer.curves if (made := chart(curve, [c.label for c in viewer.columns]))],
        "markup": _markup,
    }
    nothing = [[[] for _ in viewer.columns] for _ in viewer.views]
    everything = Fitted(views=nothing, sizes=[(99_999, 99_999)] * len(nothing), note=" " * 400)
    text = template.render(facts, **_pictures(viewer, everything))
    fitted = fit(viewer.views, LARGEST - len(text.encode()) - 1000)
    return template.generate(facts, **_pictures(viewer, fitted))


def _pictures(viewer: Viewer, fitted: Fitted) -> dict[str, Any]:
    """Return what the template needs to know of the views and their pictures."""
    firsts: list[tuple[int | None, bool]] = []  # per column the first picture, and if a column before it has it too
    for frames in fitted.views[0] if fitted.views else []:
        index = frames[0] if frames else None
        firsts.append((index, any(index == other for other, _ in firsts)))
    views = viewer.views[: len(fitted.views)]
    return {"fitted": fitted, "views": views, "firsts": firsts, "data": _data(viewer, fitted)}


def _data(viewer: Viewer, fitted: Fitted) -> dict[str, Any]:
    """Return what the script of the page needs to know; all texts are printable."""
    return {
        "columns": [printable(column.label) for column in viewer.columns],
        "views": [
            _view(view, pictures, size)
            for view, pictures, size in zip(viewer.views, fitted.views, fitted.sizes, strict=False)
        ],
    }


def _view(view: View, pictures: list[list[int]], size: tuple[int, int]) -> dict[str, Any]:
    return {
        "title": printable(view.title),
        "note": printable(view.note),
        "width": size[0],
        "height": size[1],
        "pictures": pictures,
        "scores": [list(map(printable, values)) for values in view.scores],
        "seconds": view.seconds,
        "rate": view.rate,
    }


def _table(viewer: Viewer) -> tuple[Sequence[Sequence[str]], int]:
    """Return the table of all numbers, the heads first, and the number of rows that are left out.

    Without a table of the caller's, it lists the scores of all views, so that no number is lost with its picture.
    """
    table = viewer.table
    if not table and viewer.scores:
        rows = [
            [view.title, column.label, *scores]
            for view in viewer.views
            for column, scores in zip(viewer.columns, view.scores, strict=False)
            if scores
        ]
        table = [["view", "column", *viewer.scores], *rows] if rows else []
    sizes = accumulate(sum(len(cell) + 10 for cell in row) + 10 for row in table)
    kept = sum(size <= _TABLE for size in sizes)
    return table[:kept], len(table) - kept


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)
