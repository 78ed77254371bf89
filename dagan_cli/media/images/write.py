"""Write images: plan what the format can hold before the work starts, then write the frames one by one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.files import whole_or_absent
from dagan_cli.media.images import gif, png, pnm, tiff, webp
from dagan_cli.media.images.blocks import boxes, geotiff, photoshop, segments, xmp
from dagan_cli.media.images.blocks.code_points import CodePoints, points_of, profile_of
from dagan_cli.media.images.formats import BY_NAME, PictureFormat, format_named, format_of_suffix
from dagan_cli.media.images.info import PictureInfo
from dagan_cli.media.images.metadata import corrected_exif, profile_space, software_exif
from dagan_cli.media.images.pillow import image_of
from dagan_cli.media.made.beside import remove_beside, write_beside

_SRGB_GAMMA = (45455).to_bytes(4, "big")
_SCREEN_DPI = (72, 96)  # defaults of programs that do not know the resolution
# Bytes per pixel that encoders need beside the frame, measured; the other formats are written by bands.
ENCODER_BYTES = {"JPEG": 5, "WEBP": 28, "AVIF": 60, "GIF": 44, "BMP": 8, "TGA": 8, "PPM": 6}
_NAMES = {
    "icc": "colour profiles",
    "exif": "EXIF data",
    "xmp": "XMP data",
    "iptc": "IPTC data",
    "dpi": "a resolution",
    "comment": "comments",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOutput:
    """Plan for writing an image; made by `plan_output`."""

    info: PictureInfo  # of the output: format, size, channels, depth, frames and all metadata
    quality: int  # 1..100, for lossy formats
    warnings: tuple[str, ...]  # properties of the input that the format cannot hold
    beside: str = ""  # the record that is written beside the file, where the format has no place for it

    @property
    def format(self) -> str:
        return self.info.format


def output_suffix(
    info: PictureInfo,
    size: tuple[int, int] | None = None,
    *,
    format: str | None = None,
    lossless: bool = False,
    kept: str = "",
) -> str:
    """Return the suffix for a result of `info` at `size` (W, H): ".png".

    Without `format`, it is of the input's format if that can hold the result, else of PNG, or TIFF for float. `kept` is
    the input's own suffix, returned if it belongs to that format (".jpeg", ".JPG").
    """
    form = format_named(format) if format else _default(info, size or (info.width, info.height), lossless)
    if format_of_suffix(kept) is form:
        return kept
    if form.name == "PPM" and info.channels == 1:
        return ".pgm"
    return form.suffixes[0]


def plan_output(
    info: PictureInfo,
    target: Path | None,
    size: tuple[int, int],
    *,
    format: str | None = None,
    quality: int = 95,
    lossless: bool = False,
    made_by: str = "",
    record: str = "",
) -> PictureOutput:
    """Decide how frames of `info` upscaled to `size` (W, H) are written to `target` (None: a stream).

    The format is `format`, else that of the suffix of `target`, else as in `output_suffix`. `made_by` is stored as the
    software that made the file, unless the source's metadata occupies its place. `record`, the text of `media.made`,
    goes into the XMP data, or beside the file. Raises BadOption if the format cannot hold the result: alpha, side too
    long, lossless requested of a lossy format, or a suffix of another format.
    """
    if not 1 <= quality <= 100:
        raise BadOption(
            f"--quality {quality} is out of range (1 to 100)", hint="95 is hard to distinguish from the original"
        )
    suffix = target.suffix if target else ""
    form = format_named(format or suffix) if format or suffix else _default(info, size, lossless)
    if suffix and format_of_suffix(suffix) is not form:
        raise BadOption(
            f"{target} ends in {suffix}, but the format is {form.name}", hint="leave out --format, or rename"
        )
    if obstacle := _obstacle(form, info, size, lossless):
        raise BadOption(obstacle, hint=f"write {_advice(info, size, lossless)} instead")
    lossless = lossless or (form.name == info.format == "WEBP" and info.lossless)
    result = replace(
        info, format=form.name, width=size[0], height=size[1], depth=form.widest(info.depth), lossless=lossless
    )
    result, converted = _with_colour(form, result, info)
    warnings = [*_lost_pixels(form, info), *_lost_metadata(form, info), *converted]
    result = _signed(form, _without_what_is_not_held(form, result), made_by)
    result = replace(result, geo=geotiff.scaled(result.geo, size[0] / info.width, size[1] / info.height))
    if result.exif:
        result = replace(result, exif=corrected_exif(result.exif, *size))
    if form.name == "TIFF" and result.exif and not tiff.can_hold(result.exif):
        result = replace(result, exif=None)
        warnings.append("its EXIF data is damaged and is left out")
    if form.name == "JPEG":
        result, dropped = _within_markers(result)
        warnings += dropped
    result, beside = _recorded(form, replace(result, warnings=()), record)
    return PictureOutput(info=result, quality=quality, warnings=tuple(warnings), beside=beside)


def write_picture(
    target: Path,
    output: PictureOutput,
    frames: Iterable[np.ndarray],
    *,
    replace: bool = True,
    turn: Callable[[], None] = lambda: None,
) -> None:
    """Write the frames to `target`, which appears complete or not at all; see `encode_picture`, `whole_or_absent`.

    `turn` is called once they are encoded, before the file gets its name; if it raises, there will be no file.
    """
    with whole_or_absent(target, replace=replace) as file:
        encode_picture(file, output, frames)
        turn()
        if output.beside:  # before the file has its name: a file without its record would count as somebody else's
            write_beside(target, file, output.beside)
    if not output.beside:
        remove_beside(target)


def encode_picture(file: BinaryIO, output: PictureOutput, frames: Iterable[np.ndarray]) -> None:
    """Write the frames to an open file, one in memory at a time; TIFF and animated WebP need it seekable and readable.

    Frames are (H, W, C) with the size and channels of `output.info`: uint8 or uint16, or float in [0, 1] (unbounded
    for float TIFF), which is rounded here, once, half to even. The first `output.info.frames` frames are used. Raises
    CannotWrite if an encoder fails.
    """
    info = output.info
    fitted = _fitted(info, frames)
    if info.format == "PNG":
        fields = {name: getattr(info, name) for name in ("icc", "colour", "exif", "xmp", "comment")}
        dpi = None if any(kind == b"pHYs" for kind, _ in info.chunks) else info.dpi
        chunks = [*info.chunks, *png.metadata_chunks(**fields, dpi=dpi)]
        png.write_png(file, fitted, chunks, info.durations, info.plays)
    elif info.format == "TIFF":
        expected = info.width * info.height * info.channels * info.depth // 8 * info.frames
        fields = {name: getattr(info, name) for name in ("icc", "exif", "xmp", "iptc", "photoshop", "geo", "dpi")}
        tiff.write_tiff(file, fitted, expected_bytes=expected, **fields)
    elif info.format == "GIF":
        fields = {name: getattr(info, name) for name in ("comment", "xmp", "icc")}
        gif.write_gif(file, fitted, info.durations, info.plays, **fields)
    elif info.format == "WEBP" and info.durations:
        fields = {name: getattr(info, name) for name in ("icc", "exif", "xmp")}
        webp.write_webp_animation(file, fitted, info.durations, info.plays, **fields, options=_compression(output))
    elif info.format == "PPM":
        pnm.write_pnm(file, next(fitted))
    else:
        file.write(_through_pillow(output, fitted))


def _default(info: PictureInfo, size: tuple[int, int], lossless: bool) -> PictureFormat:
    own = BY_NAME.get(info.format)
    if own and info.depth in own.depths and not _obstacle(own, info, size, lossless):
        return own
    return BY_NAME["TIFF" if info.depth == 32 else "PNG"]


def _obstacle(form: PictureFormat, info: PictureInfo, size: tuple[int, int], lossless: bool) -> str | None:
    """Return why `form` cannot hold the result at all, or None."""
    if info.has_alpha and not form.alpha:
        return f"{form.name} cannot hold transparency"
    if max(size) > form.longest_side:
        return f"{size[0]}x{size[1]} is too large for {form.name}: at most {form.longest_side} pixels per side"
    if lossless and not form.lossless:
        return f"--lossless is not available for {form.name}"
    return None


def _advice(info: PictureInfo, size: tuple[int, int], lossless: bool) -> str:
    able = [BY_NAME[name] for name in ("PNG", "WEBP", "TIFF")]
    return " or ".join(form.name for form in able if not _obstacle(form, info, size, lossless))


def _lost_pixels(form: PictureFormat, info: PictureInfo) -> Iterator[str]:
    depth = form.widest(info.depth)
    if info.depth == 32 and depth < 32:
        yield f"{form.name} holds {depth} bits: float samples are rounded, and clipped to 0..1"
    elif depth < info.depth:
        yield f"{form.name} holds {depth} bits: {info.depth}-bit samples are rounded"
    if form.name == "GIF" and info.format != "GIF":
        yield "GIF holds 256 colours per frame"
        if info.has_alpha:
            yield "GIF holds no partial transparency"
    if info.frames > 1:
        kind = "frames" if info.durations else "pages"
        if not form.many or (form.many == "animation" and not info.durations):
            yield f"{form.name} holds one image: only the first of {info.frames} {kind} is written"
        elif form.many == "pages" and info.durations:
            yield f"{form.name} holds pages, not animations: frame times are lost"
        elif form.name == "AVIF" and info.plays:
            yield f"AVIF animations loop forever: the play count of {info.plays} is not kept"
        elif form.name == "GIF" and any(duration % 10 for duration in info.durations):
            yield "GIF has steps of 10 ms: frame times are rounded, their sum is kept"


def _lost_metadata(form: PictureFormat, info: PictureInfo) -> Iterator[str]:
    for name, words in _NAMES.items():
        if getattr(info, name) and name not in form.keeps:
            if name == "dpi" and info.dpi and round(info.dpi[0]) in _SCREEN_DPI:
                continue
            yield f"{form.name} files are written without {words}"
    if info.geo and "geo" not in form.keeps:
        yield f"{form.name} files are written without the GeoTIFF tags, which place the image on the map"
    if "photoshop" not in form.keeps and (
        words := photoshop.described(photoshop.read_resources(info.photoshop or b""))
    ):
        yield f"{form.name} files are written without Photoshop's resources ({words})"
    if info.icc and form.name == "GIF" != info.format:
        yield "many programs ignore the colour profile of a GIF: the image may look different"
    if info.icc and not form.holds_grey_profiles and "icc" in form.keeps and profile_space(info.icc) == "GRAY":
        yield f"{form.name} is written in colour: the grey colour profile is left out"
    if "chunks" not in form.keeps:
        if texts := [data.split(b"\0")[0].decode("latin-1") for kind, data in info.chunks if kind in png.TEXTS]:
            more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
            yield f"{form.name} files are written without PNG texts ({', '.join(texts[:3])}{more})"
        tags = {kind: data for kind, data in info.chunks if kind in png.COLOUR_TAGS}
        untold = not info.icc and not info.colour and b"sRGB" not in tags
        if untold and tags.get(b"gAMA", _SRGB_GAMMA) != _SRGB_GAMMA:
            yield f"{form.name} files are written without PNG colour tags: the image may look different"
        if tags.keys() & png.LIGHT_TAGS:
            yield f"{form.name} files are written without the light levels of HDR images"


def _with_colour(form: PictureFormat, result: PictureInfo, info: PictureInfo) -> tuple[PictureInfo, list[str]]:
    """Return `result` with the colour of `info` in the form that the format has, and warnings where it has none.

    A profile that the source has is kept. In a PNG, code points would outrank it, so only a PNG's own are written
    next to it.
    """
    points, name = info.colour, form.name
    if points is None:
        return result, []
    if "colour" in form.keeps:
        if name == "PNG" and info.format != "PNG" and (info.icc or points.is_default):
            return replace(result, colour=None), []
        if points.full_range or name == "PNG":
            return result, [] if name == "PNG" or info.format != "PNG" else _outranked(info.icc, points)
    result = replace(result, colour=None)
    if info.icc:
        return result, _outranked(info.icc, points) if info.format == "PNG" else []
    if points.is_default:
        return result, []
    if points.full_range and "icc" in form.keeps and name != "GIF":  # whose profile many programs ignore
        grey = info.channels <= 2 and form.grey
        if profile := profile_of(points, grey=grey):
            return replace(result, icc=profile), []
    return result, [f"{name} files are written without colour code points ({points}): the image may look different"]


def _outranked(icc: bytes | None, points: CodePoints) -> list[str]:
    if not icc or points_of(icc) == (points.primaries, points.transfer):
        return []
    return [f"its code points ({points}) give way to its colour profile: the image may look different"]


def _without_what_is_not_held(form: PictureFormat, info: PictureInfo) -> PictureInfo:
    info = replace(info, **{name: None for name in (*_NAMES, "photoshop") if name not in form.keeps})
    if "chunks" not in form.keeps:
        info = replace(info, chunks=())
    if "geo" not in form.keeps:
        info = replace(info, geo=())
    if info.icc and not form.holds_grey_profiles and "icc" in form.keeps and profile_space(info.icc) == "GRAY":
        info = replace(info, icc=None)
    if form.many == "animation" and info.durations:
        return info
    return replace(info, durations=(), frames=info.frames if form.many == "pages" else 1)


def _signed(form: PictureFormat, info: PictureInfo, made_by: str) -> PictureInfo:
    """Return `info` with the software that made the file: as PNG text, in new EXIF data, or as a comment."""
    if not made_by:
        return info
    if form.name == "PNG":
        taken = any(kind in png.TEXTS and data.startswith(b"Software\0") for kind, data in info.chunks)
        text = (b"Processing software" if taken else b"Software") + b"\0" + made_by.encode("latin-1", "replace")
        return replace(info, chunks=(*info.chunks, (b"tEXt", text)))
    if "exif" in form.keeps and not info.exif:
        return replace(info, exif=software_exif(made_by))
    if "comment" in form.keeps and not info.comment:
        return replace(info, comment=made_by.encode())
    return info


def _recorded(form: PictureFormat, info: PictureInfo, record: str) -> tuple[PictureInfo, str]:
    """Return `info` with the record in its XMP data, and the record if it must be written beside the file."""
    if record and "xmp" in form.keeps:
        with suppress(xmp.Damaged):
            return replace(info, xmp=xmp.with_record(info.xmp or b"", record)), ""
    return info, record


def _within_markers(info: PictureInfo) -> tuple[PictureInfo, list[str]]:
    """Return `info` without metadata that is too long for a JPEG marker, and warnings for what was removed."""
    room = {
        "exif": segments.MARKER_ROOM - 6,
        "comment": segments.MARKER_ROOM,
    }
    long = [name for name, most in room.items() if len(getattr(info, name) or b"") > most]
    warnings = [f"its {_NAMES[name]} are too long for JPEG and are left out" for name in long]
    return replace(info, **dict.fromkeys(long)), warnings


def _fitted(info: PictureInfo, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield exactly the frames to write, at the output's depth, in colour if the format has no grey."""
    count = 0
    for frame in islice(frames, info.frames):
        count += 1
        if frame.shape != (info.height, info.width, info.channels):
            raise ValueError(f"frame of shape {frame.shape}, expected {info.height, info.width, info.channels}")
        frame = _rounded(frame, info.depth)
        if info.channels <= 2 and not BY_NAME[info.format].grey:
            frame = frame[..., [0, 0, 0, 1][: info.channels + 2]]
        yield np.ascontiguousarray(frame)
    if count < info.frames:
        raise ValueError(f"got {count} frames, expected {info.frames}")


def _rounded(frame: np.ndarray, depth: int) -> np.ndarray:
    """Convert samples to `depth` bits; integers of another depth are scaled, 255 <-> 65535."""
    if depth == 32:
        scale = np.float32(1 if frame.dtype.kind == "f" else np.iinfo(frame.dtype).max)
        return frame.astype(np.float32) / scale
    if frame.dtype.kind == "f":
        most = np.float32(2**depth - 1)
        whole = np.nan_to_num(np.clip(frame, 0, 1), nan=0)  # a gap is black: integers have none
        return np.rint(whole * most).astype(f"u{depth // 8}")
    if frame.dtype == np.uint8 and depth == 16:
        return frame * np.uint16(257)
    if frame.dtype == np.uint16 and depth == 8:
        return ((frame + np.uint32(128)) // 257).astype(np.uint8)
    return frame


def _through_pillow(output: PictureOutput, frames: Iterator[np.ndarray]) -> memoryview:
    """Return the encoded file, in memory because Pillow hides the reason when the disk is full."""
    info = output.info
    reel = _Reel(frames, info.frames)
    buffer = io.BytesIO()
    try:
        reel.save(buffer, info.format, save_all=info.frames > 1, **_options(output))
    except (OSError, ValueError, RuntimeError) as error:
        if reel.broken:
            raise
        what = f"the {info.format} encoder failed: {error}"
        raise CannotWrite(what, hint="choose another format with --format, png for example") from error
    if info.format == "AVIF" and info.colour:  # Pillow always declares BT.709 and sRGB
        return memoryview(boxes.with_colour(buffer.getvalue(), info.colour))
    return buffer.getbuffer()


def _options(output: PictureOutput) -> dict[str, Any]:
    """Return the save options for Pillow."""
    info = output.info
    held = {"icc_profile": info.icc, "exif": info.exif, "xmp": info.xmp, "dpi": info.dpi, "comment": info.comment}
    options = {name: value for name, value in held.items() if value} | _compression(output)
    if info.format == "JPEG":
        if info.exif:
            options["exif"] = b"Exif\0\0" + info.exif
        if info.xmp:
            options["xmp"], extensions = xmp.split(info.xmp, segments.MARKER_ROOM - len(segments.XMP))
            markers = [_marker(0xE1, segments.EXTENDED_XMP + piece) for piece in extensions]
            options["extra"] = b"".join(markers)
        if info.iptc or info.photoshop:
            options["extra"] = options.get("extra", b"") + _photoshop_markers(info)
    if info.durations:
        options["duration"] = [round(duration) for duration in info.durations]
    return options


def _compression(output: PictureOutput) -> dict[str, Any]:
    if output.format == "WEBP" and output.info.lossless:
        return {"lossless": True, "exact": True}  # exact: keep colours under transparency
    if output.format == "WEBP":
        return {"quality": output.quality}
    if output.format == "JPEG":
        return {"quality": output.quality, "subsampling": 0}
    if output.format == "AVIF":
        return {"quality": output.quality, "subsampling": "4:4:4"}
    return {}


def _photoshop_markers(info: PictureInfo) -> bytes:
    """Return the APP13 markers with IPTC records and Photoshop's resources; readers join those that follow another."""
    records = [photoshop.Resource(photoshop.IPTC, b"\0\0", info.iptc)] if info.iptc else []
    block = photoshop.block_of(records) + (info.photoshop or b"")
    step = segments.MARKER_ROOM - len(segments.PHOTOSHOP)
    pieces = [block[at : at + step] for at in range(0, len(block), step)]
    return b"".join(_marker(0xED, segments.PHOTOSHOP + piece) for piece in pieces)


def _marker(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2, "big") + data


class _Reel(Image.Image):
    """An image for Pillow's encoders that fetches the next frame on seek; a list would hold all frames in memory."""

    def __init__(self, frames: Iterator[np.ndarray], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self.is_animated = count > 1
        self.broken = False  # True if the source of the frames failed, not the encoder
        self._frames = frames
        self._at = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame <= self._at:  # encoders seek back to the start at the end
            return
        if frame >= self.n_frames:
            raise EOFError
        self.broken = True
        samples = next(self._frames)
        self.broken = False
        image = image_of(samples)
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self._at = frame

    def tell(self) -> int:
        return self._at
