"""Encode the pictures of a page, lossless, into a number of bytes; what does not fit is left out and counted.

The order of the views is their order of importance: as many of the first ones are kept as fit. The first view is always
kept. If it is too large by itself, it is stored as JPEG with a small error, which is measured, or else cropped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from dagan_cli.pages.viewer import View

if TYPE_CHECKING:
    from PIL import Image

LARGEST_ERROR = 16  # of 255: above it, JPEG's errors are not hidden by the picture's own texture at 1:1

_QUALITIES = (100, 99, 98, 97, 96, 95)
_OVERHEAD = 120  # bytes of markup around a picture, at most
_REFERENCE = 10  # bytes to name a picture as a frame of a view, at most
_SMALL = 6_000_000  # pixels of a page that are worth 1.5 s a megapixel; others take 0.4 s and are 5 % larger
_LARGE = 500_000  # pixels of a view that take so long that its bytes are first estimated
_SAMPLE = 256  # side of the square to estimate by
_THUMB = (160, 120)  # pixels, twice the size at which thumbnails are shown


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is stored in the page."""

    kind: str  # MIME type
    data: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes in the page."""
        return 4 * ((len(self.data) + 2) // 3) + _OVERHEAD

    def base64(self) -> str:
        return b64encode(self.data).decode()

    def uri(self) -> str:
        return f"data:{self.kind};base64,{self.base64()}"


@dataclass(frozen=True, slots=True)
class Fitted:
    """The pictures of a page, and what was left out or changed so that they fit."""

    pictures: list[Picture] = field(default_factory=list)  # no two of the same pixels
    views: list[list[list[int]]] = field(default_factory=list)  # of the first views: per column, per frame its picture
    sizes: list[tuple[int, int]] = field(default_factory=list)  # width and height of these views
    thumbs: list[Picture] = field(default_factory=list)  # of these views
    note: str = ""  # a sentence, if the first view is not shown whole and lossless

    @property
    def size(self) -> int:
        """Bytes that all this takes in the page."""
        references = sum(len(frames) for view in self.views for frames in view)
        return sum(picture.size for picture in (*self.pictures, *self.thumbs)) + _REFERENCE * references


def fit(views: Sequence[View], room: int) -> Fitted:
    """Encode the first views, as many as fit into `room` bytes of the page, and at least one."""
    pixels = sum(_pixels(view) for view in views)
    fitted = Fitted()
    known: dict[bytes, int] = {}
    encode = _lossless(pixels)
    for view in views:
        if not _add(fitted, known, view, room, encode):
            break
    if fitted.views or not views:
        return fitted
    return _inexact(views[0], room) or _cropped(views[0], room)


def thumbnail(frame: np.ndarray) -> Picture:
    """Return a small copy of a frame. It is lossy, as it only serves to recognise a view."""
    image = _image(frame)
    image.thumbnail(_THUMB, reducing_gap=2.0)
    return _saved(image, "WEBP", quality=80, method=2)


def _pixels(view: View) -> int:
    """Return the pixels of all frames; only one is looked at, as all are of one size."""
    height, width = view.images[0][0].shape[:2]
    return height * width * sum(map(len, view.images))


def _add(
    fitted: Fitted, known: dict[bytes, int], view: View, room: int, encode: Callable[[np.ndarray], Picture]
) -> bool:
    """Add the pictures of a view. Return False, and leave all as it was, if they do not fit."""
    before, shape = len(fitted.pictures), view.images[0][0].shape
    _check(view.images[0][0], shape)
    thumb = thumbnail(view.images[0][0])
    free = room - fitted.size - thumb.size
    if _estimate(view, encode) > 2 * free:
        return False
    added: dict[bytes, int] = {}
    columns: list[list[int]] = []
    for frames in view.images:
        columns.append([])
        for frame in frames:
            _check(frame, shape)
            free -= _REFERENCE
            name = sha256(np.ascontiguousarray(frame).data).digest() + repr(shape).encode()
            index = known.get(name, added.get(name))
            if index is None:
                picture = encode(frame)
                free -= picture.size
                if free < 0:
                    del fitted.pictures[before:]
                    return False
                index = added[name] = len(fitted.pictures)
                fitted.pictures.append(picture)
            columns[-1].append(index)
    known |= added
    fitted.views.append(columns)
    fitted.sizes.append((shape[1], shape[0]))
    fitted.thumbs.append(thumb)
    return True


def _estimate(view: View, encode: Callable[[np.ndarray], Picture]) -> float:
    """Return the bytes of a large view, from the middle of its first frames, or 0 for a view that is fast to try."""
    height, width = view.images[0][0].shape[:2]
    if _pixels(view) < _LARGE:
        return 0
    top, left = max(0, (height - _SAMPLE) // 2), max(0, (width - _SAMPLE) // 2)
    firsts = [frames[0][top : top + _SAMPLE, left : left + _SAMPLE] for frames in view.images if frames]
    sizes = {frame.tobytes(): encode(frame).size for frame in firsts}
    return sum(sizes.values()) / (len(firsts) * firsts[0].shape[0] * firsts[0].shape[1]) * _pixels(view)


def _check(frame: np.ndarray, shape: tuple[int, ...]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"a frame is (H, W, 3) uint8, not {frame.shape} {frame.dtype}")
    if frame.shape != shape:
        raise ValueError(f"the frames of a view are of one size, not {shape} and {frame.shape}")


def _inexact(view: View, room: int) -> Fitted | None:
    """Encode a view as JPEG of the highest quality that fits, or return None if its largest error would be visible."""
    for quality in _QUALITIES:
        largest = 0

        def encode(frame: np.ndarray, quality: int = quality) -> Picture:
            nonlocal largest
            picture = _saved(_image(frame), "JPEG", quality=quality, subsampling=0, optimize=True)
            largest = max(largest, _error(picture, frame))
            return picture

        fitted = Fitted()
        if _add(fitted, {}, view, room, encode):
            if largest > LARGEST_ERROR:
                return None
            note = (
                f"The pictures are stored as JPEG, quality {quality}, so that the page stays small: "
                f"no value differs from the result by more than {largest} of 255."
            )
            return replace(fitted, note=note)
    return None


def _cropped(view: View, room: int) -> Fitted:
    """Encode the largest lossless crop around the centre that fits."""
    height, width = view.images[0][0].shape[:2]
    encode = _lossless(_pixels(view))
    share = 1.0  # of each side
    while True:
        share *= 0.8
        h, w = max(1, round(height * share)), max(1, round(width * share))
        top, left = (height - h) // 2, (width - w) // 2
        cut = [[frame[top : top + h, left : left + w] for frame in frames] for frames in view.images]
        fitted = Fitted()
        is_smallest = (h, w) == (1, 1)
        if _add(fitted, {}, View(view.title, cut), 2**62 if is_smallest else room, encode):
            note = (
                f"The pictures are crops of {w}x{h} pixels from {left}, {top} of {width}x{height}, "
                "so that the page stays small."
            )
            return replace(fitted, note=note)


def _lossless(pixels: int) -> Callable[[np.ndarray], Picture]:
    """Return an encoder that takes longer for smaller files if there are few pixels."""
    method, quality = (2, 30) if pixels <= _SMALL else (1, 20)

    def encode(frame: np.ndarray) -> Picture:
        if max(frame.shape) > 16383:  # WebP's limit
            return _saved(_image(frame), "PNG")
        return _saved(_image(frame), "WEBP", lossless=True, exact=True, method=method, quality=quality)

    return encode


def _error(picture: Picture, frame: np.ndarray) -> int:
    """Return the largest difference of a value between the picture, as decoded, and the frame."""
    from PIL import Image

    with Image.open(BytesIO(picture.data)) as image:
        decoded = np.asarray(image)
    return int(np.abs(decoded.astype(np.int16) - frame).max())


def _image(frame: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(frame))


def _saved(image: Image.Image, kind: str, **options: object) -> Picture:
    data = BytesIO()
    image.save(data, kind, **options)
    return Picture(f"image/{kind.lower()}", data.getvalue())
