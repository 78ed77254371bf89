"""`dagan probe`: inspect a file, and the output that is planned for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dagan_cli.commands.console import table
from dagan_cli.commands.options import AsJson, Debug, friendly_errors
from dagan_cli.commands.progress import Reporter
from dagan_cli.upscale.events import Advance, Start

Facts = dict[str, Any]
Row = tuple[str, str]


def probe(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An image or a video.")],
    scale: Annotated[float | None, typer.Option("-s", "--scale", help="Scale to plan the output for.")] = 2,
    count: Annotated[
        bool, typer.Option("--count", help="Decode everything, for exact frames, times and damage.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what dagan reads from INPUT, and the output it plans."""
    with friendly_errors(debug):
        from dagan_cli.inspection.probe import probe as probe_
        from dagan_cli.upscale.request import Goal

        with Reporter("auto", quiet=False, verbose=False) as reporter:
            reporter.show(Start(0, 1, source))
            facts = probe_(
                source,
                Goal.of(scale, None),
                count=count,
                tell=lambda done, total: reporter.show(Advance(done, total, "frames")),
            )
        if as_json:
            typer.echo(json.dumps(facts))
            return
        typer.echo(table(["", str(source)], [list(row) for row in probe_text(facts)], left=2))


def probe_text(facts: Facts) -> list[Row]:
    """The facts of `dagan_cli.inspection.probe.probe` in words."""
    rows = list(_video(facts) if facts["kind"] == "video" else _picture(facts))
    result = facts["result"]
    rows.append(("would become", _result(result)))
    rows += [("warning", text) for text in (*facts["warnings"], *result["warnings"])]
    return [row for row in rows if row[1]]


def _video(facts: Facts) -> Iterator[Row]:
    length = "unknown duration" if facts["duration"] is None else f"{facts['duration']:.3f} s"
    yield "container", f"{facts['container']}, {length}, from {facts['start']:.3f} s on"
    picture = facts["picture"]
    yield "picture", f"stream {picture['stream']}: {picture['codec']}, {picture['width']}x{picture['height']}"
    yield "shown as", _shown(picture)
    yield "frames", _frames(picture, facts["counted"])
    yield "damage", _damage(facts["counted"])
    yield "pixels", _pixels(picture)
    yield "colour", _colour(picture["colour"])
    yield "HDR10", _hdr10(picture["hdr10"])
    for stream in facts["streams"]:
        words = [stream["kind"], stream["codec"], stream["language"], stream["title"] and f'"{stream["title"]}"']
        marks = f" ({', '.join(stream['disposition'])})" if stream["disposition"] else ""
        yield f"stream {stream['index']}", f"{' '.join(filter(None, words))}{marks}: {stream['becomes']}"
    for chapter in facts["chapters"]:
        yield "chapter", f"{chapter['start']:.3f} to {chapter['end']:.3f} s: {chapter['title']}"
    for name, value in facts["tags"].items():
        yield "tag", f"{name}: {value}"


def _shown(picture: Facts) -> str:
    words = [f"{picture['shown_width']}x{picture['shown_height']}"]
    words[0] += f" ({picture['shown_width'] / picture['shown_height']:.4g}:1)"
    if picture["sample_aspect_ratio"] != "1":
        words.append(f"pixels {picture['sample_aspect_ratio'].replace('/', ':')}")
    if picture["rotation"]:
        words.append(f"turned by {picture['rotation']} degrees")
    if picture["mirrored"]:
        words.append("mirrored")
    return ", ".join(words)


def _frames(picture: Facts, counted: Facts | None) -> str:
    number = f"{counted['frames']} counted" if counted else f"about {picture['frames'] or 'unknown'}"
    kind = {True: "uneven, on average", False: "even,", None: "perhaps uneven,"}[picture["varies"]]
    words = f"{number}; {kind} {picture['rate']:.6g} a second"
    if counted and counted["longest"] is not None:
        words += f"; {counted['shortest'] * 1000:.4g} to {counted['longest'] * 1000:.4g} ms apart"
    return words


def _damage(counted: Facts | None) -> str:
    if counted is None:
        return ""
    words = [counted["shortfall"]] if counted["shortfall"] else []
    if counted["damaged_packets"] and not words:
        words.append(f"{counted['damaged_packets']} damaged packets")
    if counted["repaired_times"]:
        words.append(f"{counted['repaired_times']} time stamps missing or not increasing")
    return "; ".join(words) or "none"


def _pixels(picture: Facts) -> str:
    named = {"rgb": "RGB", "gray": "grey"}
    chroma = named.get(picture["chroma"], ":".join(picture["chroma"]))
    if picture["chroma"] not in ("rgb", "gray", "444"):
        chroma += f" ({picture['siting']})"
    alpha = "transparency" if picture["transparency"] else "no transparency"
    lines = "interlaced" if picture["interlaced"] else "whole pictures"
    return f"{picture['pixel_format']}: {picture['depth']} bits, {chroma}, {alpha}, {lines}"


def _colour(colour: dict[str, Facts]) -> str:
    words = (f"{name} {tag['is']}{'' if tag['said'] else ' (a guess)'}" for name, tag in colour.items())
    return ", ".join(words)


def _hdr10(hdr: Facts | None) -> str:
    words = []
    if hdr and hdr["mastering"]:
        words.append(f"mastered on {hdr['mastering']['lowest']:g} to {hdr['mastering']['highest']:g} cd/m2")
    if hdr and hdr["content"]:
        words.append(f"MaxCLL {hdr['content']['max_cll']}, MaxFALL {hdr['content']['max_fall']}")
    return ", ".join(words)


def _picture(facts: Facts) -> Iterator[Row]:
    loss = "lossless" if facts["lossless"] else "lossy"
    yield "picture", f"{facts['format']}, {facts['width']}x{facts['height']}, {loss}"
    kinds = {1: "grey", 2: "grey and transparency", 3: "RGB", 4: "RGB and transparency"}
    stored = f", stored as {facts['mode']}" if facts["mode"] else ""
    depth = "32-bit float" if facts["depth"] == 32 else f"{facts['depth']} bits"
    yield "samples", f"{kinds[facts['channels']]}, {depth}{stored}"
    if facts["orientation"] != 1:
        yield "orientation", f"EXIF {facts['orientation']}: read upright"
    if facts["frames"] > 1:
        times = facts["durations"]
        length = f", {sum(times) / 1000:.3f} s, {min(times):g} to {max(times):g} ms each" if times else ""
        plays = "" if facts["plays"] is None else f", plays {facts['plays'] or 'for ever'}"
        yield "frames" if times else "pages", f"{facts['frames']}{length}{plays}"
    if facts["counted"]:
        yield "decoded", f"{facts['counted']['frames']} without damage"
    yield "colour profile", facts["profile"] or ""
    yield "metadata", ", ".join(f"{name} {size} bytes" for name, size in facts["metadata"].items() if size)
    if facts["dpi"]:
        yield "dots per inch", "x".join(f"{value:.4g}" for value in facts["dpi"])


def _result(result: Facts) -> str:
    kind = [result.get("codec"), result.get("pixel_format"), result.get("format")]
    depth = f"{result['depth']} bits" if "depth" in result else None
    words = [result["name"], f"{result['width']}x{result['height']}", *kind, depth]
    return ", ".join(word for word in words if word)
