"""Verify how players show the frames of a video: crop, projection, views for two eyes, captions, hidden frames."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av.error import FFmpegError
from av.stream import Disposition

from dagan_cli.inspection.checks import Check, check
from dagan_cli.inspection.raw.hidden import hidden_frames
from dagan_cli.inspection.raw.transport import JoinedClock, Mover, Span
from dagan_cli.media.captions import captions_in, spoken
from dagan_cli.media.container import open_input
from dagan_cli.media.marks import Marks, read_marks

_WITH_CAPTIONS = ("h264", "hevc", "mpeg2video", "mpeg1video")  # codecs whose packets are searched
_HELD = ("h264", "hevc", "mpeg2video", "av1")  # codecs that can hold captions


def video_number(path: Path, stream: int) -> int:
    """Return the position of a stream among the video streams of a file, covers excluded. Raises BadInput."""
    with open_input(path) as container:
        videos = [one.index for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    return videos.index(stream)


def marks_in(path: Path, stream: int) -> Marks:
    """Return the marks of a video stream, by its index; none if they cannot be read."""
    try:
        return read_marks(path, video_number(path, stream))
    except (OSError, ValueError):
        return Marks()


def joined_clock(path: Path, stream: int) -> JoinedClock | None:
    """Return the clock of a transport or program stream that jumps; None for all other files. Raises BadInput."""
    with open_input(path) as container:
        form, number = container.format.name, container.streams[stream].id
        start = Fraction(container.start_time or 0, 10**6)
    if form not in ("mpegts", "mpeg"):
        return None
    clock = JoinedClock(path, number & 0xFF if form == "mpeg" else number, start)
    if not clock.jumps:
        return None
    spans = _spans(path, clock)
    clock.refine(spans.pop(stream), spans.values())
    return clock


def _spans(path: Path, clock: JoinedClock) -> dict[int, list[Span | None]]:
    """Return the span of each video and audio stream in each piece of the clock, by the index of the stream."""
    with open_input(path) as container:
        streams = [one for one in container.streams if one.type in ("video", "audio")]
        spans: dict[int, list[Span | None]] = {one.index: [None] * (clock.jumps + 1) for one in streams}
        places = dict.fromkeys(spans, 0)  # positions of the last packets that have one
        try:
            for packet in container.demux(*streams):
                index, pts, dts = packet.stream_index, packet.pts, packet.dts
                if not packet.size or pts is None or dts is None:
                    continue
                places[index] = places[index] if packet.pos is None else packet.pos
                piece = clock.piece(clock.number(packet.stream.id), places[index])
                due, end = dts + (packet.duration or 0), pts + (packet.duration or 0)
                if before := spans[index][piece]:
                    spans[index][piece] = Span(before.decoded, before.shown, due, max(before.end, end))
                else:
                    spans[index][piece] = Span(dts, pts, due, end)
        except (FFmpegError, IndexError):
            pass  # packets before the damage count
    return spans


def marks(before: Marks, after: Marks, sizes: tuple[tuple[int, int], tuple[float | Fraction, ...]]) -> Iterator[Check]:
    """Check crop, projection and stereo mode.

    `sizes` are those of the frames after cropping; that of the output is not stretched to make pixels square.
    """
    if before.crop or after.crop:
        left, top, right, bottom = before.crop or (0, 0, 0, 0)
        (width, height), size = sizes
        stored = (width + left + right, height + top + bottom)
        uncropped = _is_enlarged(stored, size) and not _is_enlarged((width, height), size)
        expected = f"{width}x{height} of {stored[0]}x{stored[1]}"
        if uncropped:
            yield Check("cropping", expected, f"all of {stored[0]}x{stored[1]}", "lost")
        else:
            yield check(
                "cropping", expected, f"{round(size[0])}x{round(size[1])}", fine=_is_enlarged((width, height), size)
            )
    for what, due, found in (
        ("projection", before.projection, after.projection),
        ("stereo mode", before.stereo, after.stereo),
    ):
        if due and not found:
            yield Check(what, due, "none", "lost")
        elif due or found:
            yield check(what, due or "none", found or "none")


def _is_enlarged(before: tuple[int, int], after: tuple[float | Fraction, ...]) -> bool:
    """True if both sides grew by one factor, each rounded by up to a pixel."""
    low = max((new - 1) / old for old, new in zip(before, after, strict=True))
    return low <= min((new + 1) / old for old, new in zip(before, after, strict=True))


def hidden(output: Path, stream: int) -> Check:
    """Check that players show every frame of the output."""
    what = "frames that players do not show"
    try:
        count = hidden_frames(output, video_number(output, stream))
    except (OSError, ValueError):
        count = None
    if count is None:
        return Check(what, "0", "not checked", "note", "a container or an edit list that is not read")
    return check(what, "0", f"{count}, before 0 or outside the edit list" if count else "0")


def captions(
    paths: tuple[Path, Path],
    streams: tuple[int, int],
    codecs: tuple[str, str],
    trimmed: bool,
    clock: JoinedClock | None,
) -> Iterator[Check]:
    """Check the closed captions inside the frames; of a part, that they are a part of those of the input."""
    if codecs[0] not in _WITH_CAPTIONS:
        return
    due = captions_of(paths[0], streams[0], clock=clock)
    if not due:
        return
    what, expected = "closed captions inside the frames", f"{len(due) // 3} pairs"
    found = captions_of(paths[1], streams[1]) if codecs[1] in _WITH_CAPTIONS else b""
    if not found and codecs[1] not in _HELD:
        yield Check(what, expected, "none", "note", f"{codecs[1]} cannot hold them")
    elif not found and not trimmed:
        yield Check(what, expected, "none", "lost")
    elif not found:
        yield Check(what, expected, "none", "note", "not checked: this part of the input may hold none")
    else:
        yield check(what, expected, f"{len(found) // 3} pairs", fine=found == due or (trimmed and found in due))


def captions_of(path: Path, stream: int, packets: int | None = None, clock: JoinedClock | None = None) -> bytes:
    """Return the captions of a video stream in the order of display, filling left out.

    Of at most `packets` packets. `clock` is that of the file, if it jumps.
    """
    times, pieces, mover = array("q"), [], Mover(clock)
    with open_input(path) as container:
        try:
            for number, packet in enumerate(container.demux(container.streams[stream])):
                if number == packets:
                    break
                mover.move(packet)
                data = bytes(packet) if packet.size else b""
                if b"GA94" in data and (found := spoken(captions_in(data))):
                    times.append(packet.pts if packet.pts is not None else packet.dts or 0)
                    pieces.append(found)
        except (FFmpegError, IndexError):
            pass  # packets before the damage count
    return b"".join(pieces[index] for index in sorted(range(len(pieces)), key=lambda index: (times[index], index)))
