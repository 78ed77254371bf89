"""Filter and deflate the pixels of a PNG, band by band on all processors; the bytes depend on the pixels alone.

Results of an upscaler are smooth: after Paeth's filter they repeat nothing, and Huffman codes with run lengths come
within a few percent of a search for repetitions, in a tenth of its time. Drawings and screenshots do repeat: a band
whose sample says so is searched. docs/decisions/png.md has the numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np

from dagan_cli.prefetch import in_order

_BAND = 1 << 20  # bytes of samples that are compressed as one piece
_BLOCK = 1 << 16  # bytes: of a sample, and filtered at a time, as they stay in the processor's cache with all steps
_WORSE = 1.04  # run lengths are taken unless a search makes the sample smaller by more than this ratio
_HEADER = b"\x78\x9c"  # of a zlib stream: deflate with a window of 32 KiB
_MODULUS = 65521  # of Adler-32


def compressed(frame: np.ndarray, threads: int | None = None) -> Iterator[bytes]:
    """Yield the zlib stream of a frame (H, W, C), uint8 or uint16, in pieces; a few bands are in memory at a time.

    `threads` compress, None: as many as there are processors. Their number changes no byte.
    """
    height, width, channels = frame.shape
    rows = max(1, _BAND // (width * channels * frame.itemsize))
    yield _HEADER
    check = 1
    with in_order(partial(_deflated, frame, rows), range(0, height, rows), threads) as bands:
        for data, of_band, size in bands:
            check = _joined(check, of_band, size)
            yield data
    yield check.to_bytes(4, "big")


def _deflated(frame: np.ndarray, rows: int, top: int) -> tuple[bytes, int, int]:
    """Compress the band of `rows` from `top`: deflate blocks that end on a byte, and Adler-32 and size of its bytes."""
    lines = np.ascontiguousarray(frame[max(0, top - 1) : top + rows], f">u{frame.itemsize}").view(np.uint8)
    lines = lines.reshape(len(lines), -1)
    above, lines = (lines[0], lines[1:]) if top else (np.zeros_like(lines[0]), lines)
    filtered = paeth(lines, above, pixel=frame.shape[2] * frame.itemsize)
    data, level, strategy = _choice(filtered, lines)
    is_last = top + rows >= len(frame)
    return _packed(data, level, strategy, is_last=is_last), zlib.adler32(data.data), data.size


def _choice(filtered: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return a band's bytes, filtered or not, and the level and strategy of zlib that suit a sample of them."""
    count = max(1, _BLOCK // filtered.shape[1])
    middle = slice(first := max(0, len(lines) - count) // 2, first + count)
    runs = len(_packed(filtered[middle], 6, zlib.Z_RLE))
    search = len(_packed(filtered[middle], 4, zlib.Z_FILTERED))
    plain = len(_packed(_unfiltered(lines[middle]), 6, zlib.Z_DEFAULT_STRATEGY))
    if runs <= _WORSE * min(search, plain):
        return filtered, 6, zlib.Z_RLE
    if search < plain:
        return filtered, 6, zlib.Z_FILTERED
    return _unfiltered(lines), 6, zlib.Z_DEFAULT_STRATEGY


def _packed(data: np.ndarray, level: int, strategy: int, *, is_last: bool = True) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(data.data) + packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)


def _joined(check: int, following: int, size: int) -> int:
    """Return the Adler-32 of some bytes and the `size` bytes that follow them, from those of both."""
    (a, b), (c, d) = ((sums & 0xFFFF, sums >> 16) for sums in (check, following))
    return (b + d + size * (a - 1)) % _MODULUS << 16 | (a + c - 1) % _MODULUS


def _unfiltered(lines: np.ndarray) -> np.ndarray:
    """(N, B) -> (N, 1 + B): the number of no filter, 0, before each row."""
    return np.pad(lines, ((0, 0), (1, 0)))


def paeth(lines: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    """Filter (N, B) bytes to (N, 1 + B): the filter number of each row, 4, then the residuals of the Paeth filter.

    Of left, up and corner, the filter predicts the one that is nearest to left + up - corner. With the corner limited
    to the range of the other two, that is the corner if it is nearer to the middle of the range than to its ends, and
    else the end that is farther from the corner: this way no step leaves the range of a byte.
    """
    out = np.empty((len(lines), 1 + lines.shape[1]), np.uint8)
    out[:, 0] = 4
    step = min(len(lines), max(1, _BLOCK // lines.shape[1]))
    left, up, corner, low, high, to_low, to_high, near, far = np.zeros((9, step, lines.shape[1]), np.uint8)
    for top in range(0, len(lines), step):
        rows = lines[top : top + step]
        if len(rows) < step:
            cut = slice(len(rows))
            left, up, corner, low, high = left[cut], up[cut], corner[cut], low[cut], high[cut]
            to_low, to_high, near, far = to_low[cut], to_high[cut], near[cut], far[cut]
        up[0], up[1:] = above, rows[:-1]
        left[:, pixel:], corner[:, pixel:], corner[:, :pixel] = rows[:, :-pixel], up[:, :-pixel], 0
        np.minimum(left, up, out=low)
        np.maximum(left, up, out=high)
        np.clip(corner, low, high, out=corner)
        np.subtract(corner, low, out=to_low)
        np.subtract(high, corner, out=to_high)
        np.minimum(to_low, to_high, out=near)
        np.maximum(to_low, to_high, out=far)
        is_corner = _mask(np.subtract(far, near, out=far) < near)
        end = _chosen(_mask(to_low < to_high), high, low)
        np.subtract(rows, _chosen(is_corner, corner, end), out=out[top : top + step, 1:])
        above = rows[-1]
    return out


def _mask(chosen: np.ndarray) -> np.ndarray:
    return np.negative(chosen.view(np.uint8))  # 255 where it is True


def _chosen(mask: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return bytes of `one` where the mask is 255, of `other` where it is 0; `one` is overwritten."""
    one ^= other
    one &= mask
    one ^= other
    return one
