"""Compare what two image files store, by their bytes: finds losses that dagan's own readers do not see."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from math import isclose
from pathlib import Path

from dagan_cli.files import open_regular
from dagan_cli.inspection.checks import Check, check
from dagan_cli.inspection.stored import blocks, boxes, jpeg, png, tiff
from dagan_cli.inspection.stored.facts import Bytes, Stored, Unclear
from dagan_cli.inspection.stored.packet import promises, properties, short

_LOOKS: dict[str, Callable[[Bytes], Stored]] = {
    "JPEG": jpeg.look,
    "PNG": png.look,
    "TIFF": tiff.look,
    "AVIF": boxes.look,
    "HEIC": boxes.look,
    "JPEG2000": boxes.look,
    "GIF": blocks.look_at_gif,
    "WEBP": blocks.look_at_webp,
}
_HOLD_POINTS = ("PNG", "AVIF")
_HOLD_PROFILES = ("JPEG", "WEBP", "TIFF")
_HOLD_XMP = (*_HOLD_POINTS, *_HOLD_PROFILES, "GIF")
_HOLD_RESOURCES = ("JPEG", "TIFF")
_TRANSFERS_OF_PROFILES = (1, 2, 4, 5, 6, 7, 8, 13, 14, 15, 16, 18)
_SRGB = ((1, 2), (13, 2))  # primaries and transfer characteristics that mean what is assumed anyway
_OF_THE_OLD_PIXELS = {1005, 1028, 1032, 1033, 1036, 1050}  # resources; 1028 are the IPTC records, compared elsewhere
_SETTINGS = {1011, 1013, 1016, 1037, 1049, 1057, 1061, 1062, 1082, 1083, 10000}  # resources that nobody misses
_PATHS = range(2000, 2998)  # resources that turn with the image
_SCALE, _TIE, _MATRIX, _KEYS = 33550, 33922, 34264, 34735


def look_at(path: Path, form: str) -> Stored:
    """Return what the file at `path`, of the format `form`, stores. Raises Unclear."""
    look = _LOOKS.get(form)
    if look is None:
        return Stored()
    try:
        with open_regular(path) as stream:
            data = Bytes(stream)
            if form == "JPEG2000" and data.part(0, 2) == b"\xff\x4f":
                look = boxes.look_at_codestream
            return look(data)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise Unclear(str(error)) from error


def stored_checks(
    source: Path, output: Path, forms: tuple[str, str], sizes: tuple[tuple[int, int], tuple[int, int]], depth: int
) -> Iterator[Check]:
    """Compare the bytes of both files, of the formats `forms`, with upright `sizes`; `depth` is what was read.

    There are rows only for what the input stores, besides what every image has.
    """
    try:
        was, now = look_at(source, forms[0]), look_at(output, forms[1])
    except Unclear as error:
        yield Check("bytes of the files", "", "not checked", "note", str(error))
        return
    form = forms[1]
    yield from _colour(was, now, forms)
    yield from _packets(was, now, form)
    yield from _resources(was, now, form)
    yield from _place(was, now, form, sizes)
    yield from _pixels(was, now, sizes[1], depth)
    for what, size in was.others.items():
        yield Check(what, f"{size:,} bytes" if size else "kept", "left out", "note", "only the image is enlarged")
    for kind in dict.fromkeys(was.damaged):
        yield Check(f"PNG chunk {kind}", "a right checksum", "a wrong one in the input", "note", "it is not used")


def _colour(was: Stored, now: Stored, forms: tuple[str, str]) -> Iterator[Check]:
    """Compare code points, in the form that each format has."""
    due, form = was.points, forms[1]
    if due is None or (was.profile and forms[0] != "PNG"):  # a profile outranks the code points of AVIF and HEIC
        return
    both_say = form in _HOLD_POINTS and now.points is not None
    if not both_say and due[0] in _SRGB[0] and due[1] in _SRGB[1]:
        return
    found = now.points if both_say else _points_of(now.profile)
    words, expected = "colour code points", _named(due)
    if found == due and was.narrow == now.narrow:
        yield check(words, expected, expected)
    elif found and not was.narrow:
        yield Check(words, expected, _named(found), "differs")
    elif now.profile:
        same = now.profile == was.profile
        yield Check(words, expected, "a profile", "note" if same else "differs", "the input's own" if same else "")
    else:
        able = form in _HOLD_POINTS or (form in _HOLD_PROFILES and due[1] in _TRANSFERS_OF_PROFILES)
        able = able and not (was.narrow and form != "PNG")
        remark = "" if able else f"{form} is written without them"
        yield Check(words, expected, "missing", "lost" if able else "note", remark)


def _named(points: tuple[int, int]) -> str:
    return f"primaries {points[0]}, transfer {points[1]}"


def _points_of(icc: bytes) -> tuple[int, int] | None:
    """Return the code points in a profile's `cicp` tag (ICC.1:2022, 9.2.17)."""
    count = int.from_bytes(icc[128:132], "big")
    for at in range(132, 132 + 12 * min(count, 100), 12):
        place = int.from_bytes(icc[at + 4 : at + 8], "big")
        if icc[at : at + 4] == b"cicp" and len(icc) >= place + 12:
            return icc[place + 8], icc[place + 9]
    return None


def _packets(was: Stored, now: Stored, form: str) -> Iterator[Check]:
    """Compare XMP property by property, and look for promises of data that is not there."""
    try:
        due, found = properties(was), properties(now)
    except Unclear as error:
        yield Check("XMP properties", "", "not checked", "note", str(error))
        return
    if (empty := promises(found)) and not now.others:
        names = ", ".join(map(short, empty[:4]))
        yield Check("XMP about other data", "none", f"it promises what is not there: {names}", "differs")
    due = {name: text for name, text in due.items() if name not in promises(due)}
    if not due:
        return
    wrong = [short(name) for name, text in due.items() if found.get(name) != text]
    expected = f"{len(due)} kept"
    if not wrong:
        yield check("XMP properties", expected, expected)
    elif found:
        yield check("XMP properties", expected, f"without {', '.join(wrong[:5])}")
    else:
        held = form in _HOLD_XMP
        remark = "" if held else f"{form} is written without them"
        yield Check("XMP properties", expected, "missing", "lost" if held else "note", remark)


def _resources(was: Stored, now: Stored, form: str) -> Iterator[Check]:
    due = {number: data for number, data in was.resources.items() if number not in _OF_THE_OLD_PIXELS}
    if not due.keys() - _SETTINGS:
        return
    held = form in _HOLD_RESOURCES
    wrong = [
        str(number)
        for number, data in due.items()
        if (len(now.resources.get(number, b"")) != len(data) if number in _PATHS else now.resources.get(number) != data)
    ]
    expected = f"{len(due)} kept"
    if wrong and len(wrong) < len(due):
        yield check("Photoshop resources", expected, f"without {', '.join(wrong[:6])}")
    elif wrong:
        remark = "" if held else f"{form} is written without them"
        yield Check("Photoshop resources", expected, "missing", "lost" if held else "note", remark)
    else:
        yield check("Photoshop resources", expected, expected)


def _place(was: Stored, now: Stored, form: str, sizes: tuple[tuple[int, int], tuple[int, int]]) -> Iterator[Check]:
    """Compare where the corners lie on the map, and the other GeoTIFF tags."""
    if not was.place:
        return
    words = "place on the map"
    if not now.place:
        held = form == "TIFF"
        remark = "" if held else f"{form} is written without GeoTIFF tags"
        yield Check(words, f"{len(was.place)} GeoTIFF tags", "missing", "lost" if held else "note", remark)
        return
    in_pixels = (_SCALE, _TIE, _MATRIX)
    wrong = [str(tag) for tag, value in was.place.items() if tag not in in_pixels and now.place.get(tag) != value]
    wrong += [str(tag) for tag in in_pixels if (tag in was.place) != (tag in now.place)]
    yield (
        check("GeoTIFF tags", f"{len(was.place)} kept", f"without {', '.join(wrong)}", fine=not wrong)
        if wrong
        else check("GeoTIFF tags", f"{len(was.place)} kept", f"{len(was.place)} kept")
    )
    pairs = [_corners(stored.place, size) for stored, size in zip((was, now), sizes, strict=True)]
    if pairs[0]:
        due, found = (" to ".join(f"{x:.10g} {y:.10g}" for x, y in corners) for corners in pairs)
        span = max(abs(a - b) for a, b in zip(*pairs[0], strict=True)) or 1
        fine = bool(pairs[1]) and all(
            isclose(a, b, abs_tol=span * 1e-6)
            for one, other in zip(*pairs, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        yield check(words, due, found or "missing", fine=fine)


def _corners(place: dict[int, tuple[float, ...] | str], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the first and the last corner of the image on the map; [] if the tags do not tell."""
    keys, scale, tie, matrix = (place.get(tag, ()) for tag in (_KEYS, _SCALE, _TIE, _MATRIX))
    assert not isinstance(matrix, str)
    assert not isinstance(scale, str)
    assert not isinstance(tie, str)
    is_point = any(tuple(keys[at : at + 4]) == (1025, 0, 1, 2) for at in range(4, len(keys), 4))
    shift = 0.5 if is_point else 0.0
    corners = [(x - shift, y - shift) for x, y in ((0, 0), size)]
    if len(matrix) == 16:
        a, b, _, d, e, f, _, h = matrix[:8]
        return [(a * x + b * y + d, e * x + f * y + h) for x, y in corners]
    if len(scale) == 3 and len(tie) >= 6:
        return [(tie[3] + (x - tie[0]) * scale[0], tie[4] - (y - tie[1]) * scale[1]) for x, y in corners]
    return []


def _pixels(was: Stored, now: Stored, size: tuple[int, int], depth: int) -> Iterator[Check]:
    """Look for a thumbnail that was enlarged in place of the picture, and for bits and samples that were not read."""
    for width, height in was.copies:
        factor = size[0] / width if width else 0
        if size[0] <= was.size[0] and factor > 1 and factor == size[1] / max(height, 1):
            found = f"{size[0]}x{size[1]}, which is its reduced copy of {width}x{height} enlarged"
            yield check("page in full resolution", f"{was.size[0]}x{was.size[1]} enlarged", found)
    if was.bits > depth:
        yield Check("bits of a sample in the file", str(was.bits), str(now.bits), "note", f"{depth} bits are read")
    if was.further_samples > 1:
        yield Check("further samples", str(was.further_samples), "at most alpha", "note", "others are left out")
