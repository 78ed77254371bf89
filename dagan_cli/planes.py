"""Colour layout of video frames, shared by `media`, which reads and writes them, and `engine`.

Imports nothing, so that both can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Matrix = Literal["bt709", "bt601", "bt2020", "smpte240m", "fcc", "rgb"]
Chroma = Literal["444", "422", "420", "440", "411", "410", "gray", "rgb"]
Siting = Literal["left", "center", "topleft"]

HALVINGS: dict[Chroma, tuple[int, int]] = {  # number of times chroma is halved along (y, x)
    "444": (0, 0),
    "422": (0, 1),
    "420": (1, 1),
    "440": (1, 0),
    "411": (0, 2),
    "410": (2, 2),
    "gray": (0, 0),
    "rgb": (0, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """Colour tags of a stream, as code points of ITU-T H.273 (2 = unspecified); range: 1 limited, 2 full."""

    range: int
    matrix: int
    primaries: int
    transfer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """Layout of a frame's planes: Y, U, V or R, G, B or Y alone, then A if there is alpha.

    A plane is (h, w) of unsigned integers, uint8 for a depth of 8 and uint16 above, values in the low `depth` bits.
    """

    matrix: Matrix
    full_range: bool  # of Y, U, V; alpha is always full range
    depth: int  # bits per value, 8 to 16
    chroma: Chroma
    alpha: bool
    siting: Siting  # position of a chroma sample: "left" = MPEG-2, "center" = JPEG, "topleft" = BT.2020
    tags: ColourTags  # written back unchanged; guessed where the source specifies nothing

    @property
    def planes(self) -> int:
        """Number of planes of a frame."""
        return (1 if self.chroma == "gray" else 3) + self.alpha

    def chroma_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the second and third plane of a frame of that size, rounded up."""
        down, across = HALVINGS[self.chroma]
        return -(-width >> across), -(-height >> down)


def plane_shapes(layout: PixelLayout, width: int, height: int) -> list[tuple[int, int]]:
    """Return (h, w) of each plane."""
    across, down = layout.chroma_size(width, height)
    colour = [] if layout.chroma == "gray" else [(down, across)] * 2
    return [(height, width), *colour, *([(height, width)] if layout.alpha else [])]


UNSPECIFIED = ColourTags(range=0, matrix=2, primaries=2, transfer=2)

_RANGE = {0: "unsaid", 1: "limited", 2: "full"}
_MATRIX = {
    0: "rgb",
    1: "bt709",
    2: "unsaid",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
_PRIMARIES = {
    1: "bt709",
    2: "unsaid",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_TRANSFER = {
    1: "bt709",
    2: "unsaid",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    17: "smpte428",
    18: "hlg",
}


def tag_names(tags: ColourTags) -> dict[str, str]:
    """Return the name of each tag: {"range": "limited", "matrix": "bt709", ...}; a code without a name is a number."""
    return {
        "range": _RANGE.get(tags.range, str(tags.range)),
        "matrix": _MATRIX.get(tags.matrix, str(tags.matrix)),
        "primaries": _PRIMARIES.get(tags.primaries, str(tags.primaries)),
        "transfer": _TRANSFER.get(tags.transfer, str(tags.transfer)),
    }


def specified_tags(tags: ColourTags) -> set[str]:
    """Return the fields of the tags that are specified."""
    nothing = {"range": (0,), "matrix": (2, 3), "primaries": (0, 2, 3), "transfer": (0, 2, 3)}
    return {name for name, values in nothing.items() if getattr(tags, name) not in values}
