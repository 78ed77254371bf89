"""PPM and PGM with more than 8 bits, which Pillow reduces to 8, and PFM, of which it reads grey only.

Formats: https://netpbm.sourceforge.net/doc/ppm.html, https://www.pauldebevec.com/Research/HDR/PFM/
"""

from __future__ import annotations

import math
import re
from typing import BinaryIO

import numpy as np

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P([2356])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
_FLOAT_HEADER = re.compile(rb"P([fF])\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[0-9.]+(?:[eE][-+]?\d+)?)(?:\r\n|\s)")
_HEADER_BYTES = 1 << 16  # only long comments can exceed this


def shape_16_bit(stream: BinaryIO) -> tuple[int, int, int] | None:
    """Return (H, W, C) of a PGM or PPM with more than 8 bits; None for anything else."""
    stream.seek(0)
    header = _HEADER.match(stream.read(_HEADER_BYTES))
    if header is None or not 255 < int(header[4]) <= 65535:
        return None
    return int(header[3]), int(header[2]), 1 if header[1] in b"25" else 3


def decode_16_bit(stream: BinaryIO) -> np.ndarray:
    """Decode the samples, (H, W, C) uint16, scaled so that the file's maximum becomes 65535.

    Raises ValueError if samples are missing or above the maximum.
    """
    stream.seek(0)
    data = stream.read()
    header = _HEADER.match(data)
    assert header, "call shape_16_bit first"
    width, height, most = int(header[2]), int(header[3]), int(header[4])
    channels = 1 if header[1] in b"25" else 3
    count = width * height * channels
    if header[1] in b"56":
        samples = np.frombuffer(data, ">u2", count, header.end()).astype(np.uint32)
    else:
        samples = np.array(data[header.end() :].split()[:count], np.uint32)
    if samples.size < count or samples.max() > most:
        raise ValueError("samples are missing or out of range")
    return ((samples * 65535 + most // 2) // most).astype(np.uint16).reshape(height, width, channels)


def shape_float(stream: BinaryIO) -> tuple[int, int, int] | None:
    """Return (H, W, C) of a PFM; None for anything else. Raises ValueError for a scale that is no number."""
    header = _float_header(stream)
    if header is None:
        return None
    scale = float(header[4])
    if scale == 0 or not math.isfinite(scale):
        raise ValueError("the scale in its header is no number other than 0")
    return int(header[3]), int(header[2]), 1 if header[1] == b"f" else 3


def decode_float(stream: BinaryIO) -> np.ndarray:
    """Decode a PFM to (H, W, C) float32, upright: it is stored from the bottom row up.

    The sign of its scale is the byte order. Its size, 1 as a rule, divides the samples, as in FFmpeg and Netpbm.
    Raises ValueError if samples are missing.
    """
    header = _float_header(stream)
    assert header, "call shape_float first"
    width, height, scale = int(header[2]), int(header[3]), float(header[4])
    channels = 1 if header[1] == b"f" else 3
    stream.seek(header.end())
    data = stream.read(4 * width * height * channels)
    samples = np.frombuffer(data, "<f4" if scale < 0 else ">f4", width * height * channels).astype(np.float32)
    if abs(scale) != 1:
        samples /= np.float32(abs(scale))
    return samples.reshape(height, width, channels)[::-1]


def _float_header(stream: BinaryIO) -> re.Match[bytes] | None:
    stream.seek(0)
    return _FLOAT_HEADER.match(stream.read(_HEADER_BYTES))


def write_pnm(file: BinaryIO, frame: np.ndarray) -> None:
    """Write (H, W, 1 or 3) uint8 or uint16 as PGM or PPM."""
    height, width, channels = frame.shape
    most = np.iinfo(frame.dtype).max
    file.write(b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, most))
    file.write(frame.astype(frame.dtype.newbyteorder(">")).tobytes())
