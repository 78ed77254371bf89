"""Colour code points of ITU-T H.273, as AVIF, HEIC and PNG store them, and the ICC profile that means the same.

Profiles: ICC.1:2022, https://www.color.org/specification/ICC.1-2022-05.pdf, with its `cicp` tag.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

UNSPECIFIED = 2
_BT709, _SRGB, _PQ, _HLG = 1, 13, 16, 18
_PRIMARIES = {  # x, y of red, green, blue and white
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, 0.3127, 0.3290),
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, 0.3127, 0.3290),
}
_PRIMARY_NAMES = {1: "BT.709", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFER_NAMES = {1: "BT.709", 8: "linear", 13: "sRGB", 14: "BT.2020", 15: "BT.2020", 16: "PQ", 18: "HLG"}
_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of every profile
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_CURVE_POINTS = 4096


@dataclass(frozen=True, slots=True)
class CodePoints:
    """Colour of RGB samples by H.273: primaries and transfer characteristics; 2 is unspecified."""

    primaries: int
    transfer: int
    full_range: bool = True

    def __str__(self) -> str:
        primaries = _PRIMARY_NAMES.get(self.primaries, f"primaries {self.primaries}")
        return f"{primaries} {_TRANSFER_NAMES.get(self.transfer, f'transfer {self.transfer}')}"

    @property
    def is_default(self) -> bool:
        """True if they mean what viewers assume of an image without any colour information: sRGB."""
        return self.primaries in (_BT709, UNSPECIFIED) and self.transfer in (_SRGB, UNSPECIFIED) and self.full_range


def profile_of(points: CodePoints, *, grey: bool = False) -> bytes | None:
    """Return the ICC profile, version 4.4, of these code points, which it names in its `cicp` tag.

    Unspecified means sRGB's. None if the samples have narrow range, or a code point has no such profile: then only its
    number would describe it. For PQ the profile's white is 10,000 cd/m2; for HLG it is the scene's.
    """
    primaries = _BT709 if points.primaries == UNSPECIFIED else points.primaries
    transfer = _SRGB if points.transfer == UNSPECIFIED else points.transfer
    curve = _curve(transfer)
    if primaries not in _PRIMARIES or curve is None or not points.full_range:
        return None
    to_d50, adaptation = _colorants(_PRIMARIES[primaries])
    tags = {
        b"desc": _text(str(CodePoints(primaries, transfer))),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adaptation),
    }
    if grey:
        tags |= {b"kTRC": curve}
    else:
        tags |= {kind: _xyz(column) for kind, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), to_d50.T, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
        tags |= {b"cicp": struct.pack(">4s4xBBBB", b"cicp", primaries, transfer, 0, 1)}
    return _profile(b"GRAY" if grey else b"RGB ", tags)


def points_of(icc: bytes) -> tuple[int, int] | None:
    """Return primaries and transfer characteristics of a profile's `cicp` tag, or None."""
    for at in range(132, min(len(icc), 132 + 12 * 100), 12):
        if icc[at : at + 4] == b"cicp" and len(icc) >= at + 12:
            (place,) = struct.unpack_from(">I", icc, at + 4)
            return (
                (icc[place + 8], icc[place + 9])
                if icc[place : place + 4] == b"cicp" and place + 10 <= len(icc)
                else None
            )
    return None


def _colorants(chromaticities: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the XYZ of red, green and blue under D50, as columns, and the adaptation (3, 3) to D50 by Bradford."""
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in np.reshape(chromaticities, (4, 2))]).T
    primaries, white = xyz[:, :3], xyz[:, 3]
    to_xyz = primaries * np.linalg.solve(primaries, white)
    gains = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adaptation = np.linalg.solve(_BRADFORD, gains @ _BRADFORD)
    return adaptation @ to_xyz, adaptation


def _curve(transfer: int) -> bytes | None:
    """Return the tag from coded to linear values, or None for characteristics that have none."""
    if transfer in (1, 6, 14, 15):  # the inverse of the camera's curve, as the code point defines it
        a, b = 1.09929682680944, 0.018053968510807
        return _parametric(3, 1 / 0.45, 1 / a, (a - 1) / a, 1 / 4.5, 4.5 * b)
    if transfer == 7:
        a, b = 1.111572195921731, 0.022821585529445
        return _parametric(3, 1 / 0.45, 1 / a, (a - 1) / a, 1 / 4, 4 * b)
    if transfer == _SRGB:
        return _parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    if transfer in (4, 5, 8):
        return _parametric(0, {4: 2.2, 5: 2.8, 8: 1.0}[transfer])
    if transfer == _PQ:
        return _sampled(_pq_to_linear)
    if transfer == _HLG:
        return _sampled(_hlg_to_linear)
    return None


def _pq_to_linear(x: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: coded value to luminance, 1 for 10,000 cd/m2."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = x ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_to_linear(x: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100: coded value to light of the scene."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(x <= 0.5, x * x / 3, (np.exp((x - c) / a) + b) / 12)


def _parametric(kind: int, *numbers: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">Hxx", kind) + _fixed(np.array(numbers))


def _sampled(function: Callable[[np.ndarray], np.ndarray]) -> bytes:
    values = np.rint(np.clip(function(np.linspace(0, 1, _CURVE_POINTS)), 0, 1) * 65535)
    return b"curv\0\0\0\0" + struct.pack(">I", _CURVE_POINTS) + values.astype(">u2").tobytes()


def _text(words: str) -> bytes:
    data = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(data), 28) + data


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _fixed(values: np.ndarray) -> bytes:
    """Return numbers as s15Fixed16."""
    return np.rint(values * 65536).astype(">i4").tobytes()


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}  # equal tags, such as three curves, are stored once
    for kind, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", kind, places[data], len(data))
    size = start + len(body)
    date = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)  # fixed: the same command gives the same bytes
    head = struct.pack(">I4xI4s4s4s", size, 0x04400000, b"mntr", space, b"XYZ ") + date + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
