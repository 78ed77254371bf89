"""How the numbers of a video frame mean colour: shared by `media`, which reads and writes them, and `engine`.

Imports nothing: both sides may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Matrix = Literal["bt709", "bt601", "bt2020", "smpte240m", "fcc", "rgb"]
Chroma = Literal["444", "422", "420", "440", "411", "410", "gray", "rgb"]
Siting = Literal["left", "center", "topleft"]

HALVINGS: dict[Chroma, tuple[int, int]] = {  # how often chroma is halved along (y, x)
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
    """What a stream says of its colour, as code points of ITU-T H.273 (2 = not said); range: 1 limited, 2 full."""

    range: int
    matrix: int
    primaries: int
    transfer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """What the planes of a frame are: Y, U, V or R, G, B or Y alone, then A if there is alpha.

    A plane is (h, w) of unsigned integers, uint8 for a depth of 8 and uint16 above, values in the low `depth` bits.
    """

    matrix: Matrix
    full_range: bool  # of Y, U, V; alpha is always full range
    depth: int  # bits per value, 8 to 16
    chroma: Chroma
    alpha: bool
    siting: Siting  # where a chroma sample sits: "left" = MPEG-2, "center" = JPEG, "topleft" = BT.2020
    tags: ColourTags  # written back as they are; the guess where the source says nothing

    @property
    def planes(self) -> int:
        """How many planes a frame has."""
        return (1 if self.chroma == "gray" else 3) + self.alpha

    def chroma_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the second and third plane of a frame of that size: halves are rounded up."""
        down, across = HALVINGS[self.chroma]
        return -(-width >> across), -(-height >> down)
