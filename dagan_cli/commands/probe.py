"""`dagan probe`: inspect a file, and the output that is planned for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dagan_cli.commands.console import echo, in_json
from dagan_cli.commands.options import AsJson, Debug, Square, friendly_errors
from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.commands.shown.tables import table
from dagan_cli.upscale.events import Advance, Start

if TYPE_CHECKING:
    from dagan_cli.inspection.facts import (
        ColourTag,
        CountedVideo,
        Hdr10,
        ImageFacts,
        MainStream,
        Planned,
        StreamFacts,
        VideoFacts,
    )

Row = tuple[str, str]


def probe(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An image or a video.")],
    scale: Annotated[
        float | None, typer.Option("-s", "--scale", help="Scale to plan the output for; default: 4.")
    ] = None,
    square: Square = False,
    count: Annotated[
        bool, typer.Option("--count", help="Decode everything, for exact frames, times and damage.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what dagan reads from INPUT, and the output it plans."""
    with friendly_errors(debug):
        from dagan_cli.upscale.request import Goal

        goal = Goal.of(scale, None, square=square)

        from dagan_cli.inspection.probe import probe as probe_

        with Reporter("auto", quiet=False, verbose=False) as reporter:
            reporter.show(Start(0, 1, source))
            facts = probe_(
                source,
                goal,
                count=count,
                tell=lambda done, total: reporter.show(Advance(done, total, "frames")),
            )
        if as_json:
            echo(in_json(facts.to_json()))
            return
        echo(table(["", str(source)], [list(row) for row in probe_text(facts)], left=2))


def probe_text(facts: VideoFacts | ImageFacts) -> list[Row]:
    """Return the facts as rows of a name and words, without rows that have none."""
    rows = list(_video(facts) if facts.kind == "video" else _image(facts))
    rows.append(("planned output", _planned(facts.result)))
    rows += [("warning", text) for text in (*facts.warnings, *facts.result.warnings)]
    return [row for row in rows if row[1]]


def _video(facts: VideoFacts) -> Iterator[Row]:
    length = "unknown duration" if facts.duration is None else f"{facts.duration:.3f} s"
    yield "container", f"{facts.container}, {length}, starts at {facts.start:.3f} s"
    main = facts.picture
    yield "video", f"stream {main.stream}: {main.codec}, {main.width}x{main.height}"
    yield "shown as", _shown(main)
    yield "frames", _frames(main, facts.counted)
    yield "damage", _damage(facts.counted)
    yield "pixels", _pixels(main)
    yield "looks like", facts.looks.describe()
    yield "colour", _colour(main.colour)
    yield "HDR10", _hdr10(main.hdr10)
    yield "captions", "closed captions inside the frames" if main.captions else ""
    yield "projection", main.projection or ""
    yield "stereo mode", main.stereo or ""
    for stream in facts.streams:
        yield f"stream {stream.index}", _stream(stream)
    for chapter in facts.chapters:
        yield "chapter", f"{chapter.start:.3f} to {chapter.end:.3f} s: {chapter.title}"
    for name, value in facts.tags.items():
        yield "tag", f"{name}: {value}"


def _shown(main: MainStream) -> str:
    words = [f"{main.shown_width}x{main.shown_height} ({main.shown_width / main.shown_height:.4g}:1)"]
    if main.crop:
        left, top, right, bottom = main.crop
        words.append(f"cropped by {left}, {top}, {right}, {bottom} (left, top, right, bottom)")
    if main.sample_aspect_ratio != "1":
        words.append(f"pixel aspect ratio {main.sample_aspect_ratio.replace('/', ':')}")
    if main.rotation:
        words.append(f"rotated by {main.rotation} degrees")
    if main.mirrored:
        words.append("mirrored")
    return ", ".join(words)


def _frames(main: MainStream, counted: CountedVideo | None) -> str:
    number = f"{counted.frames} counted" if counted else f"about {main.frames}" if main.frames else "unknown number"
    kind = {True: "variable rate, on average", False: "constant rate,", None: "perhaps variable rate,"}[main.varies]
    words = f"{number}; {kind} {main.rate:.6g} fps"
    if counted and counted.shortest is not None and counted.longest is not None:
        words += f"; {counted.shortest * 1000:.4g} to {counted.longest * 1000:.4g} ms apart"
    return words


def _damage(counted: CountedVideo | None) -> str:
    if counted is None:
        return ""
    words = [counted.shortfall] if counted.shortfall else []
    if counted.damaged_packets and not words:
        words.append(f"{counted.damaged_packets} damaged packets")
    if counted.repaired_times:
        words.append(f"{counted.repaired_times} timestamps missing or not increasing")
    return "; ".join(words) or "none"


def _pixels(main: MainStream) -> str:
    named = {"rgb": "RGB", "gray": "grey"}
    chroma = named.get(main.chroma, ":".join(main.chroma))
    if main.chroma not in ("rgb", "gray", "444"):
        chroma += f" ({main.siting})"
    alpha = "transparency" if main.transparency else "no transparency"
    lines = "interlaced" if main.interlaced else "progressive"
    return f"{main.pixel_format}: {main.depth} bits, {chroma}, {alpha}, {lines}"


def _colour(colour: dict[str, ColourTag]) -> str:
    return ", ".join(f"{name} {tag.value}{'' if tag.declared else ' (guessed)'}" for name, tag in colour.items())


def _hdr10(hdr: Hdr10 | None) -> str:
    words = []
    if hdr and hdr.mastering:
        words.append(f"mastered on {hdr.mastering.lowest:g} to {hdr.mastering.highest:g} cd/m2")
    if hdr and hdr.content:
        words.append(f"MaxCLL {hdr.content.max_cll}, MaxFALL {hdr.content.max_fall}")
    return ", ".join(words)


def _stream(stream: StreamFacts) -> str:
    words = [stream.kind, stream.codec, stream.language, stream.title and f'"{stream.title}"']
    marks = f" ({', '.join(stream.disposition)})" if stream.disposition else ""
    return f"{' '.join(filter(None, words))}{marks}: {stream.becomes}"


def _image(facts: ImageFacts) -> Iterator[Row]:
    loss = "lossless" if facts.lossless else "lossy"
    yield "image", f"{facts.format}, {facts.width}x{facts.height}, {loss}"
    kinds = {1: "grey", 2: "grey and transparency", 3: "RGB", 4: "RGB and transparency"}
    stored = f", stored as {facts.mode}" if facts.mode else ""
    depth = "32-bit float" if facts.depth == 32 else f"{facts.depth} bits"
    yield "samples", f"{kinds[facts.channels]}, {depth}{stored}"
    yield "looks like", facts.looks.describe() if facts.looks else ""
    if facts.orientation != 1:
        yield "orientation", f"EXIF {facts.orientation}: read upright"
    if facts.frames > 1:
        times = facts.durations
        length = f", {sum(times) / 1000:.3f} s, {min(times):g} to {max(times):g} ms each" if times else ""
        plays = "" if facts.plays is None else f", plays {facts.plays or 'forever'}"
        yield "frames" if times else "pages", f"{facts.frames}{length}{plays}"
    if facts.counted:
        yield "decoded", f"{facts.counted.frames} without damage"
    yield "colour profile", facts.profile or ""
    yield "metadata", ", ".join(f"{name} {size} bytes" for name, size in facts.metadata.items() if size)
    if facts.dpi:
        yield "dots per inch", "x".join(f"{value:.4g}" for value in facts.dpi)


def _planned(result: Planned) -> str:
    depth = None if result.depth is None else f"{result.depth} bits"
    size = f"{result.width}x{result.height}"
    return ", ".join(
        filter(None, [result.name, size, result.model, result.codec, result.pixel_format, result.format, depth])
    )
