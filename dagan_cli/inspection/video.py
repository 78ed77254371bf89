"""Compare a video output with its input: first the headers, then every frame, then the packets of other streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from dagan_cli.errors import BadInput
from dagan_cli.inspection import kept
from dagan_cli.inspection.checks import Check, check, seconds, size_check
from dagan_cli.inspection.frames import FrameComparison, Timed, timed
from dagan_cli.inspection.glance import Glances, grid_for
from dagan_cli.inspection.headers import chapters, colour_tags, geometry, hdr10, pixels, tags
from dagan_cli.inspection.inventory import Contents, contents, fates, read_packets
from dagan_cli.inspection.kept import joined_clock, marks_in
from dagan_cli.inspection.streams import OtherStreams, verify_streams
from dagan_cli.media.container import CONTAINERS
from dagan_cli.media.gaps import Gaps
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.pixel_shape import squared
from dagan_cli.media.video.source import open_video
from dagan_cli.prefetch import prefetch
from dagan_cli.upscale.request import Part

Tell = Callable[[int, int | None], None]  # frames done, and their total if known

_MICROSECOND = Fraction(1, 1_000_000)  # seconds
_HALF_MILLISECOND = Fraction(1, 2000) + Fraction(1, 10**6)  # rounding of Matroska, and a margin for arithmetic
_MILLISECOND = 2 * _HALF_MILLISECOND
_HEADER = Fraction(1, 10)  # seconds; tolerance of the duration in a header


def verify_video(source: Path, output: Path, part: Part, *, sound: bool, tell: Tell) -> tuple[list[Check], float]:
    """Return the rows, and the factor between the sizes. Without `sound` the output need not hold audio.

    Raises BadInput for unreadable files.
    """
    before, after = _info(source), _info(output)
    held, there = contents(source), contents(output)
    stored, size = (before.width, before.height), (after.width, after.height)
    shown = squared(*stored, before.sample_aspect_ratio)
    is_squared = shown != stored and after.sample_aspect_ratio in (None, 1)  # then the size must make up for it
    sizes, factor = size_check(shown if is_squared else stored, size, slack=1)
    rows = [sizes, *geometry(before, after, there, is_squared=is_squared), pixels(before, after)]

    seen, clock = marks_in(source, before.stream), joined_clock(source, before.stream)
    unstretched = tuple(b * a / s for b, a, s in zip(stored, size, shown, strict=True)) if is_squared else size
    rows += kept.marks(seen, marks_in(output, after.stream), (stored, unstretched))
    tolerance = max(before.time_base, after.time_base)
    if "matroska" in there.container:
        tolerance = min(tolerance, _HALF_MILLISECOND)
    frames = FrameComparison(
        trimmed=not part.is_whole,
        origins=there.start - held.start,
        start=held.start,
        tolerance=min(tolerance, _MILLISECOND),  # the ticks of an AVI file are whole frames
        size=size,
    )
    matrix = after.layout.matrix if before.layout.chroma == "rgb" else before.layout.matrix
    grid = grid_for(min(before.width, after.width), min(before.height, after.height))
    left = Glances(source, before.stream, grid, matrix, marks=seen, clock=clock)
    right = Glances(output, after.stream, grid, matrix)
    total = part.frames or (before.frames if part.is_whole else None)
    gaps = Gaps(_MICROSECOND, held.start)
    with prefetch(right) as found:
        due = timed(left, part, held.start, 1 / before.rate, stands_still=before.stands_still)
        frames.run(_followed(due, gaps), found, lambda done: tell(done, total))
    if frames.first is None or frames.last is None:
        raise BadInput(f"{source} has no frame in this part", hint="check --start and --end")
    if frames.out_first is not None:
        rows.append(colour_tags(before, after, frames.first.glance.said, frames.out_first.said))
    rows += hdr10(before, after, there.streams[after.stream].codec)
    rows += [*_transparency(frames, output), *frames.checks(), kept.hidden(output, after.stream), *_damage(left, right)]
    codecs = held.streams[before.stream].codec, there.streams[after.stream].codec
    rows += kept.captions((source, output), (before.stream, after.stream), codecs, trimmed=frames.trimmed, clock=clock)
    rows += [Check("the input", "", "", "note", warning) for warning in gaps.warnings]
    if clock is not None:
        rows.append(Check("clock of the input", "", f"jumps {clock.jumps}x", "note", "compared as if it did not"))

    others = OtherStreams(
        paths=(source, output),
        before=held,
        after=there,
        pictures=(before.stream, after.stream),
        clock=clock,
        before_packets=read_packets(source, _others(held, before.stream), clock),
        after_packets=read_packets(output, _others(there, after.stream)),
        shift=frames.shift,
        begin=frames.first.time,
        end=frames.ends[0] or frames.last.time + 1 / before.rate,
        trimmed=frames.trimmed,
        tolerance=tolerance,
    )
    kept_out = frozenset() if sound else frozenset({"audio"})
    lost = frozenset(index for index, fate in fates(source, output.suffix).items() if fate == "left out")
    rows += verify_streams(others, kept_out, lost)
    rows += chapters(held, there, frames.shift, others.end + frames.shift, frames.trimmed)
    rows += [*tags(held, there), *_duration(others, frames)]
    rows += [Check("the input", "", "", "note", warning) for warning in before.warnings]
    return rows, factor


def _info(path: Path) -> VideoInfo:
    with open_video(path) as video:
        return video.info


def _others(held: Contents, pictures: int) -> list[int]:
    return [stream.index for stream in held.streams if stream.index != pictures]


def _transparency(frames: FrameComparison, output: Path) -> Iterator[Check]:
    if frames.first is None or frames.out_first is None or frames.first.glance.cells.alpha is None:
        return
    if frames.out_first.cells.alpha is not None:
        yield check("transparency", "kept", "kept")
    elif not frames.is_seen_through:
        yield check("transparency", "solid throughout", "left out", fine=True)
    elif CONTAINERS.get(output.suffix.lower()) == "mp4":
        yield Check("transparency", "kept", "missing", "note", "no codec of mp4 supports it")
    else:
        yield Check("transparency", "kept", "missing", "lost")


def _followed(frames: Iterable[Timed], gaps: Gaps) -> Iterator[Timed]:
    """Yield the frames of the input, and take note of their times."""
    for frame in frames:
        gaps.follow(round(frame.time / _MICROSECOND))
        yield frame


def _damage(source: Glances, output: Glances) -> Iterator[Check]:
    if source.damaged_packets or source.concealed:
        words = f"{source.damaged_packets} damaged packets, {source.concealed} frames with concealed errors"
        yield Check("damage of the input", "none", words, "note", "only decodable frames were compared")
    words = f"{output.damaged_packets} damaged packets, {output.concealed} frames with concealed errors"
    fine = not output.damaged_packets and not output.concealed
    yield check("damage of the output", "none", "none" if fine else words)


def _duration(others: OtherStreams, frames: FrameComparison) -> Iterator[Check]:
    """Compare the duration in the output's header, which players show, with the packets in the file."""
    there = others.after
    begins, ends = _span(others, frames, ("audio",))
    everything = _span(others, frames, ("audio", "subtitle"))
    if there.duration is None:
        yield Check("duration in the header", seconds(ends), "none", "differs")
        return
    due = {ends, everything[1], ends - begins, everything[1] - everything[0]}  # from 0 or from the first packet
    fine = any(abs(there.duration - length) <= _HEADER for length in due)
    yield check("duration in the header", seconds(ends), seconds(there.duration), fine=fine)


def _span(others: OtherStreams, frames: FrameComparison, kinds: tuple[str, ...]) -> tuple[Fraction, Fraction]:
    """Return the first start and the last end among the output's frames and its streams of these kinds."""
    first = frames.out_first.time if frames.out_first else None
    last = frames.out_last.time if frames.out_last else None
    end = frames.ends[1] or last
    begins, ends = [first or Fraction(0)], [end or Fraction(0)]
    for stream in others.after.streams:
        packets = others.after_packets.get(stream.index)
        if packets and len(packets) and stream.kind in kinds:
            begins.append(min(packets.starts) * packets.tick)
            ends.append(max(packets.ends) * packets.tick)
    return min(begins), max(ends)
