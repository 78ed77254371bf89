"""Write animated GIF frame by frame: Pillow would keep every frame in memory and merge equal ones.

Format: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image

_SAMPLE = 1 << 18  # pixels that suffice to choose a palette
_OPAQUE = 128  # alpha from which a pixel is visible; GIF has no partial transparency
_KEEP, _CLEAR = 1, 2  # disposal of a frame before the next one is drawn
_XMP, _ICC = b"XMP DataXMP", b"ICCRGBG1012"  # of application extensions
# A packet is written without block lengths: a decoder that reads its letters as lengths ends up in this trailer.
_XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
_LONGEST = 65535  # in hundredths of a second


def application_data(stream: BinaryIO, *, before_image: bool = False) -> dict[str, bytes]:
    """Return the XMP packet ("xmp") and colour profile ("icc_profile") of a GIF, which Pillow does not read.

    With `before_image`, what is behind the first image does not count: it need not be read.
    """
    stream.seek(10)
    flags = stream.read(3)[:1]
    if not flags:
        return {}
    stream.seek(_table(flags[0]), io.SEEK_CUR)
    found: dict[str, bytes] = {}
    while kind := stream.read(1):
        if kind == b"!" and stream.read(1) == b"\xff":
            head = stream.read(stream.read(1)[0])
            blocks = _read_blocks(stream)
            if head == _XMP and (end := b"".join(blocks).rfind(_XMP_TRAILER[:4])) >= 0:
                found["xmp"] = b"".join(blocks)[:end]
            elif head == _ICC:
                found["icc_profile"] = b"".join(block[1:] for block in blocks)
        elif kind == b"!":
            _read_blocks(stream)
        elif kind == b"," and before_image:
            break
        elif kind == b"," and (place := stream.read(9))[8:]:
            stream.seek(_table(place[8]) + 1, io.SEEK_CUR)
            _read_blocks(stream)
        else:
            break
    return found


def _table(flags: int) -> int:
    """Return the size of a colour table, in bytes."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def _read_blocks(stream: BinaryIO) -> list[bytes]:
    """Return the blocks up to the empty one, each with its length in front."""
    blocks: list[bytes] = []
    while size := stream.read(1):
        if size == b"\0" or (len(blocks) and len(blocks[-1]) <= blocks[-1][0]):
            break
        blocks.append(size + stream.read(size[0]))
    return blocks


def write_gif(
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    durations: Sequence[float] = (),
    plays: int = 0,
    comment: bytes | None = None,
    xmp: bytes | None = None,
    icc: bytes | None = None,
) -> None:
    """Write frames (H, W, C) uint8, one at a time, each with its own palette; `durations` in milliseconds.

    Start times are rounded to 10 ms, so that rounding errors do not add up.
    """
    starts = np.rint(np.cumsum([0, *durations]) / 10).astype(int)
    for index, frame in enumerate(frames):
        height, width, channels = frame.shape
        if index == 0:
            file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0))  # 0x70: 8 bits per colour
            if durations and plays != 1:  # the block counts repetitions after the first play; 0 means forever
                file.write(
                    b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", min(plays - 1, 65535) if plays else 0, 0)
                )
            if comment:
                file.write(b"!\xfe" + _blocks(comment))
            if icc:
                file.write(b"!\xff\x0b" + _ICC + _blocks(icc))
            if xmp:
                file.write(b"!\xff\x0b" + _XMP + xmp + _XMP_TRAILER)
        indices, palette, unseen = indexed(frame)
        time = min(int(starts[index + 1] - starts[index]), _LONGEST) if durations else 0
        disposal = _CLEAR if durations and channels in (2, 4) else _KEEP if durations else 0
        flags = disposal << 2 | (unseen is not None)
        file.write(b"!\xf9\x04" + struct.pack("<BHBB", flags, time, unseen or 0, 0))
        file.write(_image_block(indices, palette))
    file.write(b";")


def indexed(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Convert (H, W, C) uint8 to indices (H, W), palette (N <= 256, 3), and the transparent index, if there is one.

    Exact if the frame has few enough colours, else a median-cut palette with error diffusion.
    """
    channels = frame.shape[2]
    colour = frame[..., :3] if channels >= 3 else frame[..., :1].repeat(3, axis=2)
    seen = frame[..., -1] >= _OPAQUE if channels in (2, 4) else np.ones(frame.shape[:2], bool)
    room = 256 if seen.all() else 255
    packed = colour.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values, inverse = np.unique(packed[seen], return_inverse=True)
    indices = np.zeros(frame.shape[:2], np.uint8)
    if len(values) <= room:
        palette = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)
        indices[seen] = inverse.reshape(-1)
    else:
        visible = colour[seen]
        some = visible[:: max(1, len(visible) // _SAMPLE)]
        chosen = Image.fromarray(some[None]).quantize(room, Image.Quantize.MEDIANCUT, kmeans=1)
        palette = np.asarray(chosen.getpalette(), np.uint8).reshape(-1, 3)[:room]
        indices = np.array(Image.fromarray(np.ascontiguousarray(colour)).quantize(palette=chosen))
    if room == 256:
        return indices, palette, None
    indices[~seen] = len(palette)
    return indices, np.vstack([palette, np.zeros((1, 3), np.uint8)]), len(palette)


def _image_block(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """Return descriptor, local palette and pixels of one frame, extracted from a GIF encoded by Pillow."""
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "GIF", optimize=False, interlace=False)
    gif = buffer.getvalue()
    size = gif[10] & 7
    at = 13 + (6 << size)
    table = gif[13:at]
    while gif[at : at + 1] == b"!":
        at += 2
        while gif[at]:
            at += 1 + gif[at]
        at += 1
    return gif[at : at + 9] + bytes([0x80 | size]) + table + gif[at + 10 : -1]


def _blocks(data: bytes) -> bytes:
    """Split data into blocks of at most 255 bytes, each preceded by its length, terminated by an empty block."""
    parts = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
