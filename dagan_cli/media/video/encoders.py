"""FFmpeg's video encoders as values: how each is told quality and speed, and which pixel formats it really takes."""

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
_NAME_ONE = "--codec libx264, libx265, libsvtav1, libvpx-vp9, prores_ks or ffv1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """What there is to know of an encoder beyond what FFmpeg says of it."""

    quality: str | None = None  # its option for a constant quality
    worst: float = 51  # the highest value; 0 is the best
    presets: tuple[str, ...] = ()  # from fast to slow or from slow to fast, as its makers count
    parameters: str | None = None  # its option for parameters that FFmpeg has no option for
    formats: tuple[str, ...] = ()  # what is chosen from, where FFmpeg lists some that it refuses or few can play
    lossless: bool = False  # so pictures are given to it just as they are
    odd_sizes: bool = False  # whether the last row and column are kept where several pixels share a colour sample
    says_range: bool = False  # whether its stream says if colours have the full range; else the container must
    says_siting: bool = False  # whether it says where colour samples lie; else the container must
    full_range: bool = True  # whether it may be given such colours at all
    options: Mapping[str, str] = field(default_factory=dict)  # unless the user says otherwise


def _yuv(*depths: str) -> tuple[str, ...]:
    return tuple(f"yuv{chroma}p{depth}" for depth in depths for chroma in ("420", "422", "444"))


_NVENC_RATE = {"rc": "vbr", "b": "0"}  # without the second, 2 Mbit/s would bound the quality

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
        options={"b": "0", "row-mt": "1"},  # without the first the quality is only a bound
    ),
    "prores_ks": Encoder(full_range=False, options={"vendor": "apl0"}),  # the name that Apple's programs look for
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
    """Whether this build of FFmpeg has it; the hardware it may need is not asked for."""
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def find_encoder(name: str) -> tuple[str, Encoder, tuple[str, ...]]:
    """The encoder's own name ("hevc" means libx265), what is known of it, and the pixel formats it lists.

    Raises BadOption for one that is not there, or does not encode video.
    """
    try:
        codec = Codec(name, "w")
    except UnknownCodecError as error:
        raise BadOption(f"there is no encoder {name}", hint=_NAME_ONE) from error
    formats = tuple(form.name for form in codec.video_formats or ())
    if codec.type != "video" or not formats:
        raise BadOption(f"{name} does not encode video", hint=_NAME_ONE)
    return codec.name, ENCODERS.get(codec.name, Encoder()), formats


def has_alpha(pix_fmt: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(pix_fmt, 16, 16).components)
