"""`dagan compare`: scores of results against their reference, and a page to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagan_cli.commands.console import StopSignals, counted, echo, in_json, printable
from dagan_cli.commands.options import AsJson, Debug, Progress, friendly_errors, page_path
from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.commands.shown.tables import room, table, wrapped
from dagan_cli.errors import BadOption
from dagan_cli.upscale.events import Advance, Notice, Outlook, Start, failed

if TYPE_CHECKING:
    from dagan_cli.comparison.pairs import Pairs
    from dagan_cli.comparison.result import Comparison
    from dagan_cli.errors import DaganError
    from dagan_cli.metrics.lpips import Lpips

_LPIPS = "lpips/lpips_alex.safetensors"  # in the cache folder
_WORST = 3  # frames that are named below the table


def compare(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="The original: an image, a video, or a folder of images.")
    ],
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT", help="What is scored, of the same kind; images in folders have equal names."),
    ],
    no_reference: Annotated[
        bool, typer.Option("--no-reference", help="Take all arguments as results: show them, without numbers.")
    ] = False,
    page: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="PAGE", help="Also write a page (HTML) to look at the results."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("-y", "--overwrite", help="Replace a file at -o that is no page of dagan.")
    ] = False,
    most: Annotated[
        int, typer.Option("--most", min=1, max=100, metavar="N", help="Show at most N images or frames on the page.")
    ] = 12,
    border: Annotated[
        int, typer.Option("--border", min=0, metavar="N", help="Leave N pixels out of PSNR and SSIM on each side.")
    ] = 0,
    lpips: Annotated[
        Path | None,
        typer.Option(
            "--lpips",
            metavar="FILE",
            help="Also report LPIPS of images, with these weights; default: lpips/lpips_alex.safetensors in the cache "
            "folder, if it is there.",
        ),
    ] = None,
    progress: Progress = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score results next to their reference. Images: PSNR, SSIM, LPIPS; videos also VMAF, XPSNR and flicker."""
    with friendly_errors(debug):
        if no_reference and page is None:
            raise BadOption("--no-reference gives no numbers, only a page", hint="name the page with -o page.html")
        files = [reference, *results]
        output = None if page is None else page_path(page, "compare.html")

        from dagan_cli.comparison.compare import Stopped
        from dagan_cli.comparison.pairs import find_pairs

        if output is not None:
            _require_page(output, overwrite=overwrite)
        pairs = find_pairs(files)
        if output is not None:
            _require_no_input(output, [*files, *pairs.paths, *([lpips] if lpips else [])])
        is_video = pairs.items[0].kind == "video"
        judge = None if is_video or no_reference else _judge(lpips)
        with StopSignals().caught() as stop, Reporter(progress, quiet=False, verbose=False) as reporter:
            try:
                comparison = _compared(files, pairs, border, judge, reporter, stop, no_reference=no_reference)
                if is_video and lpips is not None:
                    reporter.show(Notice("--lpips is for images, and is left out", ()))
                protocol = _protocol(border, judge, is_video=is_video, no_reference=no_reference)
                missed = 0
                if output is not None:
                    missed = _write(output, pairs, comparison, protocol, most, reporter, stop)
            except Stopped:
                reporter.stopped()
                raise typer.Exit(stop.exit_code) from None
        if as_json:
            echo(in_json(comparison.to_json(protocol) | {"page": None if output is None else printable(str(output))}))
        else:
            _show(comparison, protocol, output)
        raise typer.Exit(int(bool(comparison.failed or missed)))


def _require_page(output: Path, *, overwrite: bool) -> None:
    """Raise CannotWrite for a name that is no file, and without `overwrite` for a file that is no page of dagan."""
    from dagan_cli.files import require_older, require_replaceable, require_writable
    from dagan_cli.pages.rendering import MARK

    require_replaceable(output)
    require_writable(output)
    if not overwrite:
        require_older(output, "page", MARK)


def _require_no_input(output: Path, inputs: Sequence[Path]) -> None:
    """Raise BadOption if the page would replace what is compared, by whatever name."""
    from dagan_cli.files import place_of

    if place_of(output) in {place_of(path) for path in inputs}:
        raise BadOption(f"-o {output} is an input", hint="name another file, such as compare.html")


def _judge(path: Path | None) -> Lpips | None:
    """Load the weights that were named, or those in the cache folder if they are there."""
    from dagan_cli.engine.cache import cache_folder
    from dagan_cli.metrics.lpips import Lpips

    if path is None and not (path := cache_folder() / _LPIPS).is_file():
        return None
    return Lpips.load(path)


def _compared(
    files: list[Path],
    pairs: Pairs,
    border: int,
    judge: Lpips | None,
    reporter: Reporter,
    stop: StopSignals,
    *,
    no_reference: bool,
) -> Comparison:
    """Score everything. Shows progress, and what could not be compared."""
    from dagan_cli.comparison.compare import Measures, compare
    from dagan_cli.comparison.result import Comparison

    rows = []
    reporter.show(Outlook(len(pairs.items), {}))
    for number, item in enumerate(() if no_reference else pairs.items):
        named = item.paths[0] if isinstance(item.paths[0], Path) else files[0]
        reporter.show(Start(number, len(pairs.items), named))
        for row in compare(
            item,
            Measures(border=border, judge=judge),
            lambda done, total: reporter.show(Advance(done, total, "frames")),
            stop,
        ):
            rows.append(row)
            if row.failed:
                reporter.show(failed(row.result or row.reference, row.failed))
    return Comparison(arguments=tuple(files), labels=pairs.labels, rows=tuple(rows), notes=pairs.notes)


def _protocol(border: int, judge: Lpips | None, *, is_video: bool, no_reference: bool) -> list[str]:
    from dagan_cli.comparison.result import FILMS_PROTOCOL, STILLS_PROTOCOL
    from dagan_cli.metrics.flicker import PROTOCOL

    if no_reference:
        return []
    cut = [f"{counted(border, 'pixel')} on each side left out of PSNR and SSIM"] if border else []
    if is_video:
        return [FILMS_PROTOCOL, *cut, PROTOCOL]
    perceptual = [f"LPIPS v0.1 ({judge.net}) of whole RGB images, lower is better"] if judge else []
    return [STILLS_PROTOCOL, *cut, *perceptual]


def _write(
    output: Path,
    pairs: Pairs,
    comparison: Comparison,
    protocol: Sequence[str],
    most: int,
    reporter: Reporter,
    stop: StopSignals,
) -> int:
    """Write the page. Returns the number of results that could not be shown, which no row reports."""
    from dagan_cli.comparison.compare import Stopped
    from dagan_cli.comparison.page import make_page
    from dagan_cli.pages.writing import write_viewer

    lost = []

    def tell() -> None:
        if stop():
            raise Stopped

    def missed(path: Path | None, error: DaganError) -> None:
        lost.append(error)
        reporter.show(failed(path or comparison.arguments[0], error))

    title = f"Comparison with {comparison.labels[0]}" if comparison.rows else f"{comparison.labels[0]} and others"
    write_viewer(output, make_page(title, pairs, comparison, protocol, most=most, tell=tell, missed=missed))
    return len(lost)


def _show(comparison: Comparison, protocol: Sequence[str], output: Path | None) -> None:
    """Print the table, the means, the protocol and the notes."""
    from dagan_cli.comparison.result import shown

    good = [row for row in comparison.rows if not row.failed]
    several_items = len({row.item for row in comparison.rows}) > 1
    several_results = len(comparison.labels) > 2
    names = [*(["image"] if several_items else []), *(["result"] if several_results or not several_items else [])]

    def cells(item: str, column: int) -> list[str]:
        return [*([item] if several_items else []), *([comparison.labels[column]] if "result" in names else [])]

    scores = comparison.shown
    rows = [[*cells(row.item, row.column), *(shown(score, row.scores) for score in scores)] for row in good]
    if several_items:
        means = [(column, comparison.means(column)) for column in range(1, len(comparison.labels))]
        rows += [[*cells("mean", column), *(shown(score, own) for score in scores)] for column, own in means if own]
    if rows:
        echo(table([*names, *(score.title for score in scores)], rows, left=len(names)))
    lines = [] if not comparison.rows else [_counts(comparison, protocol)]
    lines += [*comparison.notes, *_remarks(comparison)]
    if output is not None:
        lines.append(f"page: {output}")
    if lines:
        echo(("\n" if rows else "") + "\n".join(wrapped(printable(line), room()) for line in lines))


def _counts(comparison: Comparison, protocol: Sequence[str]) -> str:
    kind = "video" if comparison.rows[0].kind == "video" else "image"
    lost = len(comparison.failed)
    if lost == len(comparison.rows):
        return f"nothing was compared with {comparison.arguments[0]}"
    good = [row for row in comparison.rows if not row.failed]
    count = counted(len({row.item for row in good}), kind)
    if len(comparison.labels) > 2:
        count = f"{counted(len(good), 'result')} of {count}"
    against = f"{count} compared with {comparison.arguments[0]}" + (f", {lost} not compared" if lost else "")
    return f"{against}. {'. '.join(protocol)}."


def _remarks(comparison: Comparison) -> list[str]:
    """Return what the table does not say: worst frames, and the notes, equal ones once."""
    lines = []
    for row in comparison.rows:
        if row.film is not None and (worst := row.film.worst(_WORST)):
            psnr = row.film.numbers["psnr_y"]
            frames = ", ".join(f"{row.film.seconds[i]:.3f} s ({psnr[i]:.2f} dB)" for i in worst)
            lines.append(f"{comparison.labels[row.column]}: lowest PSNR-Y at {frames}")
    notes: dict[str, list[str]] = {}
    for row in comparison.rows:
        name = row.item if len(comparison.labels) == 2 and row.kind == "picture" else comparison.labels[row.column]
        for note in row.notes:
            notes.setdefault(note, []).append(name)
    for note, names in notes.items():
        more = f" and {len(names) - 2} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:2] if more else names)}{more}: {note}")
    return lines
