"""Capabilities of each image format that can be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dagan_cli.errors import BadOption
from dagan_cli.media.images.info import Depth


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """A format as it is written here; its standard may allow more.

    Its name is that of `media.sniff` and, unless `encode_picture` has a branch, Pillow's. Of what it cannot hold,
    alpha is refused, grey becomes colour, and a warning names everything else.
    """

    name: str
    suffixes: tuple[str, ...]  # the first is the default of new files
    longest_side: int  # in pixels
    depths: tuple[Depth, ...] = (8,)
    grey: bool = True
    alpha: bool = True
    many: Literal["", "animation", "pages"] = ""  # how several frames are stored
    lossless: bool = True  # can be written without loss
    keeps: frozenset[str] = frozenset()  # fields of PictureInfo that it can store

    @property
    def holds_grey_profiles(self) -> bool:
        """False where samples are stored as colours: the palette of a GIF holds them even if all are grey."""
        return self.grey and self.name != "GIF"

    def widest(self, depth: Depth) -> Depth:
        """Return the supported depth that preserves samples of `depth` best."""
        for own in self.depths:
            if own >= depth:
                return own
        return self.depths[-1]


_ALL = frozenset({"icc", "exif", "xmp"})

FORMATS = (
    PictureFormat(
        name="PNG",
        suffixes=(".png", ".apng"),
        longest_side=2**31 - 1,
        depths=(8, 16),
        many="animation",
        keeps=_ALL | {"colour", "dpi", "comment", "chunks"},
    ),
    PictureFormat(
        name="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        longest_side=65500,
        alpha=False,
        lossless=False,
        keeps=_ALL | {"dpi", "comment", "iptc", "photoshop"},
    ),
    PictureFormat(name="WEBP", suffixes=(".webp",), longest_side=16383, grey=False, many="animation", keeps=_ALL),
    PictureFormat(
        name="TIFF",
        suffixes=(".tif", ".tiff"),
        longest_side=2**31 - 1,
        depths=(8, 16, 32),
        many="pages",
        keeps=_ALL | {"dpi", "iptc", "photoshop", "geo"},
    ),
    PictureFormat(name="BMP", suffixes=(".bmp",), longest_side=2**31 - 1, alpha=False, keeps=frozenset({"dpi"})),
    PictureFormat(
        name="GIF",
        suffixes=(".gif",),
        longest_side=65535,
        many="animation",
        lossless=False,
        keeps=frozenset({"comment", "icc", "xmp"}),
    ),
    PictureFormat(
        name="AVIF",
        suffixes=(".avif",),
        longest_side=65535,
        grey=False,
        many="animation",
        lossless=False,
        keeps=_ALL | {"colour"},
    ),
    PictureFormat(name="PPM", suffixes=(".ppm", ".pgm", ".pnm"), longest_side=2**31 - 1, depths=(8, 16), alpha=False),
    PictureFormat(name="TGA", suffixes=(".tga",), longest_side=65535),
)

BY_NAME = {form.name: form for form in FORMATS}
_BY_SUFFIX = {suffix: form for form in FORMATS for suffix in form.suffixes}


def format_of_suffix(suffix: str) -> PictureFormat | None:
    """Return the format of files with this suffix (".jpg"), or None."""
    return _BY_SUFFIX.get(suffix.lower())


def format_named(name: str) -> PictureFormat:
    """Return the format of this name: "jpeg", "jpg" or ".jpg". Raises BadOption, with the list, if it is unknown."""
    word = name.strip().lower().removeprefix(".")
    form = BY_NAME.get(word.upper()) or _BY_SUFFIX.get(f".{word}")
    if form is None:
        names = ", ".join(form.suffixes[0][1:] for form in FORMATS)
        raise BadOption(
            f"{name!r}, from --format or the file's suffix, is not a supported image format",
            hint=f"use one of: {names}",
        )
    return form
