"""Properties of FFmpeg's video encoders: options for quality and speed, and the pixel formats that really work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.video.format import VideoFormat

from dagan_cli.errors import BadOption

_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_SVT = tuple(str(step) for step in range(-1, 14))
_NVENC = tuple(f"p{step}" for step in range(1, 8))
_NAME_ONE = "use --codec libx264, libx265, libsvtav1, libvpx-vp9, prores_ks or ffv1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Properties of an encoder that FFmpeg does not report."""

    quality: str | None = None  # its option for constant quality
    worst: float = 51  # highest value of that option; 0 is the best
    presets: tuple[str, ...] = ()  # from fast to slow or from slow to fast, depending on the encoder
    parameters: str | None = None  # its option for parameters that FFmpeg has no option for
    formats: tuple[str, ...] = ()  # formats to choose from, if FFmpeg lists some that fail or that few players support
    lossless: bool = False  # if so, the pixel format of the source is kept
    odd_sizes: bool = False  # keeps the last row and column of odd sizes with subsampled chroma
    says_range: bool = False  # its stream declares full or limited range; else the container must
    says_siting: bool = False  # its stream declares the chroma siting; else the container must
    full_range: bool = True  # supports full-range colours
    options: Mapping[str, str] = field(default_factory=dict)  # defaults, which the user may override


def _yuv(*depths: str) -> tuple[str, ...]:
    return tuple(f"yuv{chroma}p{depth}" for depth in depths for chroma in ("420", "422", "444"))


_NVENC_RATE = {"rc": "vbr", "b": "0"}  # without b=0, the bit rate would be limited to 2 Mbit/s

ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(
        quality="crf",
        presets=_X26X,
        parameters="x264-params",
        formats=_yuv("", "10le"),
        says_range=True,
        says_siting=True,
    ),
    "libx264rgb": Encoder(quality="crf", presets=_X26X, parameters="x264-params", formats=("rgb24",), says_range=True),
    "libx265": Encoder(
        quality="crf",
        presets=_X26X,
        parameters="x265-params",
        formats=_yuv("", "10le", "12le"),
        says_range=True,
        says_siting=True,
        options={"x265-params": "log-level=error"},
    ),
    "libsvtav1": Encoder(
        quality="crf", worst=63, presets=_SVT, parameters="svtav1-params", odd_sizes=True, says_range=True
    ),
    "libvpx-vp9": Encoder(
        quality="crf",
        worst=63,
        formats=("yuv420p", "yuva420p", "yuv422p", "yuv440p", "yuv444p"),
        odd_sizes=True,
        says_range=True,
        options={"b": "0", "row-mt": "1"},  # without b=0 the quality is only a limit
    ),
    "prores_ks": Encoder(full_range=False, options={"vendor": "apl0"}),  # Apple's programs expect this name
    "ffv1": Encoder(lossless=True, odd_sizes=True),
    "mjpeg": Encoder(formats=("yuvj420p", "yuvj422p", "yuvj444p")),
    "h264_nvenc": Encoder(
        quality="cq", presets=_NVENC, formats=("yuv420p", "yuv444p"), says_range=True, options=_NVENC_RATE
    ),
    "hevc_nvenc": Encoder(
        quality="cq",
        presets=_NVENC,
        formats=("yuv420p", "p010le", "yuv444p", "yuv444p10msble"),
        says_range=True,
        options=_NVENC_RATE,
    ),
    "av1_nvenc": Encoder(
        quality="cq", presets=_NVENC, formats=("yuv420p", "p010le"), says_range=True, options=_NVENC_RATE
    ),
}


def has_encoder(name: str) -> bool:
    """True if this build of FFmpeg has the encoder; hardware that it may need is not checked."""
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def find_encoder(name: str) -> tuple[str, Encoder, tuple[str, ...]]:
    """Return the encoder's own name ("hevc" means libx265), its properties, and the pixel formats it lists.

    Raises BadOption if it does not exist or does not encode video.
    """
    try:
        codec = Codec(name, "w")
    except UnknownCodecError as error:
        raise BadOption(f"unknown --codec {name}", hint=_NAME_ONE) from error
    formats = tuple(form.name for form in codec.video_formats or ())
    if codec.type != "video" or not formats:
        raise BadOption(f"{name} does not encode video", hint=_NAME_ONE)
    return codec.name, ENCODERS.get(codec.name, Encoder()), formats


def has_alpha(pix_fmt: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(pix_fmt, 16, 16).components)
