"""Compare the headers of a video output with those of its input: geometry, colour, tags, chapters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import zip_longest

from dagan_cli.inspection.checks import Check, check, seconds
from dagan_cli.inspection.inventory import Chapter, Contents
from dagan_cli.media.video.info import HdrLight, VideoInfo
from dagan_cli.planes import HALVINGS, ColourTags, specified_tags, tag_names

_MP4_TAGS = {  # tags of a file that mp4 and mov keep
    *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping"),
    *("lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc"),
    *("creation_time", "timecode"),
}
_NEVER = "1970-01-01T00:00:00"  # an unset creation time
_NUMBER = re.compile(r"[+-]\d+(?:\.\d+)?")
_CHAPTER = Fraction(1, 500)  # seconds; chapter times have a resolution of a millisecond or finer
_LIGHT = Fraction(1, 10000)  # tolerance of a chromaticity and of cd/m2: encoders quantize them


def geometry(before: VideoInfo, after: VideoInfo, there: Contents, *, is_squared: bool) -> Iterator[Check]:
    """Check how players transform the stored frame: stretch, rotate, mirror, shift.

    `is_squared`: the pixels were made square, and the size must make up for it.
    """
    ratios = [info.sample_aspect_ratio or Fraction(1) for info in (before, after)]
    if is_squared:
        yield Check("sample aspect ratio", str(ratios[0]), str(ratios[1]), "note", "made square, as --square does")
    else:
        fine = abs(ratios[0] - ratios[1]) <= ratios[0] / 1000  # encoders store it as 16-bit numbers
        yield check("sample aspect ratio", *ratios, fine=fine)
    matrices = [info.display_matrix for info in (before, after)]
    turns = [_turn(matrix) for matrix in matrices]
    yield check("turned and mirrored", *map(_turn_in_words, turns), fine=turns[0] == turns[1])
    if matrices[0] and matrices[1] and "matroska" not in there.container:
        offsets = [[value / 65536 for value in matrix[6:8]] for matrix in matrices if matrix]
        growth = [after.width / before.width, after.height / before.height]
        if turns[0][0] == 0 == turns[0][3]:  # turned by 90 degrees
            growth.reverse()
        fine = all(abs(a * factor - b) <= 1 for a, b, factor in zip(*offsets, growth, strict=True))
        yield check("offset of the turned picture", *(f"{x:g}, {y:g}" for x, y in offsets), fine=fine)


def _turn(matrix: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the rotation, mirroring and stretch of a display matrix, in hundredths."""
    return tuple(round(matrix[i] / 655.36) for i in (0, 1, 3, 4)) if matrix else (100, 0, 0, 100)


def _turn_in_words(turn: tuple[int, ...]) -> str:
    known: dict[tuple[int, ...], str] = {
        (100, 0, 0, 100): "not at all",
        (0, 100, -100, 0): "by 90 degrees",
        (-100, 0, 0, -100): "by 180 degrees",
        (0, -100, 100, 0): "by 270 degrees",
        (-100, 0, 0, 100): "left to right",
        (100, 0, 0, -100): "upside down",
    }
    return known.get(turn, " ".join(f"{value / 100:g}" for value in turn))


def pixels(before: VideoInfo, after: VideoInfo) -> Check:
    """Check bit depth and chroma resolution; transparency is checked in the frames themselves."""
    halved = [HALVINGS[info.layout.chroma] for info in (before, after)]
    coarser = any(b > a for a, b in zip(*halved, strict=True)) or after.layout.chroma == "gray"
    coarser = coarser and before.layout.chroma != "gray"
    deep = after.layout.depth >= min(before.layout.depth, 12)
    expected = f"{before.pix_fmt} or better"
    if coarser and deep and before.layout.chroma in ("411", "410"):
        return Check("pixel format", expected, after.pix_fmt, "note", "encoders do not support this chroma subsampling")
    return check("pixel format", expected, after.pix_fmt, fine=deep and not coarser)


def colour_tags(before: VideoInfo, after: VideoInfo, was: ColourTags, now: ColourTags) -> Check:
    """Check the tags; `was` and `now` are declared by the first frames. A tag the input lacks may be guessed."""
    guessed = before.layout.tags
    if before.layout.chroma != "rgb" and after.layout.chroma == "rgb":
        guessed = ColourTags(range=2, matrix=0, primaries=guessed.primaries, transfer=guessed.transfer)
    due, said, read = tag_names(guessed), specified_tags(was), tag_names(after.layout.tags)
    if before.layout.chroma == "rgb" and after.layout.chroma != "rgb":  # any matrix is fine if it is declared
        due |= {name: read[name] for name in ("matrix", "range")}
        due |= {name: read[name] for name in ("primaries", "transfer") if name not in said}
    if before.layout.chroma == "gray" and "range" not in said:
        due["range"] = read["range"]
    unsaid = [name for name in due if name not in specified_tags(now)]
    wrong = [name for name in due if not _mean_one(name, read[name], due[name]) or (name in said and name in unsaid)]
    expected = " ".join(due.values())
    found = " ".join(f"{value} (undeclared)" if name in unsaid else value for name, value in read.items())
    guesses = ", ".join(name for name in due if name not in said)
    remark = f"the input does not declare: {guesses}" if guesses else ""
    what = "colour: range, matrix, primaries, transfer"
    if wrong == ["range"] and "range" not in unsaid:  # if it were wrong, the frames would differ
        return Check(what, expected, found, "note", "the range was converted")
    return check(what, expected, found, fine=not wrong, remark=remark)


def _mean_one(name: str, a: str, b: str) -> bool:
    """True if two tags are equal in effect: both names of the matrix of BT.601 stand for the same numbers."""
    return a == b or (name == "matrix" and {a, b} == {"bt470bg", "smpte170m"})


def hdr10(before: VideoInfo, after: VideoInfo, codec: str) -> Iterator[Check]:
    """Check mastering display and light level; `codec` is that of the output."""
    if before.hdr is None and after.hdr is None:
        return
    due, found = _light_in_words(before.hdr), _light_in_words(after.hdr)
    if after.hdr is None:
        held = codec in ("h264", "hevc", "av1")
        yield Check("HDR10 metadata", due, found, "lost" if held else "note", "" if held else f"{codec} cannot hold it")
    else:
        yield check("HDR10 metadata", due, found, fine=before.hdr is not None and _alike(before.hdr, after.hdr))


def _alike(a: HdrLight, b: HdrLight) -> bool:
    if a.content != b.content or (a.mastering is None) != (b.mastering is None):
        return False
    pairs = zip(a.mastering or (), b.mastering or (), strict=True)
    return all(abs(x - y) <= _LIGHT * max(1, x / 100) for x, y in pairs)


def _light_in_words(hdr: HdrLight | None) -> str:
    if hdr is None:
        return "none"
    words = []
    if hdr.mastering:
        *points, low, high = map(float, hdr.mastering)
        words.append(f"{low:g} to {high:g} cd/m2, {' '.join(f'{point:.4g}' for point in points)}")
    if hdr.content:
        words.append(f"MaxCLL {hdr.content[0]}, MaxFALL {hdr.content[1]}")
    return "; ".join(words)


def chapters(held: Contents, there: Contents, shift: Fraction, end: Fraction, trimmed: bool) -> Iterator[Check]:
    """Check starts and titles; different ends are a note, because few containers keep them."""
    due = [Chapter(c.start + shift, c.end + shift, c.title) for c in held.chapters]
    if trimmed:
        due = [Chapter(max(c.start, Fraction(0)), min(c.end, end), c.title) for c in due if c.end > 0 and c.start < end]
        if due and not there.chapters:
            yield Check("chapters", str(len(due)), "0", "note", "they are not kept for a part of a video")
            return
    if not due and not there.chapters:
        return
    for number, (a, b) in enumerate(zip_longest(due, there.chapters), 1):
        if a is None or b is None or a.title != b.title or abs(a.start - b.start) > _CHAPTER:
            words = (f"{number}: {seconds(c.start)} {c.title}" if c else f"no {number}" for c in (a, b))
            yield check("chapters", *words, fine=False)
            return
    if any(abs(a.end - b.end) > _CHAPTER for a, b in zip(due, there.chapters, strict=True)):
        yield Check("chapters", str(len(due)), str(len(due)), "note", "starts and titles are equal, ends differ")
    else:
        yield check("chapters", len(due), len(there.chapters))


def tags(held: Contents, there: Contents) -> Iterator[Check]:
    """Check the tags of the file; the output may add new ones."""
    found = _folded(there.tags)
    wrong, limited = [], []
    for name, value in _folded(held.tags).items():
        if _is_kept(name, value, found.get(name)):
            continue
        free = "mp4" in there.container and name not in found and name not in _MP4_TAGS
        (limited if free else wrong).append(f"{name}: {found.get(name, 'missing')}")
    expected = f"{len(held.tags)} kept"
    if wrong:
        yield Check("tags of the file", expected, "; ".join(wrong), "differs")
    elif limited:
        yield Check("tags of the file", expected, "; ".join(limited), "note", "the container cannot store them")
    elif held.tags:
        yield check("tags of the file", expected, expected)


def _is_kept(name: str, value: str, found: str | None) -> bool:
    if name.startswith("location") and found:  # mp4 stores degrees and metres in steps of 1/65536
        pairs = zip_longest(*(map(float, _NUMBER.findall(place)) for place in (value, found)), fillvalue=1e9)
        return all(abs(a - b) < 1 / 65000 for a, b in pairs)
    return found == value or (name == "creation_time" and value.startswith(_NEVER))


def _folded(tags: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in tags.items()}
