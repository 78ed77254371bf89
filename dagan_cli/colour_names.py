"""The code points of ITU-T H.273 in words, as FFmpeg calls them. Imports nothing but the tags."""

from __future__ import annotations

from dagan_cli.planes import ColourTags

UNSAID = ColourTags(range=0, matrix=2, primaries=2, transfer=2)

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


def in_words(tags: ColourTags) -> dict[str, str]:
    """What each tag says: {"range": "limited", "matrix": "bt709", ...}; a code without a name stays a number."""
    return {
        "range": _RANGE.get(tags.range, str(tags.range)),
        "matrix": _MATRIX.get(tags.matrix, str(tags.matrix)),
        "primaries": _PRIMARIES.get(tags.primaries, str(tags.primaries)),
        "transfer": _TRANSFER.get(tags.transfer, str(tags.transfer)),
    }


def said_of(tags: ColourTags) -> set[str]:
    """The names of the tags that say something."""
    nothing = {"range": (0,), "matrix": (2, 3), "primaries": (0, 2, 3), "transfer": (0, 2, 3)}
    return {name for name, values in nothing.items() if getattr(tags, name) not in values}
