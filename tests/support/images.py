"""Images for tests: made, written, and read back by other programs."""

import io
import os
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from dagan_cli.media.images import (
    PictureInfo,
    encode_picture,
    open_picture,
    plan_output,
)
from tests.support.tiny import noise as noise

DATA = os.environ.get("DAGAN_TEST_DATA")


SHAPES = {"grey": (9, 13, 1), "grey with alpha": (9, 13, 2), "RGB": (9, 13, 3), "RGBA": (9, 13, 4)}


def photo(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth in space, so that lossy formats keep it."""
    y, x, c = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return np.rint(255 * (0.25 + 0.5 * (x + y) / 2 + 0.2 * c)).astype(np.uint8)


def pillow(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def opened(data: bytes | Path) -> tuple[PictureInfo, list[np.ndarray]]:
    with open_picture(data) as picture:
        return picture.info, list(picture.frames)


def info_of(array: np.ndarray, **fields) -> PictureInfo:
    height, width, channels = array.shape
    return PictureInfo(
        **{"format": "PNG", "width": width, "height": height, "channels": channels, "depth": 8 * array.itemsize}
        | fields
    )


def written(frames: list[np.ndarray], info: PictureInfo, format: str, **choices) -> bytes:
    height, width, _ = frames[0].shape
    buffer = io.BytesIO()
    encode_picture(buffer, plan_output(info, None, (width, height), format=format, **choices), frames)
    return buffer.getvalue()


def ffmpeg_decode(data: bytes, pix_fmt: str, shape: tuple[int, ...], *options: str) -> np.ndarray:
    """The samples as an independent FFmpeg sees them."""
    command = [
        get_ffmpeg_exe(),
        "-v",
        "error",
        *options,
        "-i",
        "-",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        pix_fmt,
        "-",
    ]
    raw = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<u2" if pix_fmt.endswith("le") else "u1").reshape(shape)


def ffmpeg_tiff(array: np.ndarray, algorithm: str) -> bytes:
    encoder = av.CodecContext.create("tiff", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *array.shape[1::-1], "rgb48le", Fraction(1)
    encoder.options = {"compression_algo": algorithm}
    frame = av.VideoFrame.from_ndarray(array, format="rgb48le")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def exif_block(orientation: int = 1, order: str = "<") -> bytes:
    """Orientation and maker; a sub-directory with PixelXDimension 13 and a maker note; a thumbnail's directory."""

    def directory(entries: list[tuple[int, int, int, bytes]], following: int) -> bytes:
        rows = b"".join(struct.pack(f"{order}HHL", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
        return struct.pack(f"{order}H", len(entries)) + rows + struct.pack(f"{order}L", following)

    def short(n: int) -> bytes:
        return struct.pack(f"{order}H", n)

    def long(n: int) -> bytes:
        return struct.pack(f"{order}L", n)

    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, 8)
    inner, thumbnail, note = 8 + 2 + 36 + 4, 8 + 2 + 36 + 4 + 2 + 24 + 4, 8 + 2 + 36 + 4 + 2 + 24 + 4 + 2 + 12 + 4
    first = [(0x0112, 3, 1, short(orientation)), (0x010F, 2, 4, b"Ace\0"), (0x8769, 4, 1, long(inner))]
    second = [(0xA002, 3, 1, short(13)), (0x927C, 7, 8, long(note))]
    third = [(0x0100, 4, 1, long(160))]
    return head + directory(first, thumbnail) + directory(second, 0) + directory(third, 0) + b"a note!!"
