"""Compare audio, subtitles, covers and fonts of an output with those of its input: presence, content and times."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np

from dagan_cli.inspection.checks import Check, check, milliseconds, seconds
from dagan_cli.inspection.cues import Cue
from dagan_cli.inspection.inventory import Contents, Packets, StreamContents, sound_span
from dagan_cli.inspection.raw.transport import JoinedClock
from dagan_cli.media.streams.tags import mac_language

_EAR = Fraction(1, 1000)  # seconds: a shorter offset is not audible
_CUE = Fraction(1, 100)  # seconds: time resolution of the coarsest subtitle formats
_BEGIN = Fraction(1, 50)  # seconds; tolerance for the start of re-encoded audio: a smaller offset is not noticeable
_END = Fraction(1, 10)  # seconds; tolerance for its end, which is padded to whole packets
_REBUILT = ("bin_data", "tmcd", "unknown")  # data streams that a container generates from chapters and time codes


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherStreams:
    """Streams to compare, and the relation between the times of the two files."""

    paths: tuple[Path, Path]  # the input, the output
    before: Contents
    after: Contents
    pictures: tuple[int, int]  # indices of the streams that are compared frame by frame
    before_packets: dict[int, Packets]  # by stream index, without the main video
    after_packets: dict[int, Packets]
    shift: Fraction  # seconds added to the times of the input
    begin: Fraction  # start and end of the video, in seconds of the input
    end: Fraction
    clock: JoinedClock | None = None  # of the input, if it jumps
    trimmed: bool  # only packets within the span of the video are kept
    tolerance: Fraction  # seconds; tolerance of frame times


def verify_streams(others: OtherStreams, kept_out: frozenset[str], not_held: frozenset[int]) -> list[Check]:
    """Return a row for each stream of the input, and one for the labels of all streams.

    `kept_out` are kinds of streams that were dropped on request. `not_held` are the indices of streams of the input
    that the output's container cannot hold in any form.
    """
    sources = [s for s in others.before.streams if s.index in others.before_packets and s.kind not in kept_out]
    sources = [s for s in sources if not (s.kind == "data" and s.codec in _REBUILT)]
    pairs = _paired(sources, others)
    rows = []
    for source in sources:
        found = pairs.get(source.index)
        what = f"stream {source.index}, {source}"
        if found is None:
            rows.append(_missing(what, source, not_held, others.trimmed))
        else:
            rows += _compare(what, source, found, others)
    order = [pairs[s.index].index for s in sources if s.index in pairs and s.kind in ("audio", "subtitle")]
    if any(a > b for a, b in pairwise(order)):
        rows.append(check("order of streams", "as in the input", ", ".join(map(str, order)), fine=False))
    same = [(others.before.streams[others.pictures[0]], others.after.streams[others.pictures[1]])]
    same += [(source, pairs[source.index]) for source in sources if source.index in pairs]
    rows.append(_labels(same, others.after.container))
    return rows


def _paired(sources: Sequence[StreamContents], others: OtherStreams) -> dict[int, StreamContents]:
    """Match streams of the output to those of the input: by content, then by codec and language, then by kind alone."""
    before, after = others.before_packets, others.after_packets
    same: tuple[Callable[[StreamContents, StreamContents], bool], ...] = (
        lambda a, b: before[a.index].sha256 == after[b.index].sha256,
        lambda a, b: a.is_text and _words(before[a.index]) == _words(after[b.index]),
        lambda a, b: (a.codec, a.language, a.title) == (b.codec, b.language, b.title),
        lambda a, b: (a.codec, a.language) == (b.codec, b.language),
        lambda a, b: a.language == b.language,
        lambda a, b: a.codec == b.codec,
    )
    left = [stream for stream in others.after.streams if stream.index in after]
    pairs: dict[int, StreamContents] = {}
    for is_same in same:
        for source in sources:
            if source.index not in pairs:
                match = next(
                    (one for one in left if _are_of_a_kind(source, one, others) and is_same(source, one)), None
                )
                if match is not None:
                    pairs[source.index] = match
                    left.remove(match)
    return pairs


def _are_of_a_kind(source: StreamContents, found: StreamContents, others: OtherStreams) -> bool:
    if (
        source.kind == "cover" and found.kind == "attachment"
    ):  # Matroska's, of a type that FFmpeg does not show as cover
        return others.before_packets[source.index].sha256 == others.after_packets[found.index].sha256
    return source.kind == found.kind


def _words(packets: Packets) -> list[tuple[str, ...]]:
    return [cue.lines for cue in packets.cues or ()]


def _missing(what: str, source: StreamContents, not_held: frozenset[int], trimmed: bool) -> Check:
    if source.kind == "video" and trimmed:
        return Check(what, "kept", "missing", "note", "a part without a key frame cannot be copied")
    if source.kind == "data":
        return Check(what, "left out", "left out", "note", "neither audio, video nor subtitles")
    if source.index in not_held:
        return Check(what, "kept", "missing", "note", "the output's container cannot hold it")
    return Check(what, "kept", "missing", "lost")


def _compare(what: str, source: StreamContents, found: StreamContents, others: OtherStreams) -> list[Check]:
    before, after = others.before_packets[source.index], others.after_packets[found.index]
    if source.is_text and found.is_text:
        return [_compare_cues(what, source, found, others)]
    if source.kind in ("cover", "attachment"):
        return [check(what, f"sha256 {before.sha256[:8]}", f"sha256 {after.sha256[:8]}")]
    if source.codec != found.codec:
        return [_compare_lengths(what, source, found, others)]
    tolerance = max(before.tick, after.tick, _EAR) + others.tolerance
    expected = f"{_packets(len(before))}, sha256 {before.sha256[:8]}"
    at = _find(after.digests, before.digests)
    if at is None:
        if before.sha256 != after.sha256 and others.trimmed and source.codec.startswith("pcm"):
            return [_compare_lengths(what, source, found, others)]  # PCM samples have no fixed packets
        if before.sha256 != after.sha256:
            return [check(what, expected, f"{_packets(len(after))}, {_difference(before, after)}")]
        ends = [(before.starts[0], after.starts[0]), (before.ends[-1], after.ends[-1])]
        offsets = [float(b * after.tick - a * before.tick - others.shift) for a, b in ends]
        row = check(what, expected, "the same bytes", fine=True, remark="split into other packets")
        return [row, _in_time(what, np.array(offsets), tolerance)]
    missing = len(before) - len(after)
    found_words = f"the same {_packets(len(after))}"
    from_a_key_frame = source.kind == "video" and others.trimmed  # it starts at a key frame, wherever that is
    if not from_a_key_frame and (problem := _wrong_span(before, at, at + len(after), others, tolerance)):
        return [check(what, expected, f"{_packets(len(after))}: {problem}", fine=False)]
    hidden = f"{missing} outside the span of the video are left out" if missing else ""
    starts = _seconds_of(before.starts, before.tick)[at : at + len(after)] + float(others.shift)
    if others.clock is not None:
        starts = np.maximum.accumulate(starts)  # at a joint, sound may overlap, but times increase
    offsets = _seconds_of(after.starts, after.tick) - starts
    return [check(what, expected, found_words, fine=True, remark=hidden), _in_time(what, offsets, tolerance)]


def _find(part: array[int], whole: array[int]) -> int | None:
    """Return the index in `whole` at which `part` occurs as one run; None if it does not."""
    if not part:
        return 0
    needle, hay, at = part.tobytes(), whole.tobytes(), -1
    while (at := hay.find(needle, at + 1)) >= 0:
        if at % part.itemsize == 0:
            return at // part.itemsize
    return None


def _difference(before: Packets, after: Packets) -> str:
    pairs = zip_longest(before.digests, after.digests)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
    if index >= len(after):
        return f"the last {len(before) - index} are missing"
    return f"different from packet {index} on"


def _wrong_span(before: Packets, first: int, last: int, others: OtherStreams, tolerance: Fraction) -> str:
    """Return what is wrong if the output holds packets `first` to `last` (excluded) of the input; "" if it is right."""
    begin = others.begin if others.trimmed else -others.shift  # seconds of the input; 0 of the output
    tick = before.tick
    early = [i for i in range(first) if before.ends[i] * tick > begin + tolerance]
    if others.trimmed:  # a packet across the cut may be on either side
        early = [i for i in early if before.starts[i] * tick > begin + tolerance]
    if early:
        return f"{len(early)} are missing at the beginning"
    due = [i for i in range(last, len(before)) if before.ends[i] * tick < others.end - tolerance]
    late = due if others.trimmed else range(last, len(before))
    if late:
        return f"{len(late)} are missing at the end"
    if others.trimmed and last > first:
        over = before.starts[last - 1] * tick - others.end
        under = begin - before.ends[first] * tick
        if max(over, under) > tolerance:
            return f"{seconds(max(over, under))} outside the video"
    return ""


def _in_time(what: str, offsets: np.ndarray, tolerance: Fraction) -> Check:
    """Check the delay of each packet: `offsets` (packets,), seconds."""
    worst = int(np.abs(offsets).argmax()) if len(offsets) else 0
    off = float(offsets[worst]) if len(offsets) else 0.0
    fine = abs(off) <= tolerance
    found = f"{milliseconds(abs(off))} off at most"
    if not fine:
        first = int((np.abs(offsets) > float(tolerance)).argmax())
        found = f"{milliseconds(abs(off))} {'late' if off > 0 else 'early'}, from packet {first} on"
    return check(f"{what}: times", f"within {milliseconds(tolerance)}", found, fine=fine)


def _compare_cues(what: str, source: StreamContents, found: StreamContents, others: OtherStreams) -> Check:
    before, after = others.before_packets[source.index], others.after_packets[found.index]
    due = [_moved(cue, others.shift) for cue in before.cues or ()]
    there = list(after.cues or ())
    if others.trimmed:  # cues across a cut are cut too
        begin, end = others.begin + others.shift, others.end + others.shift
        due = [Cue(max(c.start, begin), min(c.end, end), c.lines) for c in due if c.end > begin and c.start < end]
    converted = f"converted from {source.codec} to {found.codec}: the text is kept, styling may be lost"
    remark = converted if source.codec != found.codec else ""
    expected = f"{len(due)} cues"
    for number, (a, b) in enumerate(zip_longest(due, there), 1):
        if a is None or b is None:
            return check(what, expected, f"{len(there)} cues", remark=remark)
        if a.lines != b.lines:
            shown = " / ".join(b.lines)
            return check(what, " / ".join(a.lines), f"cue {number}: {shown}", remark=remark)
        if max(abs(a.start - b.start), abs(a.end - b.end)) > _CUE:
            due_at, there_at = (f"cue {number} from {seconds(c.start)} to {seconds(c.end)}" for c in (a, b))
            return check(what, due_at, there_at, fine=False, remark=remark)
    return check(what, expected, expected, remark=remark)


def _moved(cue: Cue, shift: Fraction) -> Cue:
    return Cue(cue.start + shift, cue.end + shift, cue.lines)


def _compare_lengths(what: str, source: StreamContents, found: StreamContents, others: OtherStreams) -> Check:
    """Compare start and end of a stream that was re-encoded."""
    spans = []
    for path, stream, packets, clock in (
        (others.paths[0], source, others.before_packets[source.index], others.clock),
        (others.paths[1], found, others.after_packets[found.index], None),
    ):
        whole = (min(packets.starts) * packets.tick, max(packets.ends) * packets.tick) if len(packets) else None
        spans.append(sound_span(path, stream.index, clock) if stream.kind == "audio" else whole)
    due, there = spans
    same = "split into other packets; only start and end were compared"
    remark = same if source.codec == found.codec else f"re-encoded: {source.codec} as {found.codec}"
    if due is None or there is None:
        words = ("nothing" if span is None else "something" for span in spans)
        return check(what, *words, remark=remark)
    begin, end = due
    if others.trimmed:
        begin, end = max(begin, others.begin), min(end, others.end)
    begin, end = max(begin + others.shift, Fraction(0)), end + others.shift
    start = max(there[0], Fraction(0))
    fine = abs(begin - start) <= _BEGIN and abs(end - there[1]) <= _END
    expected, words = (f"from {seconds(a)} to {seconds(b)}" for a, b in ((begin, end), (start, there[1])))
    return Check(what, expected, words, "note" if fine else "differs", remark)


def _labels(pairs: list[tuple[StreamContents, StreamContents]], container: str) -> Check:
    """Compare languages, titles and dispositions of all streams in one row."""
    wrong, limited = [], []
    in_mp4 = "mp4" in container
    for source, found in pairs:
        expected, there = (_label(stream) for stream in (source, found))
        for name in expected:
            if expected[name] == there[name]:
                continue
            if in_mp4 and name == "language" and mac_language(expected[name]) == mac_language(there[name]):
                continue
            if in_mp4 and name == "disposition" and {*found.disposition} == {*source.disposition, "default"}:
                continue  # mp4 marks every enabled track as default
            words = f"stream {source.index} {name}: {there[name] or 'none'} instead of {expected[name] or 'none'}"
            free = in_mp4 and (name == "disposition" or (name == "language" and len(source.language or "") != 3))
            (limited if free or (name == "title" and source.kind in ("attachment", "cover")) else wrong).append(words)
    what = "languages, titles and dispositions"
    if wrong:
        return Check(what, f"of {len(pairs)} streams", "; ".join(wrong), "differs")
    if limited:
        return Check(
            what, f"of {len(pairs)} streams", "; ".join(limited), "note", "the container does not keep all of them"
        )
    return check(what, f"of {len(pairs)} streams", f"of {len(pairs)} streams")


def _label(stream: StreamContents) -> dict[str, str]:
    return {
        "language": stream.language or "",
        "title": stream.title or "",
        "disposition": " ".join(stream.disposition),
    }


def _seconds_of(ticks: array[int], tick: Fraction) -> np.ndarray:
    return np.frombuffer(ticks, np.int64) * float(tick) if ticks else np.zeros(0)


def _packets(count: int) -> str:
    return f"{count} packet{'' if count == 1 else 's'}"
