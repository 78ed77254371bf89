"""Images as terminals draw them: the graphics protocol of kitty, inline images of iTerm2, and sixel.

Specifications: sw.kovidgoyal.net/kitty/graphics-protocol, iterm2.com/documentation-images.html, and for sixel DEC's
"VT330/VT340 Programmer Reference Manual", volume 2, chapter 14.
"""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Protocol = Literal["kitty", "iterm2", "sixel"]

_CHUNK = 4096  # bytes of base64 that kitty takes at once
_BAND = 6  # rows of pixels of a line of sixels
_COLOURS = 256


def drawn(pixels: np.ndarray, protocol: Protocol) -> bytes:
    """Return what draws an image (H, W, 3) uint8 at the cursor."""
    if protocol == "sixel":
        return _sixel(pixels)
    return _kitty(_png(pixels)) if protocol == "kitty" else _iterm2(_png(pixels), pixels.shape[1], pixels.shape[0])


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _kitty(png: bytes) -> bytes:
    """Send a PNG in chunks, the last of which has m=0; q=2: the terminal is not to answer."""
    text = b64encode(png)
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        first = b"a=T,f=100," if number == 0 else b""
        parts.append(b"\x1b_G%sq=2,m=%d;%s\x1b\\" % (first, number < len(chunks) - 1, chunk))
    return b"".join(parts)


def _iterm2(png: bytes, width: int, height: int) -> bytes:
    facts = b"inline=1;size=%d;width=%dpx;height=%dpx" % (len(png), width, height)
    return b"\x1b]1337;File=%s:%s\x07" % (facts, b64encode(png))


def _sixel(pixels: np.ndarray) -> bytes:
    """Draw with the best 256 colours, line by line: each line is drawn once in each of its colours."""
    import numpy as np
    from PIL import Image

    height, width, _ = pixels.shape
    reduced = Image.fromarray(pixels).quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    numbers = np.asarray(reduced)
    palette = np.asarray(reduced.getpalette(), np.uint8).reshape(-1, 3)
    parts = [b'\x1bP0;1;0q"1;1;%d;%d' % (width, height)]
    for number in np.unique(numbers):
        parts.append(b"#%d;2;%d;%d;%d" % (number, *(round(int(value) * 100 / 255) for value in palette[number])))
    bits = (1 << np.arange(_BAND, dtype=np.uint8))[:, None]
    for top in range(0, height, _BAND):
        band = numbers[top : top + _BAND]
        lines = []
        for number in np.unique(band):
            sixels = ((band == number) * bits[: len(band)]).sum(axis=0, dtype=np.uint8) + 63
            lines.append(b"#%d%s" % (number, _runs(sixels)))
        parts.append(b"$".join(lines) + b"-")
    parts.append(b"\x1b\\")
    return b"".join(parts)


def _runs(sixels: np.ndarray) -> bytes:
    """Return characters with runs of more than three as `!count character`; empty ones at the end are left out."""
    import numpy as np

    ends = [*(np.flatnonzero(np.diff(sixels)) + 1).tolist(), len(sixels)]
    parts = []
    for start, end in pairwise([0, *ends]):
        letter, count = bytes(sixels[start : start + 1]), end - start
        parts.append(b"!%d%s" % (count, letter) if count > 3 else letter * count)
    if sixels[-1] == 63:
        parts.pop()
    return b"".join(parts)
