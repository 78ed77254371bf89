"""Results of `dagan probe` as frozen values, and their JSON. Imports nothing heavy.

The JSON has the names and the order of the fields, except where `to_json` changes them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagan_cli.version import __version__

if TYPE_CHECKING:
    from dagan_cli.analysis.measure import Analysis

Treatment = Literal["upscaled", "copied", "rewritten", "left out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Output that `dagan upscale` would write by default."""

    name: str
    width: int
    height: int
    model: str
    codec: str | None = None  # of a video
    pixel_format: str | None = None  # of a video
    format: str | None = None  # of an image
    depth: int | None = None  # bits per sample of an image
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Leave out the fields that do not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTag:
    """One colour tag of a video stream, by its name, such as "bt709"."""

    value: str
    declared: bool  # False: the stream does not declare it, and dagan guesses it

    def to_json(self) -> dict[str, Any]:
        return {"is": self.value, "said": self.declared}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mastering:
    """Mastering display (SMPTE ST 2086): (x, y) chromaticities, and luminance in cd/m2."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float]
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentLight:
    """Content light level (CTA-861.3), cd/m2."""

    max_cll: int
    max_fall: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdr10:
    """Static HDR metadata of a video."""

    mastering: Mastering | None
    content: ContentLight | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MainStream:
    """The video stream that is upscaled."""

    stream: int  # index
    codec: str
    width: int  # as stored, pixels
    height: int
    sample_aspect_ratio: str  # "4/3"
    shown_width: int  # after stretching and rotation
    shown_height: int
    rotation: int  # degrees, counter-clockwise
    mirrored: bool
    rate: float  # frames per second; the average if it varies
    varies: bool | None  # None if there are too few frames
    frames: int | None  # estimate from the headers
    time_base: str  # seconds, "1/1000"
    pixel_format: str
    depth: int  # bits per sample
    chroma: str  # "420", "rgb", "gray", ...
    siting: str
    transparency: bool
    interlaced: bool
    colour: dict[str, ColourTag]  # by "range", "matrix", "primaries", "transfer"
    hdr10: Hdr10 | None
    crop: tuple[int, int, int, int] | None = None  # pixels that are cut off: left, top, right, bottom
    stereo: str | None = None  # "left_right", ...: views for two eyes
    projection: str | None = None  # "equirectangular", ...
    captions: bool = False  # closed captions are inside the first frames

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"colour": {name: tag.to_json() for name, tag in self.colour.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedVideo:
    """Facts that require decoding every frame of a video."""

    frames: int
    shortest: float | None  # seconds from one frame to the next; None if there are fewer than two
    longest: float | None
    damaged_packets: int
    repaired_times: int
    shortfall: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedImage:
    """Facts that require decoding every frame or page of an image."""

    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """One stream of a video file, and its treatment by `dagan upscale`."""

    index: int
    kind: str  # "video", "audio", "subtitle", "cover", "attachment", "data"
    codec: str
    language: str | None
    title: str | None
    disposition: tuple[str, ...]
    becomes: Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterFacts:
    """One chapter of a video file."""

    start: float  # seconds
    end: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """A video file and its planned output."""

    input: str
    kind: Literal["video"] = "video"
    container: str  # as FFmpeg calls it
    duration: float | None  # seconds
    start: float  # time at which the file starts, seconds
    tags: dict[str, str]
    picture: MainStream
    looks: Analysis  # estimates from a few frames
    counted: CountedVideo | None  # with --count
    streams: tuple[StreamFacts, ...]
    chapters: tuple[ChapterFacts, ...]
    result: Planned
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the facts with the version of dagan first; tuples become lists when written."""
        facts = asdict(self) | {"picture": self.picture.to_json(), "result": self.result.to_json()}
        return {"dagan": __version__, **facts}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """An image file and its planned output."""

    input: str
    kind: Literal["picture"] = "picture"
    format: str
    width: int  # upright, pixels
    height: int
    mode: str | None  # Pillow's; None if Pillow cannot read the file
    channels: int
    depth: int  # bits per sample; 32 is float
    transparency: bool
    lossless: bool
    orientation: int  # of EXIF, 1 to 8
    frames: int
    durations: tuple[float, ...]  # milliseconds
    plays: int | None  # 0: forever; None if it is not an animation
    counted: CountedImage | None  # with --count
    profile: str | None  # name of the ICC profile
    metadata: dict[str, int]  # bytes, by "exif", "xmp", "iptc", "comment", "icc"
    dpi: tuple[float, float] | None
    looks: Analysis | None  # estimates from the first frame; None if it is damaged
    result: Planned
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the facts with the version of dagan first; tuples become lists when written."""
        return {"dagan": __version__, **asdict(self), "result": self.result.to_json()}
