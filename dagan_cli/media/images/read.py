"""Read images: any supported file to upright samples, with everything needed to write it back."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from dagan_cli.errors import BadInput, DaganError
from dagan_cli.files import open_regular
from dagan_cli.media.images import gif, png, pnm, tiff
from dagan_cli.media.images.blocks import boxes
from dagan_cli.media.images.blocks.segments import read_segments
from dagan_cli.media.images.decoder_warnings import heard
from dagan_cli.media.images.decoders import heif, jpeg2000, jpegxl
from dagan_cli.media.images.formats import FORMATS
from dagan_cli.media.images.info import Depth, Picture, PictureInfo
from dagan_cli.media.images.metadata import with_blocks, with_metadata, with_segments, with_tiff_metadata
from dagan_cli.media.images.pillow import CHANNELS, cmyk_profile, mode_for, samples_of
from dagan_cli.media.sniff import HEAD, picture_format

LIMIT_PIXELS = 1 << 28  # per frame; larger ones may be decompression bombs, or exceed memory
LIMIT_FRAMES = 16  # all frames or pages together may have so many times the limit of one

_ANIMATED = {"GIF", "WEBP", "PNG", "AVIF"}
_DEPTHS: dict[str, Depth] = {"I;16": 16, "F": 32}  # all other modes have 8 bits
_NOT_READ = {
    "PSD": "export it as PNG or TIFF first",
    "EXR": "convert it to a float TIFF first",
    "camera raw": "develop it to a 16-bit TIFF or PNG first",
    "ICO": "convert it to PNG first",
    "PCX": "convert it to PNG first",
    "DDS": "convert it to PNG first",
    "Radiance HDR": "convert it to a float TIFF first",
}
_TOO_LARGE = "leave it out, or if you trust it: dagan upscale --max-megapixels N"


def open_picture(source: Path | BinaryIO | bytes, *, limit_pixels: int = LIMIT_PIXELS) -> Picture:
    """Open an image by its content. A still is decoded when `frames` is read; an animation is scanned now.

    Only decoding shows missing pixels: until `frames` is read, an image that was cut short may look fine.
    Raises BadInput if the source is missing, damaged, not an image, of an unsupported kind, or if a frame has more than
    `limit_pixels`, or all frames together LIMIT_FRAMES times as many; that is known before any is decoded.
    """
    file = _File(*_opened(source), limit_pixels)
    try:
        with file.decoding():
            head = file.stream.read(HEAD)
        file.format = picture_format(head, file.name) or ""
        if not head:
            raise BadInput(f"{file.name} is empty", hint="obtain the file again, or leave it out")
        if not file.format:
            raise BadInput(
                f"{file.name} is not an image", hint=f"supported formats: {', '.join(form.name for form in FORMATS)}"
            )
        if file.format in _NOT_READ:
            raise file.not_read(file.format)
        if file.format == "TIFF":
            return _read_tiff(file)
        if file.format == "PPM":
            return _read_pnm(file)
        if file.format == "HEIC":
            return _read_heif(file)
        if file.format == "JPEG XL":
            return _read_jpeg_xl(file)
        return _read_through_pillow(file)
    except BaseException:
        file.stream.close()
        raise


@dataclass(slots=True)
class _File:
    """An input while it is being opened."""

    name: str
    stream: BinaryIO
    limit_pixels: int
    format: str = ""
    notes: list[str] = field(default_factory=list)  # become the warnings of the image

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Wrap a decoding library: turn its exceptions into BadInput, and note its warnings.

        Damaged files make decoders raise almost anything, including SyntaxError and MemoryError.
        """
        warned: list[str] = []
        try:
            with heard() as warned:
                yield
        except DaganError:
            raise
        except Exception as error:
            raise self.unreadable(error) from error
        finally:
            self.notes += [f"reading: {warning}" for warning in warned]

    def unreadable(self, error: Exception) -> BadInput:
        reason = (str(getattr(error, "strerror", None) or error).splitlines() or [""])[0]
        hint = "the file is damaged, truncated or mislabelled: obtain it again, or leave it out"
        if isinstance(error, UnidentifiedImageError):
            reason = f"its {self.format} header is damaged"
        elif isinstance(error, Image.DecompressionBombError):
            reason, hint = f"it declares more than {self.limit_pixels / 1e6:,.6g} million pixels", _TOO_LARGE
        elif isinstance(error, jpegxl.NotSupported):
            hint = "convert it to PNG first (djxl in.jxl out.png, or out.apng for an animation)"
        elif isinstance(error, tiff.NotReadable):
            hint = "save it with 8 or 16 bits, or as 32-bit float, with Deflate or no compression"
        elif isinstance(error, OSError) and error.errno is not None and not isinstance(error, ValueError):
            hint = "check the path and its permissions"
        elif not any(letter.isalpha() for letter in reason):
            reason = f"{type(error).__name__} {reason}"
        return BadInput(f"cannot read {self.name}: {reason}", hint=hint)

    def check_size(self, width: int, height: int, frames: int = 1) -> None:
        if width < 1 or height < 1:
            raise BadInput(f"{self.name} has no pixels", hint="leave it out")
        if width * height > self.limit_pixels:
            raise BadInput(
                f"{self.name} declares {width}x{height} pixels; the limit is {self.limit_pixels / 1e6:.0f} million",
                hint=_TOO_LARGE,
            )

        if width * height * frames > LIMIT_FRAMES * self.limit_pixels:
            raise BadInput(
                f"{self.name} declares {frames:,} frames of {width}x{height} pixels; "
                f"the limit is {LIMIT_FRAMES * self.limit_pixels / 1e6:,.0f} million in all",
                hint=_TOO_LARGE,
            )

    def not_read(self, kind: str) -> BadInput:
        article = "an" if kind[0] in "EI" else "a"
        return BadInput(f"{self.name} is {article} {kind} file, which is not supported", hint=_NOT_READ[kind])

    def picture(self, info: PictureInfo, frames: Iterator[np.ndarray]) -> Picture:
        return Picture(replace(info, warnings=tuple(dict.fromkeys(self.notes))), frames, self.stream.close)

    def still(self, info: PictureInfo, decode: Callable[[], np.ndarray]) -> Picture:
        return self.picture(info, self.decoded([decode]))

    def decoded(self, steps: list[Callable[[], np.ndarray]]) -> Iterator[np.ndarray]:
        """Yield one frame per step, each decoded only when requested."""
        for step in steps:
            with self.decoding():
                samples = np.ascontiguousarray(step())
            yield samples


def _opened(source: Path | BinaryIO | bytes) -> tuple[str, BinaryIO]:
    if isinstance(source, Path):
        try:
            return str(source), open_regular(source)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BadInput(f"cannot read {source}: {reason}", hint="check the path and its permissions") from error
    if isinstance(source, bytes):
        return "the input", io.BytesIO(source)
    return str(getattr(source, "name", "the input")), io.BytesIO(source.read())  # stdin cannot seek


def _read_tiff(file: _File) -> Picture:
    with file.decoding():
        raw = tiff.is_camera_raw(tiff.read_tags(file.stream))
    if raw:
        raise file.not_read("camera raw")
    with file.decoding():
        found = tiff.read_pages(file.stream)
        main = tiff.main_page(found)
        tags = tiff.read_tags(file.stream, found[main].offset)
        deep = tiff.is_deep(tags) or tiff.has_odd_samples(tags)
    kept = _kept_pages(file, found, main)
    if not deep:
        if tiff.sample_bits(tags) > 8:
            file.notes.append("it was read with 8 bits per sample")
        if lost := tiff.dropped_samples(tags):
            file.notes.append(f"{lost} extra channels, neither colour nor alpha, were left out")
        if main:  # Pillow opens the first page, which may be of a kind that it does not know
            with file.decoding():
                file.stream = tiff.starting_at(file.stream, found[main].offset)
        return _read_through_pillow(file, tags, [index - main for index in kept])
    with file.decoding():
        pages = tiff.deep_pages(file.stream)
        height, width, channels, depth = tiff.page_shape(pages[main])
        alike = [pages[index] for index in kept]
        lost = tiff.lost_channels(pages[main])
    file.check_size(width, height, len(alike))
    if lost:
        file.notes.append(f"{lost} extra channels, neither colour nor alpha, were left out")
    info = PictureInfo(format="TIFF", width=width, height=height, channels=channels, depth=depth, frames=len(alike))
    with file.decoding():
        info = with_tiff_metadata(info, tags, file.notes)
    return file.picture(info, file.decoded([lambda page=page: tiff.decode_page(file.stream, page) for page in alike]))


def _kept_pages(file: _File, pages: list[tiff.Page], main: int) -> list[int]:
    """Return the numbers of the pages to read: those like the main one; others are noted."""
    whole = [index for index, page in enumerate(pages) if index == main or not (page.is_copy or page.is_mask)]
    alike = [index for index in whole if pages[index].kind == pages[main].kind]
    copies = sum(page.is_copy for page in pages) - pages[main].is_copy
    if copies:
        file.notes.append(f"{copies} of {len(pages)} pages are reduced copies and were left out")
    if lost := len(pages) - copies - len(alike):
        file.notes.append(f"{lost} of {len(pages)} pages differ in size or kind from the first and were left out")
    return alike


def _read_pnm(file: _File) -> Picture:
    with file.decoding():
        floats = pnm.shape_float(file.stream)
    if floats is not None:
        height, width, channels = floats
        file.check_size(width, height)
        info = PictureInfo(format="PPM", width=width, height=height, channels=channels, depth=32)
        return file.still(info, lambda: pnm.decode_float(file.stream))
    with file.decoding():
        shape = pnm.shape_16_bit(file.stream)
    if shape is None:
        return _read_through_pillow(file)
    height, width, channels = shape
    file.check_size(width, height)
    info = PictureInfo(format="PPM", width=width, height=height, channels=channels, depth=16)
    return file.still(info, lambda: pnm.decode_16_bit(file.stream))


def _read_heif(file: _File) -> Picture:
    with file.decoding():
        image = heif.main_image(file.stream)
    width, height = image.size  # upright: the boxes say how to turn it, its EXIF data only repeats that
    file.check_size(width, height)
    info = PictureInfo(
        format="HEIC",
        width=width,
        height=height,
        channels=heif.channels(image),
        depth=16 if heif.bits(image) > 8 else 8,
        lossless=False,
    )
    with file.decoding():
        info = with_blocks(info, image.info, file.notes)
    return file.still(_with_boxes(file, info), lambda: heif.decode(image))


def _read_jpeg_xl(file: _File) -> Picture:
    with file.decoding():
        header = jpegxl.read_header(file.stream)
    file.check_size(header.width, header.height)
    with file.decoding():
        try:
            content = jpegxl.decode(file.stream, header)
        except ImportError as error:
            what = f"{file.name} is a JPEG XL file; the plugin that reads it is not installed"
            hint = "install it (pip install 'dagan[jxl]'), or convert the file first (djxl in.jxl out.png)"
            raise BadInput(what, hint=hint) from error
    file.notes += [f"{name} was left out" for name in content.left_out]
    if content.jpeg:  # it was compressed further without loss, and is restored to the byte
        file.stream.close()
        file.stream, file.format = io.BytesIO(content.jpeg), "JPEG"
        picture = _read_through_pillow(file)
        picture.info = replace(picture.info, format="JPEG XL")
        return picture
    height, width, channels = content.samples.shape
    depth: Depth = {1: 8, 2: 16, 4: 32}[content.samples.itemsize]  # type: ignore[assignment]
    if header.bits > depth:
        file.notes.append(f"it was read with {depth} bits per sample")
    info = PictureInfo(
        format="JPEG XL",
        width=width,
        height=height,
        channels=channels,
        depth=depth,
        lossless=header.is_lossless,
    )
    with file.decoding():
        info = with_blocks(info, content.blocks, file.notes)
    return file.still(info, lambda: content.samples)


def _read_through_pillow(file: _File, tags: tiff.Tags | None = None, pages: Sequence[int] = (0,)) -> Picture:
    """Read any other file with Pillow; `tags` are those of a TIFF, of which `pages` are read."""
    with file.decoding():
        if file.format == "PNG":
            file.stream, damaged = png.without_damaged_chunks(file.stream)
            file.notes += [f"its {kind} chunk has a wrong checksum and was left out" for kind in damaged]
        file.stream.seek(0)
        Image.MAX_IMAGE_PIXELS = file.limit_pixels  # Pillow checks this while opening
        image = Image.open(file.stream, formats=[file.format])
    file.check_size(*image.size)
    with file.decoding():
        count = 1 if file.format == "TIFF" else getattr(image, "n_frames", 1)  # Pillow would open every page
        if file.format == "PNG" and png.has_metadata_at_its_end(file.stream):
            image.load()  # Pillow reads it then
        orientation = 1 if file.format == "TIFF" else _orientation(image)  # Pillow rotates a TIFF itself
        mode = mode_for(image)
        lossless = _is_lossless(file)
        deep = jpeg2000.deep_shape(file.stream) if file.format == "JPEG2000" else None
        if deep and (deep.width, deep.height) != image.size:
            raise ValueError("its sizes contradict each other")
        deep_channels = png.deep_channels(file.stream) if file.format == "PNG" else 0
        chunks = png.kept_chunks(file.stream) if file.format == "PNG" else ()
    width, height = image.size[::-1] if orientation >= 5 else image.size
    info = PictureInfo(
        format=file.format,
        width=width,
        height=height,
        channels=CHANNELS[mode],
        depth=_DEPTHS.get(mode, 8),
        lossless=lossless,
        chunks=chunks,
    )
    with file.decoding():
        if tags is None:
            if file.format == "JPEG2000":
                image.info |= jpeg2000.metadata(file.stream)
            if file.format == "GIF":
                image.info |= gif.application_data(file.stream)
            if file.format == "JPEG":
                image.info.pop("xmp", None)  # Pillow reads the last of several packets only
                info = with_metadata(info, image, file.notes)
                several = image.format == "MPO"
                info = with_segments(info, read_segments(file.stream), orientation, file.notes, several=several)
            else:
                info = with_metadata(info, image, file.notes)
        else:
            info = with_tiff_metadata(info, tags, file.notes)
    if file.format == "PNG":
        with file.decoding():
            info = replace(info, colour=png.code_points(file.stream))
    if file.format == "AVIF":
        info = _with_boxes(file, info)
    if image.mode == "CMYK":
        through = "with its profile" if cmyk_profile(image) else "without a profile: colours are approximate"
        file.notes.append(f"CMYK was converted to sRGB {through}")
    if deep:
        info = replace(info, channels=deep.channels, depth=16)
        return file.still(info, lambda: jpeg2000.decode_deep(file.stream, deep))
    if file.format == "JPEG2000" and info.depth == 8 < jpeg2000.sample_bits(file.stream):
        file.notes.append("it was read with 8 bits per sample")
    if file.format == "AVIF" and _is_deep_avif(file):
        file.notes.append("it was read with 8 bits per sample")
    if image.format == "MPO":
        file.notes.append(f"only the first of its {count} images was read")
    if count > 1 and file.format in _ANIMATED:
        if deep_channels:
            file.notes.append("it was read with 8 bits per sample")
        file.check_size(*image.size, count)
        return _read_animation(file, image, info, orientation, count)
    if len(pages) > 1:
        file.check_size(*image.size, len(pages))
    if file.format == "TIFF":
        steps = [partial(_frame, image, index, mode) for index in pages]
        return file.picture(replace(info, frames=len(pages)), file.decoded(steps))
    if deep_channels:
        info = replace(info, channels=deep_channels, depth=16)
        return file.still(info, lambda: tiff.upright(png.decode_16_bit(file.stream), orientation))
    return file.still(info, lambda: tiff.upright(samples_of(image, mode), orientation))


def _with_boxes(file: _File, info: PictureInfo) -> PictureInfo:
    """Return `info` with what only the boxes of an AVIF or HEIC file tell: code points, light, other images."""
    try:
        file.stream.seek(0)
        data = file.stream.read()
        info = replace(info, colour=boxes.colour_of(data), chunks=(*info.chunks, *boxes.light_of(data)))
        file.notes += [f"{name} was left out: only the main image was read" for name in boxes.other_images(data)]
    except (struct.error, IndexError):
        file.notes.append("its colour boxes are damaged and were left out")
    return info


def _read_animation(file: _File, image: Image.Image, info: PictureInfo, orientation: int, count: int) -> Picture:
    """Read composited frames; all are decoded once in advance to find their times, transparency and damage."""
    first = 1 if image.info.get("default_image") else 0
    if first:
        file.notes.append("the fallback image for viewers without animation support was left out")
    width, height = image.size  # Pillow enlarges a GIF whose frames exceed its canvas; viewers crop them
    plays = _plays(image)
    durations = []
    seen_through = False
    for index in range(first, count):
        with file.decoding():
            frame = _frame(image, index, "RGBA")
            durations.append(float(image.info.get("duration") or 0))
            seen_through = seen_through or bool((frame[..., 3] < 255).any())
    mode = "RGBA" if seen_through else "RGB"
    info = replace(
        info,
        channels=CHANNELS[mode],
        depth=8,
        frames=len(durations),
        durations=tuple(durations) if len(durations) > 1 else (),
        plays=plays,
    )

    def step(index: int) -> np.ndarray:
        return tiff.upright(_frame(image, index, mode)[:height, :width], orientation)

    steps = [partial(step, index) for index in range(first, count)]
    return file.picture(info, file.decoded(steps))


def _frame(image: Image.Image, index: int, mode: str) -> np.ndarray:
    image.seek(index)
    return samples_of(image, mode)


def _orientation(image: Image.Image) -> int:
    value = Image.Image.getexif(image).get(0x0112, 1)  # that of a PNG would decode it
    return value if value in range(1, 9) else 1


def _plays(image: Image.Image) -> int:
    """Return how often an animation is played, 0 for forever; GIF counts the repetitions after the first play."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else loop + 1 if loop else 0
    return loop or 0


def _is_lossless(file: _File) -> bool:
    """True if the format, or for WebP its first image, is compressed without loss."""
    if file.format != "WEBP":
        return file.format not in ("JPEG", "AVIF", "JPEG2000")
    file.stream.seek(12)
    while len(head := file.stream.read(8)) == 8:
        if head[:4] in (b"VP8 ", b"VP8L"):
            return head[:4] == b"VP8L"
        size = int.from_bytes(head[4:], "little")
        file.stream.seek(16 if head[:4] == b"ANMF" else size + size % 2, io.SEEK_CUR)  # a frame holds chunks again
    return False


def _is_deep_avif(file: _File) -> bool:
    """True if the codec configuration declares more than 8 bits, which Pillow reduces to 8."""
    file.stream.seek(0)
    _, found, box = file.stream.read(1 << 16).partition(b"av1C")
    return bool(found) and len(box) > 2 and bool(box[2] & 0x40)
