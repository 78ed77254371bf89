"""JPEG XL: the image by libjxl, upright, with 8 or 16 bits, and the metadata in its boxes.

Format: ISO/IEC 18181-1 (codestream) and 18181-2 (boxes). pillow-jxl-plugin, an extra, decodes: 8 bits, or 16 if grey.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

import numpy as np

from dagan_cli.media.images.blocks.boxes import walk
from dagan_cli.media.images.decoders.heif import not_premultiplied

_START = b"\xff\x0a"  # of a codestream
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width : height
_ALPHA, _SPOT, _BLACK, _CFA = 0, 2, 4, 5  # types of extra channels
_USED = {b"JXL ", b"ftyp", b"jxll", b"jxli", b"jxlc", b"jxlp", b"jbrd", b"Exif", b"xml "}
_NAMES = {b"Exif": "EXIF data", b"xml ": "XMP data", b"jumb": "JUMBF data", b"jhgm": "a gain map for HDR screens"}


class NotSupported(ValueError):
    """A file that may be fine, of a kind that the plugin does not read."""


class Header(NamedTuple):
    """Facts of a codestream. Width and height are those before it is turned."""

    width: int
    height: int
    bits: int  # of a sample
    extras: tuple[int, ...]  # types of the channels besides colour
    is_premultiplied: bool
    is_lossless: bool  # False for colours in XYB; the recompressed blocks of a JPEG count as lossless


class Content(NamedTuple):
    """A decoded file: the JPEG that it was made of, or its samples and metadata."""

    jpeg: bytes
    samples: np.ndarray  # (H, W, C) uint8, uint16 or float32
    blocks: dict[str, bytes]  # profile, EXIF and XMP, as Pillow's `info` names them
    left_out: tuple[str, ...]  # names of other data


def read_header(stream: BinaryIO) -> Header:
    """Read sizes and kinds of samples. Raises ValueError for damage, NotSupported for CMYK and animations."""
    bits = _Bits(_codestream(_read(stream)))
    width, height = _size(bits)
    depth, extras, premultiplied, xyb = 8, [], False, True
    if not bits.flag():  # else everything is as usual
        if bits.flag():
            bits.take(3)  # orientation; libjxl turns
            if bits.flag():
                _size(bits)  # intrinsic
            if bits.flag():
                _preview(bits)
            if bits.flag():
                raise NotSupported("it is an animated JPEG XL, of which only the last frame could be read")
        depth = _depth(bits)
        bits.flag()  # whether 16 bits suffice for the decoder's buffers
        for _ in range(bits.choose((0, 0), (1, 0), (2, 4), (1, 12))):
            kind, associated = _extra(bits)
            extras.append(kind)
            premultiplied |= associated
        xyb = bits.flag()
    if _BLACK in extras:
        raise NotSupported("CMYK samples are not supported in JPEG XL")
    return Header(width, height, depth, tuple(extras), premultiplied, not xyb)


def decode(stream: BinaryIO, header: Header) -> Content:
    """Decode all of the file. Alpha is not premultiplied. Raises ImportError without the plugin, ValueError for damage.

    Decoding is not repeatable in parts: libjxl gives profile and samples at once.
    """
    from pillow_jxl import Decoder  # pyright: ignore[reportMissingImports]

    data = _read(stream)
    try:
        is_jpeg, info, decoded, icc, _ = Decoder()(data)
    except RuntimeError as error:  # its text is about how libjxl was built
        raise ValueError("the codestream is damaged, truncated or of an unknown kind") from error
    kinds = [(box.kind, data[box.start : box.end]) for box in walk(data) if not box.path] if data[:2] != _START else []
    left_out = [
        *(f"compressed {_named(content[:4])}" for kind, content in kinds if kind == b"brob" and not is_jpeg),
        *(_named(kind) for kind, _ in kinds if kind not in _USED and kind != b"brob"),
    ]
    if is_jpeg:
        return Content(decoded, np.empty((0, 0, 1), np.uint8), {}, tuple(left_out))
    extra = len(header.extras) - info.has_alpha_channel
    left_out += [f"{extra} extra channels, neither colour nor alpha,"] if extra else []
    blocks = {"icc_profile": bytes(icc)}
    for kind, content in kinds:
        if kind == b"Exif":  # after the offset of the TIFF header, which is nearly always 0
            blocks.setdefault("exif", content[4 + int.from_bytes(content[:4], "big") :])
        elif kind == b"xml ":
            blocks.setdefault("xmp", content)
    return Content(b"", _samples(decoded, info, header), blocks, tuple(left_out))


def _samples(decoded: bytes, info, header: Header) -> np.ndarray:
    channels = info.num_channels + info.has_alpha_channel
    count = info.width * info.height * channels
    types = {count: np.uint8, 2 * count: np.uint16, 4 * count: np.float32}
    if info.mode.startswith("F;") or len(decoded) not in types:
        raise NotSupported(f"JPEG XL samples of the kind {info.mode} are not supported")
    samples = np.frombuffer(decoded, types[len(decoded)]).reshape(info.height, info.width, channels)
    if header.is_premultiplied and info.has_alpha_channel and samples.dtype != np.float32:
        samples = not_premultiplied(samples)
    return samples


def _named(kind: bytes) -> str:
    return _NAMES.get(kind) or f"box {kind.decode('ascii', 'replace')!r}"


def _codestream(data: bytes) -> bytes:
    """Return the first kilobyte of the codestream, bare or in boxes."""
    if data.startswith(_START):
        return data[:1024]
    parts = b""
    for box in walk(data):
        if box.kind in (b"jxlc", b"jxlp") and len(parts) < 1024:
            parts += data[box.start + 4 * (box.kind == b"jxlp") : box.end][:1024]
    if not parts.startswith(_START):
        raise ValueError("it holds no JPEG XL codestream")
    return parts


class _Bits:
    """Read numbers from bytes, lowest bit first. Raises ValueError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data[2:], "little")
        self._left = 8 * (len(data) - 2)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("its header is cut short")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        self._left -= count
        return value

    def flag(self) -> bool:
        return self.take(1) == 1

    def choose(self, *choices: tuple[int, int]) -> int:
        """Read two bits, which choose one of four (offset, bits): a number of so many bits, plus the offset."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)


def _size(bits: _Bits) -> tuple[int, int]:
    """Read a SizeHeader: (width, height)."""
    small = bits.flag()

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    return _sides(bits, side)


def _preview(bits: _Bits) -> tuple[int, int]:
    small = bits.flag()

    def side() -> int:
        if small:
            return 8 * bits.choose((16, 0), (32, 0), (1, 5), (33, 9))
        return bits.choose((1, 6), (65, 8), (321, 10), (1345, 12))

    return _sides(bits, side)


def _sides(bits: _Bits, side) -> tuple[int, int]:
    height = side()
    if ratio := bits.take(3):
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return side(), height


def _depth(bits: _Bits) -> int:
    if bits.flag():  # float
        depth = bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
        return depth
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6))


def _extra(bits: _Bits) -> tuple[int, bool]:
    """Read an ExtraChannelInfo: its type, and whether it is alpha that colours were multiplied by."""
    if bits.flag():
        return _ALPHA, False
    kind = bits.choose((0, 0), (1, 0), (2, 4), (18, 6))
    _depth(bits)
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))  # subsampling
    bits.take(8 * bits.choose((0, 0), (0, 4), (16, 5), (48, 10)))  # name
    if kind == _ALPHA:
        return kind, bits.flag()
    if kind == _SPOT:
        bits.take(64)
    if kind == _CFA:
        bits.choose((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, False


def _read(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()
