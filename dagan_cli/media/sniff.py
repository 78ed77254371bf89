"""Detect file formats by the first bytes rather than by the name, and what a name promises."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Literal

from dagan_cli.files import open_regular

HEAD = 512  # bytes that suffice to detect the format

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"qoif", "QOI"),
    # Recognised but not read, so that the error can suggest a conversion.
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"v/1\x01", "EXR"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
)
_NOT_READ_BY_NAME = {  # recognised, but not read; their first bytes are those of other files too
    ".ico": ("ICO", b"\0\0\1\0"),
    ".pcx": ("PCX", b"\n"),
    ".dds": ("DDS", b"DDS "),
    ".hdr": ("Radiance HDR", b"#?"),
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}

_VIDEOS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV",
    b"OggS",
    b"\0\0\x01\xba",  # MPEG program stream
    b"\0\0\x01\xb3",  # MPEG-1/2 elementary stream
    b"0&\xb2u\x8ef\xcf\x11",  # ASF, WMV
    b"\x06\x0e+4\x02\x05\x01\x01",  # MXF
    b"YUV4MPEG2",
    b"DKIF",
    b".RMF",
)
_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # first box of a .mov older than `ftyp`
_AUDIO_SUFFIXES = {".mka", ".oga", ".ogg", ".opus", ".spx", ".m4a", ".m4b", ".wma"}
# Names that promise an image or a video, whatever the content is. Those of programs' sources (.ts, .mts) do not.
_PICTURE_NAME = re.compile(
    r"\.(a?png|jpe?g|jpe|jfif|mpo|gif|webp|avif|hei[cf]|hif|tiff?|bmp|dib|tga|qoi|jp2|j2[kc]|jp[xf]|jxl|p[nbgp]m|pfm|psd|exr"
    r"|hdr|dds|pcx|ico|dng|cr[23]|nef|arw|raf|orf|rw2)"
)
_VIDEO_NAME = re.compile(
    r"\.(mkv|mp4|m4v|mov|webm|avi|f[l4]v|ogv|wmv|asf|mxf|y4m|ivf|3g[p2]|m2ts|rm|rmvb|nut|divx|mjpe?g"
    r"|h?26[45]|hevc|dv|mpe?g|m[12]v|vob)"
)
_BARE_VIDEO_SUFFIXES = {".264", ".h264", ".265", ".h265", ".hevc", ".dv", ".mpg", ".mpeg", ".m1v", ".m2v", ".vob"}


def picture_format(head: bytes, name: str = "") -> str | None:
    """Return the image format that starts with `head`, or None; `name` matters for TGA and others with no signature."""
    for magic, found in _PICTURES:
        if head.startswith(magic):
            return found
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = _brands(head)
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else None
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return "BMP"
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456fF" and head[2:3].isspace():
        return "PPM"
    if name.lower().endswith(".tga") and len(head) >= 18 and head[1] in (0, 1) and head[2] in (1, 2, 3, 9, 10, 11):
        return "TGA"
    found, magic = _NOT_READ_BY_NAME.get(Path(name).suffix.lower(), (None, b""))
    return found if head.startswith(magic) else None


def is_picture(path: Path) -> bool:
    """True if the file at `path` is an image, still or animated; False if it cannot be read."""
    return picture_format(_head(path), path.name) is not None


def looks_like_video(path: Path) -> bool:
    """True if the file at `path` starts like a video; raw streams, which have no header, are recognised by suffix."""
    return starts_like_video(_head(path), path.name)


def starts_like_video(head: bytes, name: str = "") -> bool:
    """True if `head`, at least HEAD bytes of a file or all of it, starts like a video; see `looks_like_video`."""
    suffix = Path(name).suffix.lower()
    if not head or suffix in _AUDIO_SUFFIXES or picture_format(head, name):
        return False
    if head.startswith(_VIDEOS) or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] not in _AUDIO_BRANDS
    if head[4:8] in _QUICKTIME or _is_transport_stream(head):
        return True
    return suffix in _BARE_VIDEO_SUFFIXES and b"\0" in head[:16]


def kind_by_content(path: Path) -> Literal["picture", "video"] | None:
    """Return what the file at `path` is, see `is_picture` and `looks_like_video`. Raises OSError."""
    with open_regular(path) as file:
        head = file.read(HEAD)
    if picture_format(head, path.name):
        return "picture"
    return "video" if starts_like_video(head, path.name) else None


def named_kind(path: Path) -> Literal["picture", "video"] | None:
    """Return what the name of a file promises, by its suffix alone."""
    suffix = path.suffix.lower()
    if _PICTURE_NAME.fullmatch(suffix):
        return "picture"
    return "video" if _VIDEO_NAME.fullmatch(suffix) else None


def _brands(head: bytes) -> set[bytes]:
    """Return the major and compatible brands of an ISO media file."""
    end = min(struct.unpack_from(">I", head)[0], len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}


def _is_transport_stream(head: bytes) -> bool:
    """True if `head` holds packets of 188 bytes that start with 0x47; .m2ts puts 4 bytes before each packet."""
    return any(head[at::step][:2] == b"GG" for at, step in ((0, 188), (4, 192)) if len(head) > at + step)


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(HEAD)
    except OSError:
        return b""
