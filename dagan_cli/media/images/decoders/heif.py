"""HEIC and HEIF: the main image by libheif, upright, with 8 or 16 bits.

Format: ISO/IEC 23008-12. Pillow does not read it; pi-heif is libheif without encoders.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dagan_cli.media.images.blocks.boxes import read_items

if TYPE_CHECKING:
    from pi_heif import HeifImage

_CHANNELS = {"L": 1, "LA": 2, "La": 2, "RGB": 3, "RGBA": 4, "RGBa": 4}


def main_image(stream: BinaryIO) -> HeifImage:
    """Return the main image, not yet decoded. Raises ValueError, ImportError."""
    import pi_heif

    _require_text(stream)
    stream.seek(0)
    try:
        file = pi_heif.open_heif(stream, convert_hdr_to_8bit=False)
        image = file[file.primary_index]
    except (IndexError, RuntimeError, SyntaxError, ValueError) as error:
        raise ValueError(f"its HEIC boxes are damaged or of an unknown kind: {error}") from error
    if image.mode.split(";")[0] not in _CHANNELS:
        raise ValueError(f"HEIC samples of the kind {image.mode} are not supported")
    return image


def _require_text(stream: BinaryIO) -> None:
    """Raise ValueError unless kinds and names of items are text, as pi-heif 1.4 ends the process otherwise."""
    stream.seek(0)
    try:
        for text in read_items(stream.read()).texts:
            text.decode()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("its HEIC boxes are damaged") from error


def channels(image: HeifImage) -> int:
    return _CHANNELS[image.mode.split(";")[0]]


def bits(image: HeifImage) -> int:
    """Return the bits of a stored sample: 8, 10 or 12."""
    return int(image.info["bit_depth"])


def decode(image: HeifImage) -> np.ndarray:
    """Decode to upright samples (H, W, C) uint8, or uint16 scaled so that the highest value becomes 65535.

    Alpha is not premultiplied. Raises ValueError for damage.
    """
    try:
        samples = np.array(image)  # a copy: libheif's memory ends with `image`
    except (RuntimeError, SyntaxError, EOFError) as error:
        raise ValueError(str(error)) from error
    width, height = image.size
    samples = samples.reshape(height, -1, channels(image))[:, :width]
    if samples.dtype != np.uint8:  # libheif's values were moved into the highest bits
        most = 2 ** bits(image) - 1
        values = samples.astype(np.uint32) >> (16 - bits(image))
        samples = ((values * 65535 + most // 2) // most).astype(np.uint16)
    if image.mode.split(";")[0].endswith("a"):
        samples = not_premultiplied(samples)
    return samples


def not_premultiplied(samples: np.ndarray) -> np.ndarray:
    """Divide colours by alpha; fully transparent pixels become 0."""
    most = np.iinfo(samples.dtype).max
    alpha = samples[..., -1:]
    colour = samples[..., :-1]
    divided = np.divide(colour * float(most), alpha, out=np.zeros(colour.shape), where=alpha > 0)
    colour = np.rint(np.minimum(divided, most)).astype(samples.dtype)
    return np.concatenate([colour, alpha], axis=2)
