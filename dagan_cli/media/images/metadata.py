"""Read EXIF, XMP, IPTC, profile and resolution of an image; correct them for upright pixels and a new size."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from typing import Any

from PIL import Image

from dagan_cli.media.images.blocks import photoshop as resources_of
from dagan_cli.media.images.blocks import segments as jpeg
from dagan_cli.media.images.blocks import xmp as packets
from dagan_cli.media.images.blocks.geotiff import read_geo
from dagan_cli.media.images.info import PictureInfo

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
_WIDTH, _HEIGHT, _ORIENTATION = 0x0100, 0x0101, 0x0112
_EXIF_WIDTH, _EXIF_HEIGHT = 0xA002, 0xA003
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP, _TIFF_ICC = 700, 33723, 34377, 34675
# The description by which tifffile declares the shape of the samples, which is another one at another size.
_SHAPE = re.compile(r'\{"shape": \[[\d, ]+\][^{}]*\}\0?')
TIFF_TEXTS = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
_SOFTWARE = 305
_LONG = 4
_HIGHEST_DPI = 65535  # limit of JPEG; higher values are damage
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation=["'][1-8]["']|<tiff:Orientation>[1-8]</tiff:Orientation>""")


def with_metadata(info: PictureInfo, image: Image.Image, notes: list[str]) -> PictureInfo:
    """Return `info` with the metadata of Pillow's opened `image`; damaged metadata is left out and noted."""
    return with_blocks(info, image.info, notes)


def with_blocks(info: PictureInfo, found: dict[Any, Any], notes: list[str]) -> PictureInfo:
    """Return `info` with the metadata in `found`, named as in Pillow's `info`."""
    info = replace(info, comment=_bytes(found.get("comment")) or None, dpi=_dpi(found.get("dpi")))
    exif = found.get("exif") or _exif_in_text(found.get("Raw profile type exif"))
    xmp = _bytes(found.get("xmp") or found.get("XML:com.adobe.xmp"))
    return _checked(info, notes, icc=_bytes(found.get("icc_profile")), exif=_bytes(exif), xmp=xmp)


def with_segments(
    info: PictureInfo, segments: jpeg.Segments, orientation: int, notes: list[str], *, several: bool
) -> PictureInfo:
    """Return `info` with what Pillow does not read of a JPEG, turned upright: all of its XMP, Photoshop's resources.

    What is behind the image, and other segments, are left out and noted; not if they are the further images of a file
    with `several`, which is noted elsewhere.
    """
    left_out = []
    if segments.has_clip:
        left_out.append("the clip of a motion photo")
    if segments.has_gain_map:
        left_out.append("a gain map for HDR screens")
    if segments.behind and (left_out or not several):
        what = " and ".join(left_out) or "other data"
        notes.append(f"{what} was left out: {segments.behind:,} bytes behind the image")
    if unknown := segments.unknown():
        notes.append(f"its segments {', '.join(unknown)} were left out")
    info = with_resources(info, b"".join(segments.starting_with(13, jpeg.PHOTOSHOP)), orientation, notes)
    main, *others = segments.starting_with(1, jpeg.XMP) or [b""]
    if others:
        notes.append("it has several XMP packets: only the first was read")
    try:
        main = packets.without_record(main)
        main, problem = packets.joined(main, segments.starting_with(1, jpeg.EXTENDED_XMP))
    except packets.Damaged:
        problem = "is damaged"
    if problem:
        notes.append(f"the extension of its XMP data {problem} and was left out")
    return replace(info, xmp=_kept_xmp(main, notes))


def with_resources(info: PictureInfo, block: bytes, orientation: int, notes: list[str]) -> PictureInfo:
    """Return `info` with Photoshop's resources, whose IPTC records are a field of their own."""
    resources = resources_of.read_resources(block)
    if count := resources_of.guides(resources):
        notes.append(f"{count} guides of Photoshop were left out")
    records = next((each.data for each in resources if each.number == resources_of.IPTC), b"")
    kept = resources_of.block_of(resources_of.kept(resources, orientation))
    return replace(info, iptc=info.iptc or records or None, photoshop=kept or None)


def with_tiff_metadata(info: PictureInfo, tags: dict[int, Any], notes: list[str]) -> PictureInfo:
    """Return `info` with the metadata of the first directory of a TIFF; tags that describe the file are ignored."""
    exif = Image.Exif()
    for tag in TIFF_TEXTS:
        if tag in tags and not _SHAPE.fullmatch(str(tags[tag])):
            exif[tag] = tags[tag]
    for tag in (EXIF_IFD, GPS_IFD):
        if values := tags.get(tag):
            exif[tag] = values
    geo = read_geo(tags, notes)
    unit = {2: 1.0, 3: 2.54}.get(tags.get(296, 2))
    dpi = (tags.get(282, 0) * unit, tags.get(283, 0) * unit) if unit else None
    info = replace(info, dpi=_dpi(dpi), iptc=_bytes(tags.get(_TIFF_IPTC)) or None)
    orientation = tags.get(_ORIENTATION, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    info = with_resources(info, _bytes(tags.get(_TIFF_PHOTOSHOP)), orientation, notes)
    if geo and orientation != 1:
        notes.append("it is stored turned: its GeoTIFF tags, which count stored pixels, were left out")
    info = replace(info, geo=geo if orientation == 1 else ())
    blob = exif.tobytes() if len(exif) else b""
    return _checked(info, notes, icc=_bytes(tags.get(_TIFF_ICC)), exif=blob, xmp=_bytes(tags.get(_TIFF_XMP)))


def corrected_exif(exif: bytes, width: int, height: int) -> bytes | None:
    """Return `exif` for an upright image of this size: orientation 1, sizes updated if present, thumbnail unlinked.

    Values are changed in place, so maker notes, which point into the block, stay readable. None if `exif` is damaged.
    """
    data = bytearray(exif)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}L", data, 4)
        end, inner = _set_longs(data, order, first, {_ORIENTATION: 1, _WIDTH: width, _HEIGHT: height})
        struct.pack_into(f"{order}L", data, end, 0)  # the next directory would be the old thumbnail
        if inner is not None:
            _set_longs(data, order, inner, {_EXIF_WIDTH: width, _EXIF_HEIGHT: height})
    except struct.error:
        return None
    return bytes(data)


def software_exif(name: str) -> bytes:
    """Return EXIF data with the Software tag only."""
    exif = Image.Exif()
    exif[_SOFTWARE] = name
    return exif.tobytes().removeprefix(b"Exif\0\0")


def profile_space(icc: bytes) -> str:
    """Return the colour space of a profile: "RGB", "GRAY", "CMYK", ..., or "" if the profile is damaged."""
    return icc[16:20].decode("ascii", "replace").strip() if icc[36:40] == b"acsp" else ""


def _checked(info: PictureInfo, notes: list[str], *, icc: bytes, exif: bytes, xmp: bytes) -> PictureInfo:
    if icc:
        space = profile_space(icc)
        fits = space == "RGB" or (space == "GRAY" and info.channels <= 2)
        if not fits and space != "CMYK":  # a CMYK profile was already applied by the conversion
            notes.append("its colour profile is damaged or of the wrong colour space and was left out")
        icc = icc if fits else b""
    if exif:
        exif = exif.removeprefix(b"Exif\0\0")
        upright = corrected_exif(exif, info.width, info.height)
        if upright is None:
            notes.append("its EXIF data is damaged and was left out")
        exif = upright or b""
    return replace(info, icc=icc or None, exif=exif or None, xmp=_kept_xmp(xmp, notes))


def _kept_xmp(xmp: bytes, notes: list[str]) -> bytes | None:
    """Return XMP data for an upright image without what is behind or next to it; None if nothing is left.

    The record of what dagan made the file with is left out too: the next result gets its own.
    """
    try:
        xmp, names = packets.without_promises(packets.without_record(xmp))
    except packets.Damaged:
        xmp, names = b"", ["all of it: it is damaged"]
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        notes.append(f"XMP that describes data which is left out was removed: {', '.join(names[:4])}{more}")
    return _XMP_ORIENTATION.sub(b"", xmp) or None


def _set_longs(data: bytearray, order: str, at: int, values: dict[int, int]) -> tuple[int, int | None]:
    """Set the existing tags of the directory at `at`; return the offsets of its next-link and of its Exif directory."""
    inner = None
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHLL", data, entry)
        if tag in values:
            struct.pack_into(f"{order}HHLL", data, entry, tag, _LONG, 1, values[tag])
        elif tag == EXIF_IFD:
            inner = value
    return at + 2 + 12 * count, inner


def _exif_in_text(text: Any) -> bytes:
    """Decode EXIF as ImageMagick writes it into a PNG text: three header lines, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(str(text).split("\n")[3:])) if text else b""
    except ValueError:
        return b"damaged"


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, bytes | bytearray) else b""


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(part) for part in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(0 < part <= _HIGHEST_DPI for part in (across, down)) else None
