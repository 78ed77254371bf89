"""The input of a preview, an image or a film: its places, and these places as they are and through a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL.Image
from PIL import ImageCms

from dagan_cli.analysis.measure import Analysis, analyse_image, analyse_video
from dagan_cli.media import images
from dagan_cli.media.images.info import PictureInfo
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.source import Frame, open_video
from dagan_cli.planes import tag_names
from dagan_cli.preview.cuts import AROUND_FILM, AROUND_IMAGE, Cut, crop_for
from dagan_cli.preview.film import look_around, second_of
from dagan_cli.preview.parts import (
    Pace,
    as_it_is,
    as_shown,
    cut_of,
    frame_as_it_is,
    frame_part,
    image_part,
    luma_of_image,
    sees_beyond,
)
from dagan_cli.preview.places import WHOLE, Place, cells_of, find_places
from dagan_cli.upscale.plan import outline
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Work
from dagan_cli.upscaler import Upscaler

_IMAGE, _FILM = (160, 128), (112, 80)  # (width, height) of places, input pixels
_PLACES = 3
_ALIKE = 4  # code values by which profiles that call themselves sRGB differ


class Subject(Protocol):
    """An input whose places were chosen."""

    size: tuple[int, int]  # (width, height)
    result: tuple[int, int]  # that of the whole result
    factor: float
    suffix: str  # of the whole result
    around: int  # usual margin of a place, pixels
    places: Sequence[Place]
    times: Sequence[float | None]  # of the places, seconds from the start of a film
    rate: float  # frames per second; 0 for a still
    notes: Sequence[str]

    def analyse(self) -> Analysis:
        """Measure what the input is."""
        ...

    def frames(self, place: int) -> int:
        """Return the number of frames of a place."""
        ...

    def as_it_is(self, place: int, frame: int, size: tuple[int, int]) -> np.ndarray:
        """Return a place, enlarged to `size` by repeating pixels, (h, w, 3) uint8."""
        ...

    def through(self, upscaler: Upscaler, place: int, frame: int, work: Work, pace: Pace) -> np.ndarray:
        """Return a place of the result of a model, (h, w, 3) uint8. Raises Stopped."""
        ...

    def lacks(self, upscaler: Upscaler) -> bool:
        """True if a model would see more of the input than it gets for a place."""
        ...


def open_subject(path: Path, kind: str, work: Work) -> Subject:
    """Open an input and choose its places. Raises BadInput, BadOption, and Stopped."""
    return Film(path, work) if kind == "video" else Image(path, work.request)


class Image:
    """A still, or the first frame of an animation."""

    around = AROUND_IMAGE
    rate = 0.0

    def __init__(self, path: Path, request: Request) -> None:
        with images.open_picture(path, limit_pixels=request.max_pixels) as picture:
            self._path, self._info = path, picture.info
            self._samples = next(picture.frames)
        info: PictureInfo = self._info
        self.size, self.result = (info.width, info.height), request.goal.size_for(info.width, info.height)
        self.factor = request.goal.factor_for(info.width, info.height)
        self.suffix = images.output_suffix(info, self.result, format=None, lossless=False, kept=path.suffix)
        self.places: Sequence[Place] = find_places(
            [cells_of(luma_of_image(self._samples))], crop_for(_IMAGE, self.factor)
        )
        self.times: Sequence[float | None] = [None] * len(self.places)
        self.notes: Sequence[str] = [
            *_fewer(self.places, "image"),
            *([f"The first of {info.frames} frames is shown."] if info.frames > 1 else []),
            *(["Transparent parts are shown on grey."] if info.has_alpha else []),
            *_profile_note(info),
        ]

    def analyse(self) -> Analysis:
        return analyse_image(self._path, self._samples, self._info)

    def frames(self, place: int) -> int:
        return 1

    def as_it_is(self, place: int, frame: int, size: tuple[int, int]) -> np.ndarray:
        box = self.places[place].box
        own = self._samples[box.top : box.top + box.height, box.left : box.left + box.width]
        return as_it_is(own, size)

    def through(self, upscaler: Upscaler, place: int, frame: int, work: Work, pace: Pace) -> np.ndarray:
        cut = _cut(self, upscaler, place)
        return as_shown(image_part(upscaler, self._samples, cut, work, pace))

    def lacks(self, upscaler: Upscaler) -> bool:
        return sees_beyond(upscaler, [place.box for place in self.places], self.size, self.around)


@dataclass(frozen=True, slots=True)
class _Second:
    """The frames that are shown of a second."""

    frames: Sequence[Frame]
    rate: float


class Film:
    """A video: each place is a second of it."""

    around = AROUND_FILM

    def __init__(self, path: Path, work: Work) -> None:
        request = work.request
        with open_video(path, request.deinterlace) as video:
            info: VideoInfo = video.info
        planned = outline(info, request.goal)
        self._path, self._turns = path, round(info.rotation / 90) % 4
        self.size, self.result, self.factor = (info.width, info.height), planned.size, planned.factor
        self.suffix = default_suffix(info, None)
        looks = look_around(path, work.stop_if_asked)
        length = looks[-1].time - looks[0].time
        cells, moments = [look.cells for look in looks], [look.time for look in looks]
        places = find_places(cells, crop_for(_FILM, self.factor), moments, (length / 8, 1.0, 0.0))
        self.places: Sequence[Place] = places
        end = (info.duration or 0.0) - 1.0  # a second that begins later would be cut short
        times = [max(0.0, min(moments[p.frame], end)) if end > 0 else 0.0 for p in places]
        self.times: Sequence[float | None] = times
        self._seconds = [_Second(*second_of(path, time, work.stop_if_asked)) for time in times]
        self.rate = self._seconds[0].rate
        self.notes: Sequence[str] = [
            *_fewer(places, "film"),
            "Frames are shown as they are before the video is encoded.",
            *_hdr_note(info),
        ]

    def analyse(self) -> Analysis:
        return analyse_video(self._path)

    def frames(self, place: int) -> int:
        return len(self._seconds[place].frames)

    def as_it_is(self, place: int, frame: int, size: tuple[int, int]) -> np.ndarray:
        stored = (size[1], size[0]) if self._turns % 2 else size
        return self._upright(frame_as_it_is(self._seconds[place].frames[frame], self.places[place].box, stored))

    def through(self, upscaler: Upscaler, place: int, frame: int, work: Work, pace: Pace) -> np.ndarray:
        cut = _cut(self, upscaler, place)
        return self._upright(as_shown(frame_part(upscaler, self._seconds[place].frames[frame], cut, work, pace)))

    def lacks(self, upscaler: Upscaler) -> bool:
        return sees_beyond(upscaler, [place.box for place in self.places], self.size, self.around)

    def _upright(self, shown: np.ndarray) -> np.ndarray:
        """Turn a frame as players do."""
        return np.ascontiguousarray(np.rot90(shown, self._turns))


def _cut(subject: Image | Film, upscaler: Upscaler, place: int) -> Cut:
    return cut_of(upscaler, subject.places[place].box, subject.size, subject.result, subject.around)


def _fewer(places: Sequence[Place], what: str) -> list[str]:
    if len(places) == _PLACES:
        return []
    if places[0].why == WHOLE:
        return [f"The {what} is small, and is shown whole."]
    shown = "1 place is" if len(places) == 1 else f"{len(places)} places are"
    return [f"Only {shown} shown: the {what} is too small or too plain for {_PLACES}."]


def _profile_note(info: PictureInfo) -> list[str]:
    """Say that the page does not show the colours of an image as its profile, or its code points, define them."""
    name = _other_profile(info.icc, info.channels < 3) if info.icc else None
    if not info.icc and info.colour is not None and not info.colour.is_default:
        name = str(info.colour)
    if name is None:
        return []
    return [f"Colours are shown as if they were sRGB, and the profile of the image is {name}. The result keeps it."]


def _other_profile(icc: bytes, grey: bool) -> str | None:
    """Return how an ICC profile describes itself; None if its colours are those of sRGB, or if it cannot be read."""
    samples = np.stack(np.meshgrid(*[np.arange(0, 256, 51).astype(np.uint8)] * 3), axis=-1).reshape(6, 36, 3)
    image = PIL.Image.fromarray(samples[..., 0] if grey else samples)
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        seen = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert seen is not None
        if np.abs(np.asarray(seen).astype(int) - np.asarray(image.convert("RGB"))).max() <= _ALIKE:
            return None
        return ImageCms.getProfileDescription(profile).strip() or "without a name"
    except (OSError, ImageCms.PyCMSError):
        return None


def _hdr_note(info: VideoInfo) -> list[str]:
    """Say that the page does not show HDR as players do."""
    transfer = tag_names(info.layout.tags)["transfer"]
    if transfer not in ("pq", "hlg"):
        return []
    return [
        f"The film is HDR ({transfer.upper()}): its values are shown as they are stored, paler than players show them."
    ]
