"""Write animated WebP frame by frame: Pillow merges equal frames, and writes a still if all frames are equal.

Format: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

_ICC, _ALPHA, _EXIF, _XMP, _ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
_REPLACE = 0x02  # do not blend with the previous frame
_LONGEST = (1 << 24) - 1  # milliseconds


def write_webp_animation(
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    durations: Sequence[float],
    plays: int,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    options: dict[str, Any],
) -> None:
    """Write frames (H, W, 3 or 4) uint8, one at a time; `durations` in milliseconds, `options` for Pillow's encoder.

    Start times are rounded to 1 ms, so that rounding errors do not add up. `file` must be seekable.
    """
    starts = np.rint(np.cumsum([0, *durations])).astype(int)
    origin = file.tell()
    file.write(b"RIFF\0\0\0\0WEBP")
    for index, frame in enumerate(frames):
        height, width, channels = frame.shape
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        if index == 0:
            flags = _ANIMATION | (_ALPHA if channels == 4 else 0)
            flags |= (_ICC if icc else 0) | (_EXIF if exif else 0) | (_XMP if xmp else 0)
            file.write(_chunk(b"VP8X", struct.pack("<I", flags) + size))
            if icc:
                file.write(_chunk(b"ICCP", icc))
            file.write(_chunk(b"ANIM", struct.pack("<IH", 0, min(plays, 65535))))
        time = min(int(starts[index + 1] - starts[index]), _LONGEST)
        head = bytes(6) + size + time.to_bytes(3, "little") + bytes([_REPLACE])
        file.write(_chunk(b"ANMF", head + b"".join(_still_chunks(frame, options))))
    for kind, data in ((b"EXIF", exif), (b"XMP ", xmp)):
        if data:
            file.write(_chunk(kind, data))
    end = file.tell()
    file.seek(origin + 4)
    file.write(struct.pack("<I", end - origin - 8))
    file.seek(end)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _still_chunks(frame: np.ndarray, options: dict[str, Any]) -> Iterator[bytes]:
    """Yield the chunks with the pixels of a frame, extracted from a still encoded by Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "WEBP", **options)
    webp = buffer.getvalue()
    at = 12
    while at < len(webp):
        size = struct.unpack_from("<I", webp, at + 4)[0]
        end = at + 8 + size + size % 2
        if webp[at : at + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            yield webp[at:end]
        at = end
