"""How a video is encoded: which codec, pixel format and options follow from the source and the user's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.video.format import VideoFormat

from dagan_cli.errors import BadOption
from dagan_cli.media.video_frames import FULL, LIMITED, chroma_of
from dagan_cli.media.video_info import HdrLight, VideoInfo
from dagan_cli.planes import HALVINGS, Chroma, ColourTags, PixelLayout

Size = tuple[int, int]  # (width, height)

_QUALITY = {  # codecs that take a constant quality, and their word for it
    "libx264": "crf",
    "libx264rgb": "crf",
    "libx265": "crf",
    "libsvtav1": "crf",
    "libaom-av1": "crf",
    "libvpx-vp9": "crf",
    "h264_nvenc": "cq",
    "hevc_nvenc": "cq",
    "av1_nvenc": "cq",
}
_PARAMS = {"libx264": "x264-params", "libx265": "x265-params", "libsvtav1": "svtav1-params"}  # an encoder's own options


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The user's choices; None leaves one to the source."""

    codec: str | None = None  # an FFmpeg encoder; libx264 for 8 bit, libx265 for more or for HDR
    crf: float = 17  # constant quality: lower is better, of codecs that know it
    preset: str | None = None
    pix_fmt: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # passed to the encoder as they are
    audio: Literal["copy", "none"] = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that an encoder has to be told."""

    codec: str
    pix_fmt: str
    layout: PixelLayout  # of the planes it takes
    options: dict[str, str]
    warnings: tuple[str, ...]


def has_encoder(name: str) -> bool:
    """Whether this build of FFmpeg has it; the hardware it may need is not asked for."""
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def plan(info: VideoInfo, size: Size, encoding: Encoding, suffix: str) -> Recipe:
    """Settle how frames of `size` made from the video `info` are encoded into a file with that suffix.

    Raises BadOption for a codec or pixel format that is not there, or that cannot hold this size.
    """
    name = encoding.codec or ("libx264" if info.layout.depth == 8 and not info.hdr else "libx265")
    supported = _pixel_formats(name)
    if encoding.pix_fmt is None:
        pix_fmt = _nearest_format(info.layout, size, supported, name)
    else:
        pix_fmt = encoding.pix_fmt
        _check_format(pix_fmt, size, supported, name)
    layout = _layout(info.layout, pix_fmt)
    hdr, hdr_warnings = _hdr_options(info.hdr, name)
    options = _options(encoding, name)
    if hdr:
        options[_PARAMS[name]] = ":".join(filter(None, (options.get(_PARAMS[name]), hdr)))
    if info.vfr is not False and suffix in (".mp4", ".m4v", ".mov"):
        options.setdefault("bf", "0")  # with B-frames these containers tell a wrong duration of uneven frames
    if HALVINGS[layout.chroma] != (0, 0):
        options.setdefault("chroma_sample_location", layout.siting)
    return Recipe(
        codec=name,
        pix_fmt=pix_fmt,
        layout=layout,
        options=options,
        warnings=(*_losses(info.layout, layout), *hdr_warnings),
    )


def _pixel_formats(codec: str) -> list[str]:
    try:
        known = Codec(codec, "w")
    except UnknownCodecError as error:
        raise BadOption(f"there is no encoder {codec}", hint="--codec libx264, libx265, libsvtav1 or ffv1") from error
    formats = [form.name for form in known.video_formats or ()]
    if known.type != "video" or not formats:
        raise BadOption(f"{codec} does not encode video", hint="--codec libx264, libx265, libsvtav1 or ffv1")
    return formats


def _nearest_format(source: PixelLayout, size: Size, supported: list[str], codec: str) -> str:
    """The format that keeps most of the source: all its colour samples first, then its depth."""
    as_held: dict[Chroma, Chroma] = {"rgb": "444", "440": "444", "411": "420", "410": "420", "gray": "420"}
    wanted = as_held.get(source.chroma, source.chroma)
    chromas: dict[Chroma, tuple[Chroma, ...]] = {"420": ("420", "444"), "422": ("422", "444", "420")}
    depth = next(depth for depth in (8, 10, 12) if depth >= min(source.depth, 12))
    depths = [depth, *(other for other in (10, 12, 8) if other != depth)]
    for chroma in chromas.get(wanted, ("444", "422", "420")):
        if not _fits(chroma, size):
            continue
        for bits in depths:
            name = f"yuv{chroma}p" if bits == 8 else f"yuv{chroma}p{bits}le"
            if name in supported:
                return name
    raise BadOption(
        f"{codec} takes no pixel format that suits {size[0]}x{size[1]}", hint="name one with --pix-fmt, or --codec"
    )


def _check_format(pix_fmt: str, size: Size, supported: list[str], codec: str) -> None:
    if pix_fmt not in supported:
        raise BadOption(f"{codec} does not take --pix-fmt {pix_fmt}", hint=f"one of {', '.join(supported)}")
    if not _fits(chroma_of(VideoFormat(pix_fmt, 16, 16)), size):
        raise BadOption(
            f"{pix_fmt} cannot hold the odd size {size[0]}x{size[1]}", hint="--pix-fmt yuv444p, or an even --size"
        )


def _fits(chroma: Chroma, size: Size) -> bool:
    """Whether the sides are multiples of what one colour sample covers: encoders would drop the odd line."""
    down, across = HALVINGS[chroma]
    return size[0] % (1 << across) == 0 and size[1] % (1 << down) == 0


def _layout(source: PixelLayout, pix_fmt: str) -> PixelLayout:
    """What planes of `pix_fmt` mean when they carry on the colour of the source."""
    form = VideoFormat(pix_fmt, 16, 16)
    layout = replace(
        source,
        chroma=chroma_of(form),
        depth=form.components[0].bits,
        alpha=any(part.is_alpha for part in form.components),
    )
    if layout.chroma == "rgb":
        return replace(layout, matrix="rgb", full_range=True, tags=replace(source.tags, matrix=0, range=FULL))
    if source.chroma == "rgb":  # no matrix to carry on
        tags = ColourTags(
            range=LIMITED,
            matrix=1,
            primaries=1 if source.tags.primaries == 2 else source.tags.primaries,
            transfer=1 if source.tags.transfer == 2 else source.tags.transfer,
        )
        return replace(layout, matrix="bt709", full_range=False, tags=tags)
    if pix_fmt.startswith("yuvj"):
        return replace(layout, full_range=True, tags=replace(source.tags, range=FULL))
    return layout


def _losses(source: PixelLayout, kept: PixelLayout) -> list[str]:
    losses = []
    if source.alpha and not kept.alpha:
        losses.append("transparency is not kept")
    if kept.depth < source.depth:
        losses.append(f"{source.depth} bits per value are written as {kept.depth}")
    if sum(HALVINGS[kept.chroma]) > sum(HALVINGS[source.chroma]) and source.chroma != "gray":
        losses.append(f"colour is written at lower resolution: {source.chroma} as {kept.chroma}")
    if kept.chroma == "444" and source.chroma in ("420", "422"):
        losses.append("odd sizes need 4:4:4 colour, which some players do not show")
    return losses


def _options(encoding: Encoding, codec: str) -> dict[str, str]:
    options = dict(encoding.options)
    if codec in _QUALITY:
        options.setdefault(_QUALITY[codec], f"{encoding.crf:g}")
    if codec == "libvpx-vp9":
        options.setdefault("b", "0")  # else the quality is only a bound
    if encoding.preset:
        options.setdefault("preset", encoding.preset)
    if codec == "libx265":
        options["x265-params"] = ":".join(filter(None, ("log-level=error", options.get("x265-params"))))
    return options


def _hdr_options(hdr: HdrLight | None, codec: str) -> tuple[str, list[str]]:
    """Static HDR metadata in the encoder's own words, and what to warn of."""
    if hdr is None:
        return "", []
    if codec not in _PARAMS:
        return "", [f"{codec} does not keep the HDR10 metadata (mastering display, light level)"]
    parts = []
    if hdr.mastering:
        step = (Fraction(1, 50000), Fraction(1, 10000)) if codec != "libsvtav1" else (None, None)
        rx, ry, gx, gy, bx, by, wx, wy = (_number(value, step[0]) for value in hdr.mastering[:8])
        low, high = (_number(value, step[1]) for value in hdr.mastering[8:])
        key = "master-display" if codec == "libx265" else "mastering-display"
        parts.append(f"{key}=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})")
    if hdr.content:
        key = {"libx265": "max-cll", "libx264": "cll", "libsvtav1": "content-light"}[codec]
        parts.append(f"{key}={hdr.content[0]},{hdr.content[1]}")
    if codec == "libx265":
        parts.append("hdr10=1")
    return ":".join(parts), []


def _number(value: Fraction, step: Fraction | None) -> str:
    """In whole steps, or as a decimal number."""
    return f"{float(value):.6g}" if step is None else str(round(value / step))
