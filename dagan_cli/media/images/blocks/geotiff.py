"""GeoTIFF tags: where an image lies on the map, for the same area in another number of pixels.

Standard: OGC GeoTIFF 1.1, https://docs.ogc.org/is/19-008r4/19-008r4.html; 42112 and 42113 are GDAL's.
"""

from __future__ import annotations

import math
from typing import Any

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, NUMBERS, TEXTS = 33550, 33922, 34264, 34735, 34736, 34737
GDAL_METADATA, GDAL_NODATA = 42112, 42113
RATIONAL_POLYNOMIALS = 50844  # camera models in pixels, which are not carried over
_TAGS = (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, NUMBERS, TEXTS, GDAL_METADATA, GDAL_NODATA)
_RASTER_TYPE, _POINT = 1025, 2
_MOST = 1_000_000  # numbers in one tag

GeoTags = tuple[tuple[int, tuple[float, ...] | str], ...]


def read_geo(tags: dict[int, Any], notes: list[str]) -> GeoTags:
    """Return the tags that are there and valid; others are noted."""
    found: list[tuple[int, tuple[float, ...] | str]] = []
    for tag in _TAGS:
        if tag in tags:
            value = tags[tag]
            value = value if isinstance(value, str | tuple) else (value,)
            if _is_valid(tag, value):
                found.append((tag, value))
            else:
                notes.append(f"its GeoTIFF tag {tag} is damaged and was left out")
    if RATIONAL_POLYNOMIALS in tags:
        notes.append(f"its camera model (tag {RATIONAL_POLYNOMIALS}) is in pixels and was left out")
    return tuple(found)


def scaled(geo: GeoTags, across: float, down: float) -> GeoTags:
    """Return the tags for `across` times as many columns and `down` times as many rows over the same area."""
    shift = 0.5 if _counts_from_centres(geo) else 0.0  # then pixel (0, 0) is the centre of the first pixel
    result: list[tuple[int, tuple[float, ...] | str]] = []
    for tag, value in geo:
        if isinstance(value, tuple):
            if tag == PIXEL_SCALE:
                value = (value[0] / across, value[1] / down, value[2])
            elif tag == TIE_POINTS:
                value = tuple(
                    (part + shift) * (across, down)[at % 6] - shift if at % 6 < 2 else part
                    for at, part in enumerate(value)
                )
            elif tag == TRANSFORMATION:
                value = _transformation(value, across, down, shift)
        result.append((tag, value))
    return tuple(result)


def _transformation(matrix: tuple[float, ...], across: float, down: float, shift: float) -> tuple[float, ...]:
    """Scale a matrix (4, 4) from (column, row, height, 1) to the map: its columns for pixels, and its offset."""
    rows = []
    for at in range(0, 16, 4):
        a, b, c, d = matrix[at : at + 4]
        offset = d + a * (shift / across - shift) + b * (shift / down - shift)
        rows += [a / across, b / down, c, offset]
    return tuple(rows)


def _counts_from_centres(geo: GeoTags) -> bool:
    keys = dict(geo).get(KEYS, ())
    return any(tuple(keys[at : at + 4]) == (_RASTER_TYPE, 0, 1, _POINT) for at in range(4, len(keys), 4))


def _is_valid(tag: int, value: tuple[Any, ...] | str) -> bool:
    if isinstance(value, str):
        return tag in (TEXTS, GDAL_METADATA, GDAL_NODATA)
    if not all(isinstance(part, int | float) and math.isfinite(part) for part in value) or len(value) > _MOST:
        return False
    if tag == KEYS:
        return len(value) >= 4 and all(isinstance(part, int) and 0 <= part < 65536 for part in value)
    return {PIXEL_SCALE: len(value) == 3, TIE_POINTS: len(value) % 6 == 0, TRANSFORMATION: len(value) == 16}.get(
        tag, tag == NUMBERS
    )
