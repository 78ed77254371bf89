"""TIFF: read 16-bit and float samples, which Pillow reduces to 8 bits or refuses, and write every kind.

Tags: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from dagan_cli.media.images.blocks import geotiff
from dagan_cli.media.images.blocks.geotiff import GeoTags
from dagan_cli.media.images.decoder_warnings import heard
from dagan_cli.media.images.info import Depth
from dagan_cli.media.images.metadata import EXIF_IFD, GPS_IFD, TIFF_TEXTS
from dagan_cli.media.images.png import packed_samples

if TYPE_CHECKING:
    from tifffile import TiffPage

_BITS, _SUBFILE, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SUB_IFDS, _DNG = 258, 254, 259, 262, 274, 330, 50706
_SAMPLES, _EXTRA = 277, 338
_PLAIN, _LZW = (1, 8, 32773, 32946), 5  # compressions that tifffile reads by itself, and one that FFmpeg does
XMP = 700  # tag of the packet
_INTEROP_IFD, _IPTC, _PHOTOSHOP = 0xA005, 33723, 34377
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_MASK = 4  # a photometric interpretation
_UNSPECIFIED, _PREMULTIPLIED, _UNPREMULTIPLIED = 0, 1, 2  # ExtraSamples values
_PAGE_TAGS = (254, 255, 256, 257, 258, 262, 277, 338, 339)  # in the order of `Page`
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "L", 16: "Q"}
_MOST_PAGES, _MOST_SAMPLES = 65_536, 4096
_BYTE, _ASCII, _SHORT, _LONG, _UNDEFINED, _DOUBLE, _LONG8 = 1, 2, 3, 4, 7, 12, 16
_CLASSIC_LIMIT = 4_000_000_000  # offsets have 32 bits; leaves some room for tags

Tags = dict[int, Any]


class NotReadable(Exception):
    """Unsupported kind of TIFF; the message names it."""


class Page(NamedTuple):
    """The place of a page's directory, and what its pixels are, by its tags; numbers that are not there are 0."""

    offset: int
    subfile: int
    old_subfile: int
    kind: tuple[tuple[int, ...], ...]  # size, bits, photometric, samples, extra samples, format: equal for like pages

    @property
    def is_copy(self) -> bool:
        """True for a reduced copy of another page: a thumbnail or an overview."""
        return bool(self.subfile & 1) or self.old_subfile == 2

    @property
    def is_mask(self) -> bool:
        return bool(self.subfile & 4) or self.kind[3][:1] == (_MASK,)


def read_pages(stream: BinaryIO) -> list[Page]:
    """Return all pages in the order of their directories. Raises ValueError or struct.error if the chain is damaged."""
    stream.seek(0)
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = 43 in head[2:4]
    (at,) = struct.unpack_from(f"{order}Q", head, 8) if big else struct.unpack_from(f"{order}L", head, 4)
    pages: list[Page] = []
    seen: set[int] = set()
    while at and at not in seen and len(pages) < _MOST_PAGES:
        seen.add(at)
        page, at = _read_page(stream, at, order, big)
        pages.append(page)
    if not pages:
        raise ValueError("it has no pages")
    return pages


def _read_page(stream: BinaryIO, at: int, order: str, big: bool) -> tuple[Page, int]:
    stream.seek(at)
    (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", stream.read(8 if big else 2))
    size = 20 if big else 12
    if count > 65535:
        raise ValueError("a directory of its pages is damaged")
    table = stream.read(count * size)
    (following,) = struct.unpack(f"{order}{'Q' if big else 'L'}", stream.read(8 if big else 4))
    values: dict[int, tuple[int, ...]] = {}
    for entry in range(0, count * size, size):
        tag, kind, number = struct.unpack_from(f"{order}HH{'Q' if big else 'L'}", table, entry)
        if tag not in _PAGE_TAGS or kind not in _WHOLE_NUMBERS or number > _MOST_SAMPLES:
            continue
        form = f"{order}{number}{_WHOLE_NUMBERS[kind]}"
        place, length = entry + size - (8 if big else 4), struct.calcsize(form)
        if length <= (8 if big else 4):
            values[tag] = struct.unpack_from(form, table, place)
        else:
            stream.seek(struct.unpack_from(f"{order}{'Q' if big else 'L'}", table, place)[0])
            values[tag] = struct.unpack(form, stream.read(length))
    subfile, old_subfile, *kind = (values.get(tag, (0,)) for tag in _PAGE_TAGS)
    return Page(at, subfile[0], old_subfile[0], tuple(kind)), following


def starting_at(stream: BinaryIO, at: int) -> BinaryIO:
    """Return a copy of the file whose first directory is the one at `at`."""
    stream.seek(0)
    data = bytearray(stream.read())
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    struct.pack_into(f"{order}{'Q' if big else 'L'}", data, 8 if big else 4, at)
    return io.BytesIO(data)


def main_page(pages: list[Page]) -> int:
    """Return the number of the page that is the picture: the first that is no reduced copy of another, and no mask."""
    return next((index for index, page in enumerate(pages) if not page.is_copy and not page.is_mask), 0)


def read_tags(stream: BinaryIO, at: int = 0) -> Tags:
    """Return the tags of the directory at `at`, by default the first, with EXIF and GPS directories as dictionaries."""
    stream.seek(0)
    head = stream.read(8)
    head += stream.read(8) if 43 in head[2:4] else b""  # BigTIFF
    first = TiffImagePlugin.ImageFileDirectory_v2(head)
    stream.seek(at or first.next)
    tags = _loaded(first, stream)
    for tag in (EXIF_IFD, GPS_IFD):
        if isinstance(at := tags.pop(tag, None), int):
            stream.seek(at)
            tags[tag] = _loaded(TiffImagePlugin.ImageFileDirectory_v2(head, group=tag), stream)
    return tags


def _loaded(directory: TiffImagePlugin.ImageFileDirectory_v2, stream: BinaryIO) -> Tags:
    directory.load(stream)
    tags = {}
    for tag in directory:
        with suppress(Exception):  # a damaged tag may raise anything; the other tags are still read
            value = directory[tag]
            tags[tag] = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    return tags


def is_camera_raw(tags: Tags) -> bool:
    """True for DNG, NEF, ARW, CR2 and similar: TIFFs whose first image is only a preview."""
    return _DNG in tags or (_SUB_IFDS in tags and tags.get(_SUBFILE, 0) & 1 == 1)


def is_deep(tags: Tags) -> bool:
    """True for grey or RGB with more than 8 bits."""
    return sample_bits(tags) > 8 and tags.get(_PHOTOMETRIC) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)


def has_odd_samples(tags: Tags) -> bool:
    """True for grey or RGB of 8 bits with further samples that Pillow drops without a word, and that are readable here.

    Pillow takes a sample of an unspecified kind for padding, and further ones for nothing.
    """
    samples, photometric = tags.get(_SAMPLES, 1), tags.get(_PHOTOMETRIC)
    if sample_bits(tags) != 8 or photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        return False
    extra = tags.get(_EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    more = samples - (3 if photometric == _RGB else 1)
    if more < 1 or (more == 1 and extra in ((_PREMULTIPLIED,), (_UNPREMULTIPLIED,))):
        return False
    compression = tags.get(_COMPRESSION, 1)
    return compression in _PLAIN or (compression == _LZW and samples <= 4)


def dropped_samples(tags: Tags) -> int:
    """Return the number of samples per pixel that Pillow drops from grey or RGB."""
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(tags.get(_PHOTOMETRIC, -1))
    extra = tags.get(_EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    if colours is None:
        return 0
    has_alpha = extra[:1] in ((_PREMULTIPLIED,), (_UNPREMULTIPLIED,)) or (not extra and colours == 3)
    return max(0, tags.get(_SAMPLES, 1) - colours - has_alpha)


def sample_bits(tags: Tags) -> int:
    bits = tags.get(_BITS, 1)
    return max(bits) if isinstance(bits, tuple) else bits


def deep_pages(stream: BinaryIO) -> list[TiffPage]:
    """Return the pages, for `page_shape` and `decode_page`."""
    import tifffile

    stream.seek(0)
    return [page.aspage() for page in tifffile.TiffFile(stream).pages]


def page_shape(page: TiffPage) -> tuple[int, int, int, Depth]:
    """Return the upright (H, W, C, bits) of `decode_page`'s result. Raises NotReadable."""
    if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None:
        raise NotReadable("volumes and other stacks of several images per page are not supported")
    kind, bits = page.dtype.kind, page.bitspersample
    if not (kind == "f" or (kind == "u" and bits in (8, 16))):
        raise NotReadable(f"{'signed' if kind == 'i' else 'unsigned'} samples of {bits} bits are not supported")
    channels = _colours(page) + (_alpha_at(page) is not None)
    height, width = page.imagelength, page.imagewidth
    if not (isinstance(height, int) and isinstance(width, int)) or lost_channels(page) < 0:
        raise ValueError("its size or number of channels is damaged")
    if _orientation(page) >= 5:
        height, width = width, height
    return height, width, channels, 32 if kind == "f" else 16 if bits == 16 else 8


def lost_channels(page: TiffPage) -> int:
    """Return the number of extra channels, neither colour nor alpha, which are not read."""
    return page.samplesperpixel - _colours(page) - (_alpha_at(page) is not None)


def decode_page(stream: BinaryIO, page: TiffPage) -> np.ndarray:
    """Decode a page to upright samples (H, W, C) uint8, uint16 or float32, not premultiplied. Raises NotReadable."""
    colours, alpha_at = _colours(page), _alpha_at(page)
    samples = _decode(stream, page)
    colour = samples[..., :colours]
    if page.photometric == _WHITE_IS_ZERO:
        colour = (np.iinfo(colour.dtype).max if colour.dtype.kind == "u" else 1) - colour
    if alpha_at is not None:
        alpha = samples[..., alpha_at : alpha_at + 1]
        if page.extrasamples[alpha_at - colours : alpha_at - colours + 1] == (_PREMULTIPLIED,):
            colour = _divided_by(colour, alpha)
        colour = np.concatenate([colour, alpha], axis=2)
    if colour.dtype.kind == "f":
        colour = colour.astype(np.float32)
    return np.ascontiguousarray(upright(colour, _orientation(page)))


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored samples (H, W, C) upright, for an EXIF orientation of 1 to 8."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return samples[rows, columns]


def write_tiff(
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    *,
    expected_bytes: int,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    iptc: bytes | None,
    photoshop: bytes | None,
    geo: GeoTags,
    dpi: tuple[float, float] | None,
) -> None:
    """Write frames (H, W, C) uint8, uint16 or float32 as deflated pages; `file` must be readable too.

    `expected_bytes`, the size of all samples, decides on 64-bit offsets.
    """
    import tifffile

    texts, directories = _taken_apart(exif)
    big = expected_bytes > _CLASSIC_LIMIT
    extra: list[tuple] = [(tag, _ASCII, len(text) + 1, text, True) for tag, text in texts.items()]
    # tifffile refuses these two tags: write them under the free numbers below, and fix the numbers afterwards
    extra += [(tag - 1, _LONG8 if big else _LONG, 1, 0, True) for tag in directories]
    extra += [
        (tag, kind, len(data), data, True)
        for tag, kind, data in ((XMP, _BYTE, xmp), (_IPTC, _UNDEFINED, iptc), (_PHOTOSHOP, _BYTE, photoshop))
        if data
    ]
    extra += [_geo_tag(tag, value) for tag, value in geo]
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        for frame in frames:
            channels = frame.shape[2]
            writer.write(
                frame if channels > 1 else frame[..., 0],
                photometric="rgb" if channels >= 3 else "minisblack",
                planarconfig="contig" if channels > 1 else None,
                extrasamples=["unassalpha"] if channels in (2, 4) else None,
                compression="zlib",
                predictor=frame.dtype.kind == "u",
                iccprofile=icc,
                resolution=dpi,
                resolutionunit="inch" if dpi else None,
                software=False,
                extratags=extra,
                metadata=None,
                contiguous=False,
            )
    if directories:
        _append_directories(file, directories, big)


def _geo_tag(tag: int, value: tuple[float, ...] | str) -> tuple:
    if isinstance(value, str):
        text = value.encode("latin-1", "replace")
        return tag, _ASCII, len(text) + 1, text, True
    return tag, _SHORT if tag == geotiff.KEYS else _DOUBLE, len(value), value, True


def can_hold(exif: bytes) -> bool:
    """True if EXIF data can be split into the directories of a TIFF; damaged values cannot."""
    with heard() as warned:
        try:
            _, directories = _taken_apart(exif)
            for tag, values in directories.items():
                _directory(tag, values, big=False).tobytes(8)
        except Exception:  # Pillow raises almost anything over damaged values
            return False
    return not warned


def _taken_apart(exif: bytes | None) -> tuple[dict[int, bytes], dict[int, Tags]]:
    """Split EXIF data into its texts and its EXIF and GPS directories."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    texts = {tag: _text(tags[tag]) for tag in TIFF_TEXTS if tag in tags}
    directories = {tag: dict(values) for tag in (EXIF_IFD, GPS_IFD) if (values := tags.get_ifd(tag))}
    for values in directories.values():
        values.pop(_INTEROP_IFD, None)  # a nested directory, useless outside the file it describes
    return texts, directories


def _directory(tag: int, values: Tags, *, big: bool) -> TiffImagePlugin.ImageFileDirectory_v2:
    head = b"II+\0\x08\0\0\0" + b"\x10" + bytes(7) if big else b"II*\0\x08\0\0\0"
    directory = TiffImagePlugin.ImageFileDirectory_v2(ifh=head, group=tag)
    directory.update(values)
    return directory


def _append_directories(file: BinaryIO, directories: dict[int, Tags], big: bool) -> None:
    """Append the EXIF and GPS directories to the file, and link them in the placeholders of `write_tiff`."""
    import tifffile

    file.seek(0)
    tags = tifffile.TiffFile(file).pages[0].aspage().tags
    links = {tag: tags[tag - 1] for tag in directories}
    for tag, values in directories.items():
        at = file.seek(0, io.SEEK_END)
        at += file.write(bytes(at % 2))
        file.write(_directory(tag, values, big=big).tobytes(at))
        file.seek(links[tag].offset)
        file.write(struct.pack("<H", tag))
        file.seek(links[tag].valueoffset)
        file.write(struct.pack("<Q" if big else "<I", at))


def _decode(stream: BinaryIO, page: TiffPage) -> np.ndarray:
    """Decode to (H, W, S) as stored; with FFmpeg where tifffile lacks a codec, as for LZW."""
    try:
        samples = page.asarray()
    except (KeyError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise
        if page.dtype not in (np.uint8, np.uint16):
            raise NotReadable(f"float samples with {_compression(page)} compression are not supported") from error
        return _decode_with_ffmpeg(stream, page)
    if page.axes == "SYX":
        samples = np.moveaxis(samples, 0, 2)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _decode_with_ffmpeg(stream: BinaryIO, page: TiffPage) -> np.ndarray:
    import av

    stream.seek(0)
    decoder = av.CodecContext.create("tiff", "r")
    decoder.options = {"page": str(page.index + 1)}
    (frame,) = decoder.decode(av.Packet(stream.read()))  # type: ignore[attr-defined]
    depths = {component.bits for component in frame.format.components}
    if (
        page.dtype is None
        or depths != {8 * page.dtype.itemsize}
        or len(frame.planes) != 1
        or len(frame.format.components) != page.samplesperpixel
    ):
        raise NotReadable(f"{_compression(page)} compression of this layout is not supported")
    return packed_samples(frame, f"{'>' if frame.format.is_big_endian else '<'}u{page.dtype.itemsize}")


def _compression(page: TiffPage) -> str:
    return getattr(page.compression, "name", str(page.compression))


def _colours(page: TiffPage) -> int:
    return 3 if page.photometric == _RGB else 1


def _alpha_at(page: TiffPage) -> int | None:
    """Return the place of alpha among the samples: a single further sample of an unspecified kind is alpha too."""
    for at, kind in enumerate(page.extrasamples, _colours(page)):
        if kind in (_PREMULTIPLIED, _UNPREMULTIPLIED):
            return at
    is_single = page.samplesperpixel == _colours(page) + 1
    return _colours(page) if is_single and tuple(page.extrasamples) in ((), (_UNSPECIFIED,)) else None


def _orientation(page: TiffPage) -> int:
    value = page.tags.valueof(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _divided_by(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undo premultiplication; fully transparent pixels stay 0."""
    most = np.iinfo(colour.dtype).max if colour.dtype.kind == "u" else 1
    divided = np.divide(colour * float(most), alpha, out=np.zeros(colour.shape), where=alpha > 0)
    return np.rint(np.minimum(divided, most)).astype(colour.dtype) if colour.dtype.kind == "u" else divided


def _text(value: object) -> bytes:
    return str(value).rstrip("\0").encode("utf-8", "surrogateescape")
