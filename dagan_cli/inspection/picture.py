"""Compare an image output with its input: size, frames, times, metadata, transparency and content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dagan_cli.errors import BadInput
from dagan_cli.inspection.checks import Check, check, size_check
from dagan_cli.inspection.frames import FrameComparison, Timed
from dagan_cli.inspection.glance import Glance, Grid, coarse, grid_for
from dagan_cli.inspection.stored.look import stored_checks
from dagan_cli.media import images
from dagan_cli.media.images.blocks.xmp import plain
from dagan_cli.media.images.decoder_warnings import heard
from dagan_cli.media.images.formats import BY_NAME, PictureFormat
from dagan_cli.media.images.info import Picture, PictureInfo
from dagan_cli.media.images.metadata import EXIF_IFD, GPS_IFD, profile_space
from dagan_cli.media.images.png import TEXTS
from dagan_cli.planes import UNSPECIFIED

_BLOCKS = {"icc": "colour profile", "xmp": "XMP data", "iptc": "IPTC data", "comment": "comment"}
_OF_THE_FILE = {  # EXIF tags that change with the pixels, are stored elsewhere, or are offsets
    *(0x0100, 0x0101, 0x0103, 0x0112, 0xA002, 0xA003),  # sizes, compression, orientation
    *(0x0111, 0x0117, 0x0201, 0x0202, EXIF_IFD, GPS_IFD, 0xA005),
    *(0x011A, 0x011B, 0x0128, 0x0131),  # resolution, software
}
_SECOND = Fraction(1)
_ROUNDING = 0.501  # pixels of a side, and what floating point adds
_LARGEST_FACTOR = 64  # of `dagan upscale`


def verify_picture(source: Path, output: Path, tell: Callable[[int, int | None], None]) -> tuple[list[Check], float]:
    """Return the rows, and the factor between the sizes. Raises BadInput for unreadable files."""
    with ExitStack() as stack:
        before = stack.enter_context(images.open_picture(source))
        was = before.info
        most = max(images.LIMIT_PIXELS, was.width * was.height * _LARGEST_FACTOR**2)
        after = stack.enter_context(images.open_picture(output, limit_pixels=most))
        now = after.info
        form = BY_NAME.get(now.format)
        if form is None:
            raise BadInput(f"{output} is a {now.format} file, which dagan never writes", hint="name the upscaled image")
        sizes, factor = size_check((was.width, was.height), (now.width, now.height), slack=_ROUNDING)
        rows = [sizes, *_samples(was, now, form), *_frames(before, after, form, tell)]
        rows += [*_blocks(was, now, form), *_exif(was, now, form)]
        pixels = (was.width, was.height), (now.width, now.height)
        rows += stored_checks(source, output, (was.format, now.format), pixels, was.depth)
        for name, info in (("the input", was), ("the output", now)):
            rows += [Check(name, "", "", "note", warning) for warning in info.warnings]
    return rows, factor


def _samples(was: PictureInfo, now: PictureInfo, form: PictureFormat) -> Iterator[Check]:
    depth = min(was.depth, form.widest(was.depth))
    if depth < was.depth == now.depth + was.depth - depth:
        yield Check("bits of a sample", str(was.depth), str(now.depth), "note", f"{form.name} cannot hold more")
    else:
        yield check("bits of a sample", f"{was.depth} or more", now.depth, fine=now.depth >= was.depth)
    if was.channels >= 3 > now.channels:
        yield Check("colour", "kept", "grey", "lost")


def _frames(
    before: Picture, after: Picture, form: PictureFormat, tell: Callable[[int, int | None], None]
) -> Iterator[Check]:
    was, now = before.info, after.info
    one = was.frames > 1 and (not form.many or (form.many == "animation" and not was.durations))
    if one:
        kind = "frames" if was.durations else "pages"
        yield Check(kind, str(was.frames), "1", "note" if now.frames == 1 else "differs", f"{form.name} holds one")
    untimed = one or not was.durations or form.many == "pages"
    if was.durations and not one and untimed:
        yield Check("times of frames", "kept", "missing", "note", f"{form.name} holds pages, not animations")
    comparison = FrameComparison(
        trimmed=False,
        origins=Fraction(0),
        tolerance=Fraction(10 if form.name == "GIF" else 1, 1000),  # the resolution of the format
        size=(now.width, now.height),
    )
    grid = grid_for(min(was.width, now.width), min(was.height, now.height))
    halves: list[bool] = []  # for each frame, whether it has alpha between none and all

    def held(samples: np.ndarray) -> np.ndarray:
        alpha = samples[..., -1] if was.has_alpha else samples[:0]
        halves.append(bool(((alpha > 0) & (alpha < _white(samples))).any()))
        return _as_held(samples, form, now.depth)

    glances = islice(_glances(before, grid, untimed, held), 1 if one else None)
    # A frame may be shown for no time at all, as in sprites: the next one has the same time, which is no damage.
    expected = (Timed(glance, glance.time or Fraction(0), repaired=False) for glance in glances)
    comparison.run(expected, _glances(after, grid, untimed), lambda done: tell(done, was.frames))
    rows = comparison.checks()
    if form.name == "GIF" and any(halves) and rows[-1].failed:  # the edges of what is seen are elsewhere
        rows[-1] = replace(rows[-1], result="note", remark="GIF holds no partial transparency")
    yield from rows if was.frames > 1 and not one else (rows[0], rows[-1])
    if was.has_alpha and not now.has_alpha and not comparison.is_seen_through:
        yield check("transparency", "solid throughout", "left out", fine=True)
    elif was.has_alpha:
        yield Check("transparency", "kept", *(("kept", "ok") if now.has_alpha else ("missing", "lost")))
    if was.durations and now.durations and was.plays != now.plays:
        forever = form.name == "AVIF"
        yield Check(
            "how often it plays",
            str(was.plays or "forever"),
            str(now.plays or "forever"),
            "note" if forever else "differs",
            "AVIF repeats forever" if forever else "",
        )


def _as_held(samples: np.ndarray, form: PictureFormat, depth: int) -> np.ndarray:
    """Return samples of the input as the output can hold them, which a warning says when it is made."""
    if samples.dtype.kind == "f" and depth != 32:
        return samples.clip(0, 1)
    if form.name == "GIF" and samples.shape[2] in (2, 4):
        solid = samples[..., -1:] >= 128 / 255 * _white(samples)
        return np.concatenate([samples[..., :-1], solid * samples.dtype.type(_white(samples))], axis=2)
    return samples


def _white(samples: np.ndarray) -> float:
    return 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)


def _glances(
    picture: Picture, grid: Grid, untimed: bool, held: Callable[[np.ndarray], np.ndarray] = lambda samples: samples
) -> Iterator[Glance]:
    """Yield the frames, as they are `held` elsewhere; those without times last a second each."""
    info = picture.info
    at = Fraction(0)
    for index, samples in enumerate(map(held, picture.frames)):
        white = _white(samples)
        if samples.dtype.kind == "f" and not np.isfinite(samples).all():  # gaps are compared by their place
            samples = np.where(np.isfinite(samples), samples, 0)
        colours = [samples[..., c] for c in range(3 if info.channels >= 3 else 1)]
        alpha = samples[..., -1] / np.float32(white) if info.has_alpha else None
        cells = coarse(colours, grid, (0.299, 0.587, 0.114) if len(colours) == 3 else (1.0,), 0, white, alpha)
        duration = _SECOND if untimed or not info.durations else Fraction(info.durations[index]) / 1000
        yield Glance(at, duration, samples.shape[1::-1], UNSPECIFIED, cells)
        at += duration


def _blocks(was: PictureInfo, now: PictureInfo, form: PictureFormat) -> Iterator[Check]:
    """Check the metadata blocks, which are kept byte for byte, and the resolution."""
    for field, what in _BLOCKS.items():
        due, found = getattr(was, field), getattr(now, field)
        if due:
            if field == "comment" and any(kind in TEXTS and data.endswith(_utf8(due)) for kind, data in now.chunks):
                found = due  # PNG stores it as one text chunk among others
            grey = field == "icc" and profile_space(due) == "GRAY" and not form.holds_grey_profiles
            if field == "xmp" and found and plain(found) == plain(due):
                found = due  # extended XMP has no wrapper
            held = field in form.keeps and not grey
            yield _block(what, f"{len(due)} bytes", found and f"{len(found)} other bytes", due == found, held, form)
    if was.dpi:
        due, found = ("x".join(f"{x:.4g}" for x in info.dpi) if info.dpi else "" for info in (was, now))
        fine = bool(now.dpi) and all(isclose(a, b, rel_tol=0.01) for a, b in zip(was.dpi, now.dpi or (), strict=True))
        yield _block("dots per inch", due, found, fine, "dpi" in form.keeps, form)
    if chunks := [chunk for chunk in was.chunks if chunk[0] != b"pHYs"]:
        missing = [kind.decode("latin-1") for kind, data in chunks if (kind, data) not in now.chunks]
        found = f"without {' '.join(missing)}" if now.chunks else ""
        yield _block("PNG chunks", f"{len(chunks)} kept", found, not missing, "chunks" in form.keeps, form)


def _utf8(comment: bytes) -> bytes:
    return b"\0" + comment.decode("utf-8", "replace").encode()


def _block(what: str, due: str, found: str | None, same: bool, held: bool, form: PictureFormat) -> Check:
    if same:
        return check(what, due, due)
    if found:
        return check(what, due, found, fine=False)
    return Check(what, due, "missing", "lost" if held else "note", "" if held else f"{form.name} is written without it")


def _exif(was: PictureInfo, now: PictureInfo, form: PictureFormat) -> Iterator[Check]:
    """Compare EXIF tag by tag, except the tags that must change."""
    if not was.exif:
        return
    due, found = (_tags(info.exif) for info in (was, now))
    if not due:
        return
    wrong = [f"{tag:#06x}" for tag, value in due.items() if not _is_same(found.get(tag), value)]
    listed = f"without {' '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}" if found else ""
    yield _block("EXIF tags", f"{len(due)} kept", listed, not wrong, "exif" in form.keeps, form)


def _is_same(a: Any, b: Any) -> bool:
    """True if two values of EXIF are equal. Unknown numbers are 0/0, such as the aperture of a lens: not a number."""
    return a == b or repr(a) == repr(b)


def _tags(exif: bytes | None) -> dict[int, Any]:
    """Return all tags of the main, Exif and GPS directories; maker notes stay unparsed."""
    read = Image.Exif()
    try:
        with heard():
            read.load(b"Exif\0\0" + (exif or b""))
            parts = [dict(read), read.get_ifd(EXIF_IFD), read.get_ifd(GPS_IFD)]
    except Exception:  # Pillow raises almost anything for damaged blocks
        return {}
    return {tag: value for part in parts for tag, value in part.items() if tag not in _OF_THE_FILE}
